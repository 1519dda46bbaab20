"""Benchmarks: every known layout gives question, choices and answer; what cannot be read names its place."""

import gzip
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.leakage.benchmarks import ITEMS, SCHEMA, Benchmarks
from hare_ray.leakage.forms import Parsed, reader
from hare_ray.priors.benchmarks import Form, load_benchmark_forms, load_leaderboard, named
from hare_ray.stage import Make

FORMS = load_benchmark_forms()
DATA = Path(os.environ.get("HARE_DATA", "")) / "eval"

LAYOUTS = {
    "arc_hub": (
        {"id": "M_1", "question": "Q?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"},
        Parsed("Q?", ["a", "b"], "b", "M_1"),
    ),
    "arc_nested": (
        {
            "id": "M_1",
            "question": {"stem": "Q?", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]},
            "answerKey": "A",
        },
        Parsed("Q?", ["a", "b"], "a", "M_1"),
    ),
    "mmlu": (
        {"question": "Q?", "subject": "law", "choices": ["a", "b", "c"], "answer": 2},
        Parsed("Q?", ["a", "b", "c"], "c", None),
    ),
    "lettered": ({"question": "Q?", "choices": ["x", "y"], "answer": "B"}, Parsed("Q?", ["x", "y"], "y", None)),
    "named": ({"question": "Q?", "choices": ["x", "y"], "answer": "x"}, Parsed("Q?", ["x", "y"], "x", None)),
    "hellaswag": (
        {"ind": 4, "ctx": "[header] How to [title] He", "endings": ["sits.", "runs."], "label": "1", "split": "val"},
        Parsed(" How to  He", ["sits.", "runs."], "runs.", "4"),
    ),
    "hellaswag_withheld": ({"ctx": "He", "endings": ["sits."], "label": ""}, Parsed("He", ["sits."], None, None)),
    "truthfulqa_hub": (
        {
            "question": "Q?",
            "mc1_targets": {"choices": ["no", "yes"], "labels": [0, 1]},
            "mc2_targets": {"choices": ["no", "yes", "yes!"], "labels": [0, 1, 1]},
        },
        Parsed("Q?", ["no", "yes", "yes!"], "yes", None),
    ),
    "truthfulqa": (
        {"question": "Q?", "mc1_targets": {"yes": 1, "no": 0}, "mc2_targets": {"yes": 1, "sure": 1, "no": 0}},
        Parsed("Q?", ["yes", "no", "sure"], "yes", None),
    ),
    "winogrande": (
        {"qID": "3X-1", "sentence": "The _ is red.", "option1": "cup", "option2": "sky", "answer": "2"},
        Parsed("The _ is red.", ["cup", "sky"], "sky", "3X-1"),
    ),
    "gsm8k": (
        {"question": "How many?", "answer": "He has 2+3=<<2+3=5>>5 eggs.\n#### 5"},
        Parsed("How many?", ["He has 2+3=5 eggs.\n#### 5"], "5", None),
    ),
    "plain_answer": ({"question": "Who?", "answer": "Ann"}, Parsed("Who?", [], "Ann", None)),
    "cloze": (
        {"id": "c", "url": "u", "question": "A ____ b.", "choices": ["x", "y"], "answer": 1},
        Parsed("A ____ b.", ["x", "y"], "y", "c"),
    ),
    "text": ({"id": "t", "url": "u", "text": "All of it."}, Parsed("All of it.", [], None, "t")),
    "boolq": (
        {"query": "Passage: It is.\nQuestion: is it?", "choices": ["no", "yes"], "gold": 1},
        Parsed("is it?", ["no", "yes"], "yes", None, "It is."),
    ),
    "boolq_of_lines": (
        {"query": "Passage: A.\nQuestion: B?\nC.\nQuestion: is it?", "choices": ["no", "yes"], "gold": 0},
        Parsed("is it?", ["no", "yes"], "no", None, "A.\nB?\nC."),
    ),
    "piqa_query": (
        {"query": "Question: dresser\n", "choices": ["a"], "gold": 0},
        Parsed("dresser\n", ["a"], "a", None),
    ),
    "query_of_another_layout": (
        {"query": "It is. Is it?", "choices": ["a"], "gold": 0},
        Parsed("It is. Is it?", ["a"], "a", None),
    ),
    "boolq_hub": (
        {"question": "is it", "passage": "It is.", "answer": False},
        Parsed("is it", [], "no", None, "It is."),
    ),
    "squad": (
        {"context": "It is.", "question": "What?", "answers": {"text": ["it", "It"], "answer_start": [0, 0]}},
        Parsed("What?", [], "it", None, "It is."),
    ),
    "race": (
        {"article": "It is.", "question": "It _ .", "options": ["is", "was"], "answer": "A", "example_id": "h1.txt"},
        Parsed("It _ .", ["is", "was"], "is", None, "It is."),
    ),
    "ten_options": (
        {"question": "Q?", "options": list("abcdefghij"), "answer": "J", "answer_index": 9},
        Parsed("Q?", list("abcdefghij"), "j", None),
    ),
    "piqa": ({"goal": "G", "sol1": "a", "sol2": "b", "label": 0}, Parsed("G", ["a", "b"], "a", None)),
    "blimp": (
        {"sentence_good": "He sits.", "sentence_bad": "He sit.", "UID": "agreement", "pairID": "7"},
        Parsed("He sits.", ["He sits.", "He sit."], "He sits.", "agreement-7"),
    ),
    "humaneval": (
        {"task_id": "H/0", "prompt": "def f():", "canonical_solution": "  pass", "test": "", "entry_point": "f"},
        Parsed("def f():", [], "  pass", "H/0"),
    ),
    "lambada": ({"context": "He went", "continuation": "home"}, Parsed("He went", [], "home", None)),
    "test_split": ({"question": "Q?", "choices": ["a"], "answer": -1}, Parsed("Q?", ["a"], None, None)),
    "half_a_pair": ({"question": "Q\ud800?"}, Parsed("Q??", [], None, None)),
}


