"""The request cache: what was answered before, here or in a root to reuse, is not asked again; all else is."""

import json
import uuid
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.engine import Settings, run
from hare_ray.manifest import load_all
from hare_ray.stage import Source, upstream
from hare_ray.store import Root
from hare_ray.synth import cache
from hare_ray.synth.cache import request_keys
from hare_ray.synth.cache_join import KEYS, Join, bucket_of, match
from hare_ray.synth.generate import Generate
from hare_ray.tree import outlook
from tests.synth import upper
from tests.synth.fake_openai import FakeOpenAI
from tests.synth.upper import Templated, Upper

PLAIN = (("one", "tell of"), ("two", "ask about"), ("three", "count"))
EDITED = (PLAIN[0], ("two", "wonder about"), PLAIN[2])


@pytest.fixture
def asked() -> list[str]:
    upper.ASKED.clear()
    return upper.ASKED


def write(folder: Path, *parts: list[str]) -> Source:
    folder.mkdir(exist_ok=True)
    for number, lines in enumerate(parts):
        (folder / f"{number}.txt").write_text("\n".join(lines))
    return Source(location=str(folder), part_bytes=1)


@pytest.fixture
def lines(tmp_path) -> Source:
    return write(tmp_path / "in", ["cat", "dog"], ["sun"], [], ["tree", "leaf", "root"])


def prompts(lines: Source, templates=PLAIN) -> Templated:
    return Templated(files=lines, templates=templates)


def rows(root: Path, stage) -> list[dict]:
    manifest = json.loads((root / stage.name / "manifest.json").read_text())
    place = root / stage.name / manifest["fingerprint"][:12]
    return [
        row for n in range(len(manifest["parts"])) for row in pq.read_table(place / f"part-{n:05d}.parquet").to_pylist()
    ]


def texts(root: Path, stage) -> list[str]:
    return [row["answer"] for row in rows(root, stage)]


def expected(stage) -> list[str]:
    folder = Path(stage.prompts.files.location)
    found = [line for file in sorted(folder.iterdir()) for line in file.read_text().splitlines()]
    return [f"{text} {line}".upper() for line in found for _, text in stage.prompts.templates]


def books(root: Path, stage) -> dict:
    return json.loads((root / stage.name / "manifest.json").read_text())["books"]


def test_of_three_templates_the_edited_one_alone_is_asked_again(lines, asked, tmp_path):
    root = tmp_path / "run"
    run(Upper(prompts=prompts(lines)), root=str(root))
    asked.clear()
    stage = Upper(prompts=prompts(lines, EDITED))
    run(stage, root=str(root), settings=Settings(redo=("templated",)))
    assert sorted(asked) == sorted(f"wonder about {line}" for line in ("cat", "dog", "sun", "tree", "leaf", "root"))
    assert texts(root, stage) == expected(stage)
    assert books(root, stage)["reused"] == 12
    assert [entry.name for entry in (root / "upper").iterdir() if entry.is_dir()] == [stage.fingerprint[:12]]


def test_a_server_is_asked_for_the_rows_of_the_edited_template_and_for_no_other(lines, tmp_path):
    root, same = tmp_path / "run", {"model": None, "llm": "fake", "chat": False, "max_tokens": 8, "top_p": 1.0}
    with FakeOpenAI() as server:

        def stage(templates=PLAIN, **changed) -> Generate:
            fields = {"temperature": 0.0, "seed": 1, "endpoint": server.url, **same, **changed}
            return Generate(prompts=prompts(lines, templates), **fields)

        run(stage(), root=str(root))
        assert len(server.asked) == 18
        server.asked.clear()
        edited = stage(EDITED)
        run(edited, root=str(root), settings=Settings(redo=("templated",)))
        assert sorted(one.prompt.split()[0] for one in server.asked) == ["wonder"] * 6
        assert texts(root, edited) == expected(edited)
        assert books(root, edited)["reused"] == 12
        for number, changed in enumerate(({"temperature": 0.5}, {"seed": 2}, {"max_tokens": 9})):
            server.asked.clear()
            settings = Settings(reuse=str(root))
            run(stage(EDITED, **changed), root=str(tmp_path / f"new{number}"), settings=settings)
            assert len(server.asked) == 18


@pytest.mark.parametrize(
    "changed", [{"temperature": 0.5}, {"llm": "other"}, {"seed": 2}, {"chat": True}, {"top_p": 0.9}]
)
def test_other_parameters_or_another_model_ask_everything(lines, asked, tmp_path, changed):
    root, new = tmp_path / "run", tmp_path / "new"
    run(Upper(prompts=prompts(lines)), root=str(root))
    asked.clear()
    stage = Upper(prompts=prompts(lines), **changed)
    run(stage, root=str(new), settings=Settings(reuse=str(root)))
    assert len(asked) == 18
    assert books(new, stage)["reused"] == 0


