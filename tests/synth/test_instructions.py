"""Instructions: every shape, one crafted line per reason, limits, damage, and runs of the engine."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray import engine
from hare_ray.catalog import Catalog, place
from hare_ray.priors.tasks import Form, instructions_file, load_forms
from hare_ray.schema import SPLIT
from hare_ray.stage import Source
from hare_ray.store import Root
from hare_ray.synth import instruction_rows as rows
from hare_ray.synth.instructions import DAMAGED_FILE, TASKS, TOO_LARGE, Instructions
from hare_ray.synth.prompt import STOP, WRITTEN

FORMS = load_forms()
BARE = (
    *(Form(task, "{request}|{response}") for task in TASKS if task != "instruction_input"),
    Form("instruction_input", "{request}|{input}|{response}"),
)
FRAME = "Below is an instruction.\n\n### Instruction:\n{}\n\n### Response:\n"


def stage(path, **changes):
    fields = {"files": Source(label="rows", location=str(path)), "max_record_bytes": 1000, "forms": BARE, "seed": 1}
    return Instructions(**{**fields, **changes})


def read(path, row=-1, start=0, **changes):
    split = {"file": path.name, "path": str(path), "start": start, "end": -1, "row": row}
    return stage(path, **changes).prepare(None)(pa.Table.from_pylist([split], SPLIT)).to_pylist()


def only(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(line if isinstance(line, bytes) else json.dumps(line).encode())
    found = read(path)
    assert len(found) == 1
    return found[0]


def chat(*turns, roles=("user", "assistant")):
    return [{"role": roles[number % 2], "content": text} for number, text in enumerate(turns)]


TOLD = [{"from": "system", "value": "S"}, {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "b"}]
COUNTED = "How many?|4 + 4 = 8. The answer is 8."
BELOW = "A mill is a house in which grain is ground between two stones that water or wind turns around all day long."

SHAPES = [
    ({"prompt": "Say a", "response": "b"}, "instruction", "Say a|b"),
    ({"prompt": "Say a", "completion": "b"}, "instruction", "Say a|b"),
    ({"prompt": FRAME.format("Say a"), "response": " b\n"}, "instruction", "Say a|b"),
    ({"prompt": FRAME.format("Say a\n\n### Input:\nx\ny"), "response": "b"}, "instruction_input", "Say a|x\ny|b"),
    ({"instruction": "Say", "input": "a", "output": "b"}, "instruction_input", "Say|a|b"),
    ({"instruction": "Say a", "input": "", "output": "b"}, "instruction", "Say a|b"),
    ({"instruction": "Say", "context": "a", "response": "b", "category": "c"}, "instruction_input", "Say|a|b"),
    ({"question": "What?", "answer": 42}, "question", "What?|42"),
    ({"messages": chat("a?", "b")}, "question", "a?|b"),
    ({"messages": [{"role": "system", "content": "S"}, *chat("a", "b", "c", "d")]}, "dialogue", "S\n\na|b\n\nc|d"),
    ({"messages": chat("a", "b", "c")}, "instruction", "a|b"),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "instruction", "a|b"),
    ({"id": 7, "system_prompt": None, "conversations": TOLD}, "question", "S\n\nWhy?|b"),
    ({"question": "How many?", "rationale": "4 + 4 = 8. The answer is 8.", "answer": "8"}, "question", COUNTED),
    ({"question": "How many?", "rationale": "4 + 4 = 8. The answer is 8.", "pred_ans": "8", "gold_ans": "8"},
     "question", COUNTED),
    ({"question": "How many?", "rationale": "It is 18, less ten.", "answer": "8."},
     "question", "How many?|It is 18, less ten.\nThe answer is 8."),
    ({"messages": [{"role": "prompter", "text": "a"}, {"role": "assistant", "text": "b"}]}, "instruction", "a|b"),
    ({"messages": [{"role": "prompter", "content": "a"}, {"role": "assistant", "content": "b"}]}, "instruction", "a|b"),
    ({"prompt": FRAME.format(f"What is a mill?\n{BELOW}"), "response": "b"}, "instruction_input",
     f"What is a mill?|{BELOW}|b"),
    ({"prompt": f"Sum up the passage below.\n\n{BELOW}", "response": "b"}, "instruction_input",
     f"Sum up the passage below.|{BELOW}|b"),
    ({"prompt": f"Tell it again.\n{BELOW}", "response": "b"}, "instruction", f"Tell it again.\n{BELOW}|b"),
    ({"prompt": f"What is told?\n{BELOW} Is it true?", "response": "b"}, "question",
     f"What is told?\n{BELOW} Is it true?|b"),
    ({"prompt": "what is kangen water", "response": "b"}, "question", "what is kangen water|b"),
    ({"prompt": "Say\x00 a\r\nb", "response": "\ud800b"}, "instruction", "Say  a\nb|?b"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "task", "text"), SHAPES)
def test_every_shape(tmp_path, row, task, text):
    found = only(tmp_path, row)
    assert (found["reason"], found["template"], found["text"]) == (None, task, text)
    assert (found["file"], found["offset"], found["url"]) == ("a.jsonl", 0, "a.jsonl#0")
    assert (found["title"], found["topic"], found["seed"], found["finish"]) == (None, None, "", STOP)


REFUSED = [
    (b"{", rows.MALFORMED_JSON),
    (b'{"prompt": "\xff"}', rows.MALFORMED_JSON),
    (b"[" * 900, rows.MALFORMED_JSON),
    ([1], rows.UNKNOWN_SHAPE),
    ({"text": "a"}, rows.UNKNOWN_SHAPE),
    ({"prompt": ["a"], "response": "b"}, rows.UNKNOWN_SHAPE),
    ({"messages": ["a"]}, rows.UNKNOWN_SHAPE),
    ({"messages": chat("a", "b", roles=("user", "tool"))}, rows.UNKNOWN_SHAPE),
    ({"messages": chat("a", "b", roles=("assistant", "user"))}, rows.UNKNOWN_SHAPE),
    ({"prompt": "a", "response": " "}, rows.EMPTY),
    ({"question": "a", "rationale": "b", "answer": ""}, rows.EMPTY),
    ({"message_id": "1", "parent_id": None, "text": "a", "role": "prompter"}, rows.UNKNOWN_SHAPE),
    ({"question": "a", "rationale": ["b"], "answer": "c"}, rows.UNKNOWN_SHAPE),
    ({"instruction": None, "output": "b"}, rows.EMPTY),
    ({"messages": []}, rows.EMPTY),
    ({"messages": chat("a", "b", "", "d")}, rows.EMPTY),
    ({"prompt": "a", "response": "b" * 1000}, TOO_LARGE),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED)
def test_every_reason(tmp_path, line, reason):
    found = only(tmp_path, line)
    assert found["reason"] == reason and len(found["id"]) == 16 and found["url"] == "a.jsonl#0"


def line(number, size=10):
    return json.dumps({"prompt": f"Say {number}", "response": "x" * size}).encode() + b"\n"


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson.zst"])
def test_lines_keep_their_numbers_over_blank_and_long_ones(tmp_path, name):
    path = tmp_path / name
    data = line(0) + b" \n" + line(2, 5_000_000) + line(3) + line(4).rstrip()
    with pa.output_stream(str(path), compression="detect") as stream:
        stream.write(data)
    assert [(row["offset"], row["reason"]) for row in read(path)] == [(0, None), (2, TOO_LARGE), (3, None), (4, None)]
    assert [row["offset"] for row in read(path, 3)] == [3]
    assert read(path, start=5) == []
    whole = pa.Table.from_pylist([{"file": name, "path": str(path), "start": 0, "end": -1, "row": -1}], SPLIT)
    finer = stage(path).explode(whole, None)
    assert [split["row"] for split in finer.to_pylist()] == [0, 2, 3, 4]
    assert stage(path).prepare(None)(finer).to_pylist() == read(path)


def test_the_limit_is_exact(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(0) + line(1).rstrip())
    bytes_ = len(line(0)) - 1
    assert [row["reason"] for row in read(path, max_record_bytes=bytes_)] == [None, None]
    assert [row["reason"] for row in read(path, max_record_bytes=bytes_ - 1)] == [TOO_LARGE, TOO_LARGE]


def test_what_stands_before_damage_is_kept(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    data = gzip.compress(b"".join(line(number, 900) for number in range(3000)), 1)
    path.write_bytes(data[: len(data) * 2 // 3])
    found = read(path)
    assert len(found) > 1000 and {row["reason"] for row in found[:-1]} == {None}
    assert found[-1]["reason"] == DAMAGED_FILE and found[-1]["url"] == f"a.jsonl.gz#{len(found) - 1}"


def test_other_files_and_wrong_fields_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON lines"):
        read(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="put it back"):
        read(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="no form"):
        stage(tmp_path, forms=BARE[1:])
    with pytest.raises(ValueError, match="max_record_bytes"):
        stage(tmp_path, max_record_bytes=0)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(
            ["prompt", "response", "instruction", "input", "output", "question", "answer", "messages", "conversations"]
        ),
        st.sampled_from(["a", "", "\ud800", 3, None, True, {}, FRAME, FRAME.format("\udc00")])
        | st.lists(
            st.sampled_from([None, "a", {"role": "user", "content": "a"}, {"role": "assistant", "content": ["b"]}])
            | st.dictionaries(
                st.sampled_from(["role", "content", "from", "value"]),
                st.sampled_from(["user", "assistant", "gpt", "human", None, 1, []]),
            ),
            max_size=4,
        ),
    ).map(lambda row: json.dumps(row).encode())
)
def test_any_line_is_an_instruction_or_a_reason(data):
    try:
        found = rows.instruction_of(data)
    except rows.UnusableError as unusable:
        assert unusable.reason in (rows.MALFORMED_JSON, rows.UNKNOWN_SHAPE, rows.EMPTY)
    else:
        assert all(value.encode() for exchange in found.exchanges for value in exchange.values())


def test_the_engine_runs_it_over_the_priors_rows(tmp_path):
    instructions = stage(instructions_file(), max_record_bytes=1 << 16, forms=FORMS, label="instructions")
    books = engine.run(instructions, root=str(tmp_path / "run"))["instructions"]["books"]
    count = len(Path(instructions_file()).read_text("utf-8").splitlines())
    assert books["out"] == count >= 60 and not books["dropped"]
    root = Root(str(tmp_path / "run"))
    manifest = json.loads(root.read("instructions/manifest.json"))
    catalog = Catalog({instructions.fingerprint: place(root, manifest)})
    table = catalog.read(instructions, 0)
    assert table.schema.names == WRITTEN.names and len(set(table["text"].to_pylist())) == count
    assert set(table["template"].to_pylist()) == set(TASKS)


def test_a_conversation_keeps_one_form(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"messages": chat("a", "b", "c", str(i))}) for i in range(80)), "utf-8")
    texts = [row["text"] for row in read(path, forms=FORMS)]
    kinds = Counter(tuple(t.split("\n")[k].split(" ")[0] for k in (0, 1, 3, 4)) for t in texts)
    assert len(kinds) == 4 and all(kind[:2] == kind[2:] for kind in kinds)


def test_real_instruction_data():
    folder = os.environ.get("HARE_DATA")
    path = Path(folder or "") / "text" / "dolly_hhrlhf_small.jsonl.gz"
    if not folder or not path.exists():
        pytest.skip("needs HARE_DATA with text/dolly_hhrlhf_small.jsonl.gz")
    found = read(path, max_record_bytes=1 << 20, forms=FORMS)
    assert len(found) == 1000 and {row["reason"] for row in found} == {None}
    assert not any("### " in row["text"] or "Below is an instruction" in row["text"] for row in found)
    kinds = Counter(row["template"] for row in found)
    assert set(kinds) == {"question", "instruction", "instruction_input"} and min(kinds.values()) > 100