def made(folder: Path, files: dict[str, bytes], **other):
    """What Benchmarks writes about files of one source, and its books."""
    source, out = folder / "source", folder / "out"
    out.mkdir()
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    stage = Make(label="exams")
    desk = SimpleNamespace(folder=out, files=lambda _: source, names=lambda _: tuple(files))
    books = Benchmarks(**{"files": (stage,), "tasks": (), "forms": FORMS, **other}).make(desk)  # pyright: ignore
    return pq.read_table(out / ITEMS), books


def lines(*items) -> bytes:
    return "".join(json.dumps(item) + "\n" for item in items).encode()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_known_layout_is_read(layout):
    record, expected = LAYOUTS[layout]
    assert reader(FORMS)(record, "x") == expected


def test_forms_are_found_by_types_and_not_by_names_alone():
    read = reader(FORMS)
    assert read({"question": "Q", "choices": ["a", "b"], "answer": 1}, "x").answer == "b"
    assert read({"question": "Q", "choices": ["1", "0"], "answer": "1"}, "x").answer == "1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lines({"question": "Q"}, {"stem": "Q", "n": 3}), r"exam\.jsonl, line 2: given a record with stem \(str\)"),
        (b'{"question": "Q"}\n\n{"question": \n', r"exam\.jsonl, line 3: given .* expected JSON"),
        (b'{"question": "\xff"}\n', r"exam\.jsonl, line 1: given .* expected JSON"),
        (b'["question"]\n', r"exam\.jsonl, line 1: .* expected a JSON object"),
        (lines({"question": "Q", "choices": ["a"], "answer": 1}), r"line 1: given the answer 1 for 1 choices"),
        (lines({"question": "Q", "choices": ["a"], "answer": "C"}), "given the answer C for 1 choices"),
        (lines({"question": "Q", "choices": [{"a": []}], "answer": 0}), "where text was expected"),
        (b"\n\n", "without one item"),
    ],
)
def test_what_cannot_be_read_names_its_place(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        made(tmp_path, {"exam.jsonl": data})


def test_a_damaged_file_is_refused(tmp_path):
    whole = gzip.compress(lines(*({"question": f"Q{n}" * 50} for n in range(200))))
    with pytest.raises(ValueError, match=r"exam\.jsonl\.gz: given a file that is damaged"):
        made(tmp_path, {"exam.jsonl.gz": whole[:-40]})


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"exam\.parquet: given a file that is no Parquet"):
        made(tmp_path, {"exam.parquet": b"PAR?"})


def test_files_are_one_table_in_order_and_no_item_is_lost(tmp_path):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"question": ["P1", "P2"], "answer": ["a", "b"]}), buffer)
    table, books = made(
        tmp_path,
        {
            "b_test.jsonl": lines({"question": "B1"}, {"id": "own", "question": "B2"}, {"question": ""}),
            "a_val.jsonl.gz": gzip.compress(lines({"question": "A1"})),
            "gsm/main/test-00000-of-00002.parquet": buffer.getvalue().to_pybytes(),
            "gsm/main/test-00001-of-00002.parquet": buffer.getvalue().to_pybytes(),
            "README.md": b"what this is",
        },
    )
    assert table.schema.equals(SCHEMA)
    rows = [(r["benchmark"], r["split"], r["id"], r["question"]) for r in table.to_pylist()]
    assert rows == [
        ("a", "val", "1", "A1"),
        ("b", "test", "1", "B1"),
        ("b", "test", "own", "B2"),
        ("b", "test", "3", ""),
        ("gsm_main", "test", "1", "P1"),
        ("gsm_main", "test", "2", "P2"),
        ("gsm_main", "test", "3", "P1"),
        ("gsm_main", "test", "4", "P2"),
    ]
    assert books == {"items": 8, "files": 4, "other_files": 1, "tasks": 0}