def test_a_stage_that_redo_names_itself_asks_everything(lines, asked, tmp_path):
    root, stage = tmp_path / "run", Upper(prompts=prompts(lines))
    run(stage, root=str(root))
    asked.clear()
    run(stage, root=str(root), settings=Settings(redo=("upper",)))
    assert len(asked) == 18


def test_what_redo_makes_anew_without_an_edit_is_not_asked_again(lines, asked, tmp_path):
    root, stage = tmp_path / "run", Upper(prompts=prompts(lines))
    run(stage, root=str(root))
    before = files(root)
    asked.clear()
    run(stage, root=str(root), settings=Settings(redo=("templated",)))
    assert asked == []
    assert books(root, stage)["reused"] == 18
    assert files(root) == before


def files(root: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    told = (".parquet", ".arrow")  # of the others the names: they hold times
    return {name: path.read_bytes() if name.endswith(told) else b"" for name, path in found.items()}


def test_a_stopped_run_of_an_earlier_recipe_serves_with_its_parts_and_its_journal(lines, asked, tmp_path):
    root = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stopped"):
        run(Upper(prompts=prompts(lines), stop_after=11), root=str(root))  # parts of 6, 3, 0 and 9 rows
    answered = set(asked)
    asked.clear()
    stage = Upper(prompts=prompts(lines, EDITED))
    run(stage, root=str(root), settings=Settings(redo=("templated",)))
    again = {text for text in answered if not text.startswith("ask")}
    assert set(asked) == {text.lower() for text in expected(stage)} - again
    assert books(root, stage)["reused"] == len(again) == 7
    assert texts(root, stage) == expected(stage)


def test_on_an_object_store_the_same_holds(lines, asked):
    root, redo = f"memory://{uuid.uuid4().hex}", Settings(redo=("templated",))
    for stage in (Upper(prompts=prompts(lines), stop_after=11), Upper(prompts=prompts(lines, EDITED), stop_after=3)):
        with pytest.raises(RuntimeError, match="stopped"):
            run(stage, root=root, settings=redo)
    stage = Upper(prompts=prompts(lines, EDITED))
    made = run(stage, root=root, settings=redo)
    assert len(asked) == 11 + 11
    assert made["upper"]["books"]["reused"] == 7
    assert Root(root).names("upper") == [stage.fingerprint[:12], "manifest.json"]
    found = {name.split("-")[0] for name in Root(root).names(f"upper/{stage.fingerprint[:12]}")}
    assert found == {"part"}


def test_a_root_to_reuse_serves_and_stays_as_it_is(lines, asked, tmp_path):
    root, new = tmp_path / "run", tmp_path / "new"
    with pytest.raises(RuntimeError, match="stopped"):
        run(Upper(prompts=prompts(lines), stop_after=16), root=str(root))
    before = files(root)
    asked.clear()
    stage = Upper(prompts=prompts(lines))  # the same recipe: its unfinished parts serve, too
    run(stage, root=str(new), settings=Settings(reuse=str(root)))
    assert len(asked) == 2
    assert texts(new, stage) == expected(stage)
    assert files(root) == before


def test_a_run_that_is_stopped_while_it_makes_anew_goes_on_with_the_same_command(lines, asked, tmp_path):
    root, redo = tmp_path / "run", Settings(redo=("templated",))
    run(Upper(prompts=prompts(lines)), root=str(root))
    asked.clear()
    with pytest.raises(RuntimeError, match="stopped"):
        run(Upper(prompts=prompts(lines, EDITED), stop_after=3), root=str(root), settings=redo)
    stage = Upper(prompts=prompts(lines, EDITED))
    run(stage, root=str(root), settings=redo)
    assert len(asked) == len(set(asked)) == 6
    assert books(root, stage)["reused"] == 12
    assert texts(root, stage) == expected(stage)
    assert not [
        path for path in (root / "upper").rglob("*") if "lasting" in path.name or path.name in ("scratch", "aside")
    ]


def test_errors_are_asked_again(tmp_path, asked):
    lines = write(tmp_path / "in", ["cat", "fail at it"])
    root, new = tmp_path / "run", tmp_path / "new"
    run(Upper(prompts=prompts(lines)), root=str(root))
    asked.clear()
    more = prompts(lines, (*PLAIN, ("four", "sing")))
    run(Upper(prompts=more), root=str(new), settings=Settings(reuse=str(root)))
    assert sorted(asked) == sorted([*(f"{text} fail at it" for _, text in PLAIN), "sing cat", "sing fail at it"])


def test_parts_without_keys_serve_nothing_and_stop_nothing(lines, asked, tmp_path):
    root, new = tmp_path / "run", tmp_path / "new"
    stage = Upper(prompts=prompts(lines))
    run(stage, root=str(root))
    for path in (root / "upper").rglob("part-*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["request"]), path)
    asked.clear()
    run(Upper(prompts=prompts(lines, EDITED)), root=str(new), settings=Settings(reuse=str(root)))
    assert len(asked) == 18


def cut(bucket_bytes: int):
    return partial(Join, bucket_bytes=bucket_bytes, group_rows=4)


@pytest.mark.parametrize("bucket_bytes", [1 << 20, 700, 64])
def test_however_the_join_is_cut_the_answers_are_the_same(lines, asked, tmp_path, monkeypatch, bucket_bytes):
    monkeypatch.setattr(cache, "Join", cut(bucket_bytes))
    first = write(tmp_path / "other", ["root", "cat", "cat"], ["moon", "leaf"])  # other parts, some twice
    root, new = tmp_path / "run", tmp_path / "new"
    run(Upper(prompts=prompts(first)), root=str(root))
    asked.clear()
    stage = Upper(prompts=prompts(lines))
    run(stage, root=str(new), settings=Settings(reuse=str(root)))
    assert sorted(asked) == sorted(f"{text} {line}" for _, text in PLAIN for line in ("dog", "sun", "tree"))
    assert texts(new, stage) == expected(stage)
    assert not list(new.rglob("*lasting*"))


def told(stage, *redo: str, made: str | None = None, offered: str | None = None) -> list[str]:
    here, there = (load_all(Root(root)) if root else {} for root in (made, offered))
    return [line for line in outlook(upstream(stage), here, there, redo).lines(made or "") if "upper would" in line]


def test_a_plan_says_what_would_be_asked_as_far_as_manifests_tell(lines, asked, tmp_path):
    root, stage, edited = str(tmp_path / "run"), Upper(prompts=prompts(lines)), Upper(prompts=prompts(lines, EDITED))
    run(stage.prompts, root=root)
    assert told(stage, made=root) == ["upper would ask 18 rows less what a stopped run was answered"]
    run(stage, root=root)
    assert told(stage, made=root) == []
    fits = (
        "but not those whose model, prompt and parameters are as before: their answers are taken over, of 18 on record"
    )
    for line in (told(edited, made=root), told(edited, "templated", made=root), told(edited, offered=root)):
        assert line == [f"upper would ask its rows, which are not made yet, {fits}"]
    assert told(Upper(prompts=prompts(lines), seed=2), offered=root) == [f"upper would ask 18 rows {fits}"]
    assert told(stage, "upper", made=root) == ["upper would ask 18 rows anew"]


def table(keys: list[int]) -> pa.Table:
    digests = [xxhash.xxh3_128_digest(bytes([key])) for key in keys]
    return pa.table([digests, list(range(len(keys))), list(range(len(keys)))], schema=KEYS)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=30), st.lists(st.integers(0, 12), max_size=30), st.integers(1, 5))