def test_the_split_is_the_records_where_the_name_has_none(tmp_path):
    table, _ = made(tmp_path, {"exam.jsonl": lines({"question": "1", "split": "dev"}, {"question": "2"})})
    assert table.column("split").to_pylist() == ["dev", "all"]


def test_passages_are_a_column_of_their_own(tmp_path):
    rows = {"question": "is it", "passage": "It is.", "answer": True}, {"question": "Why?", "answer": "So."}
    table, _ = made(tmp_path, {"exam.jsonl": lines(*rows)})
    assert table.select(["question", "context"]).to_pylist() == [
        {"question": "is it", "context": "It is."},
        {"question": "Why?", "context": None},
    ]


def test_ids_that_come_again_are_told_apart(tmp_path):
    table, _ = made(tmp_path, {"exam.jsonl": lines(*({"id": 5, "question": f"{n}"} for n in range(3)))})
    assert table.column("id").to_pylist() == ["5", "5#2", "5#3"]


def test_two_files_for_one_split_are_refused(tmp_path):
    files = {"exam_test.jsonl": lines({"question": "1"}), "more/exam_test.jsonl": lines({"question": "2"})}
    with pytest.raises(ValueError, match="two sources of exam, split test"):
        made(tmp_path, files)


def test_a_source_without_items_and_a_recipe_without_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected files that end in"):
        made(tmp_path, {"exam.csv": b"question\nQ\n"})
    with pytest.raises(ValueError, match="neither files nor tasks"):
        Benchmarks(files=(), tasks=(), forms=FORMS)
    with pytest.raises(ValueError, match="each once"):
        Benchmarks(files=(), tasks=("mmlu", "mmlu"), forms=FORMS)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("arc_challenge_test.jsonl.gz", ("arc_challenge", "test")),
        ("winogrande_xl_dev.jsonl", ("winogrande_xl", "dev")),
        ("truthfulqa.jsonl", ("truthfulqa", "all")),
        ("latest.jsonl", ("latest", "all")),
        ("mmlu/all/validation-00000-of-00001.parquet", ("mmlu_all", "validation")),
        ("gsm8k/data/train.parquet", ("gsm8k", "train")),
        ("test.parquet", ("exams", "test")),
    ],
)
def test_a_name_is_benchmark_and_split(file, expected):
    assert named(file, otherwise="exams") == expected


def test_forms_are_part_of_the_identity_and_an_unknown_kind_of_answer_is_refused():
    source = Make(label="exams")
    one = Benchmarks(files=(source,), tasks=(), forms=FORMS)
    assert one.fingerprint != Benchmarks(files=(source,), tasks=(), forms=FORMS[1:]).fingerprint
    assert one.required_packages() == () and len(load_leaderboard()) == 7
    with pytest.raises(ValueError, match="given answer_as='guess'"):
        Form("mine", ("q:str",), ("q",), answer_as="guess")
    with pytest.raises(ValueError, match="given divide="):
        Form("mine", ("q:str",), ("q",), divide="(?P<context>.*)#(.*)")


@given(st.lists(st.text(), min_size=1, max_size=6), st.data())
@settings(max_examples=50, deadline=None)
def test_the_answer_is_the_choice_at_its_place(choices, data):
    place = data.draw(st.integers(0, len(choices) - 1))
    item = reader(FORMS)(json.loads(json.dumps({"question": "Q", "choices": choices, "answer": place})), "x")
    assert item.answer == item.choices[place] and len(item.choices) == len(choices)


NAMES = sorted({path.partition(":")[0].partition(".")[0] for form in FORMS for path in form.fields} | {"label", "id"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "label", "x"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_record_is_read_or_refused_with_its_place(record):
    try:
        item = reader(FORMS)(record, "file, line 7")
    except ValueError as error:
        assert str(error).startswith("file, line 7: given ")
    else:
        assert isinstance(item.question, str) and all(isinstance(choice, str) for choice in item.choices)


@pytest.mark.skipif(not DATA.is_dir(), reason="HARE_DATA is not set")
def test_every_file_of_the_real_benchmarks_is_read(tmp_path):
    names = ("*_test.jsonl.gz", "winogrande_xl_dev.jsonl.gz", "hellaswag_val.jsonl.gz")
    files = [path for name in names for path in sorted(DATA.glob(name))]
    stage, expected = Make(label="exams"), 0
    for path in files:
        with gzip.open(path) as opened:
            expected += sum(1 for line in opened if line.strip())
    desk = SimpleNamespace(folder=tmp_path, files=lambda _: DATA, names=lambda _: tuple(path.name for path in files))
    Benchmarks(files=(stage,), tasks=(), forms=FORMS).make(desk)  # pyright: ignore
    table = pq.read_table(tmp_path / ITEMS)
    assert len(table) == expected and table.column("answer").null_count == 0
    assert all(table.column("question").to_pylist())