def test_buckets_hold_all_matches_and_each_is_with_the_first_of_its_key(asked, earlier, buckets):
    whole = match(table(asked), table(earlier)).to_pylist()
    assert {row["part"]: row["piece"] for row in whole} == {
        n: earlier.index(key) for n, key in enumerate(asked) if key in earlier
    }
    found = []
    for bucket in range(buckets):
        sides = (table(asked), table(earlier))
        kept = [t.filter(pa.array(bucket_of(t["key"].combine_chunks(), buckets) == bucket)) for t in sides]
        found += match(*kept).to_pylist()
    assert sorted(found, key=lambda row: row["part"]) == whole


PARAMETERS = {"model": None, "llm": "m", "chat": False, "max_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 1}


def key_of(prompt: str | None = "hello", schema: str | None = None, number: int = 0, **changed) -> bytes:
    asked = pa.table({"id": [bytes([number]) * 16], "prompt": [prompt], "schema": [schema]})
    asked = asked.cast(pa.schema([("id", pa.binary(16)), ("prompt", pa.large_string()), ("schema", pa.large_string())]))
    stage = Generate(prompts=Templated(files=Source(location="."), templates=PLAIN), **{**PARAMETERS, **changed})
    return request_keys(stage, asked)[0].as_py()


def test_whatever_changes_an_answer_changes_its_key_and_nothing_else_does():
    others = [
        key_of("hello!"), key_of(schema="{}"), key_of(schema='{"a": 1}'), key_of(number=1), key_of(llm="n"),
        key_of(chat=True), key_of(max_tokens=9), key_of(temperature=0.1), key_of(top_p=0.9), key_of(seed=2),
        key_of(""), key_of(None), key_of(llm="", endpoint="http://one/v1"), key_of(llm="", endpoint="http://two/v1"),
        key_of(llm="", model=Source(location=__file__)),
    ]  # fmt: skip
    assert len({key_of(), *others}) == 16
    assert key_of(endpoint="http://one/v1", clients=3) == key_of()  # where it is asked is no part of the question
    assert key_of(temperature=0) == key_of()
