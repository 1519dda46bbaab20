"""Labels: both kinds of file, one crafted line per reason, limits, damage, and a run of the engine."""

import gzip
import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray import engine
from hare_ray.catalog import Catalog, place
from hare_ray.priors.quality import examples_file, load_examples
from hare_ray.quality import labels
from hare_ray.quality.labels import LABELLED, Labelled, label_of
from hare_ray.schema import DETAIL, REASON, SPLIT
from hare_ray.stage import Source
from hare_ray.store import Root

MAX_BYTES = 500
HUGE = 10**400
"""A number that JSON may hold and float64 may not."""


def stage(path, **changes):
    fields = {"files": Source(label="labels", location=str(path)), "scale": 5.0, "max_record_bytes": MAX_BYTES}
    return Labelled(**{**fields, **changes})


def split_of(path, row=-1, start=0):
    return pa.Table.from_pylist([{"file": path.name, "path": str(path), "start": start, "end": -1, "row": row}], SPLIT)


def read(path, row=-1, start=0, **changes):
    found = stage(path, **changes).prepare(None)(split_of(path, row, start))
    assert found.schema == pa.schema([*LABELLED, REASON, DETAIL])
    return found.to_pylist()


def written(folder, *lines, name="human.jsonl"):
    path = folder / name
    data = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_lines_become_labelled_documents(tmp_path):
    path = written(
        tmp_path,
        {"text": "a", "label": "good"},
        "",
        {"text": "b", "label": 2, "source": "wiki", "title": "B", "url": "http://b"},
        {"text": "c", "label": 0.25, "scale": 1},
        name="human.jsonl.gz",
    )
    rows = read(path)
    assert [(row["text"], row["label"], row["group"], row["offset"]) for row in rows] == [
        ("a", 1.0, "human", 0),
        ("b", pytest.approx(0.4), "wiki", 2),
        ("c", 0.25, "human", 3),
    ]
    assert [row["url"] for row in rows] == ["human.jsonl.gz#0", "http://b", "human.jsonl.gz#3"]
    assert rows[1]["title"] == "B"
    assert all(row["reason"] is None for row in rows)
    assert len({row["id"] for row in rows}) == 3


REASONS = [
    ('{"text": "a", ', labels.MALFORMED_JSON),
    ('["a", "good"]', labels.MALFORMED_JSON),
    ({"text": " \n", "label": 1}, labels.EMPTY),
    ({"label": 1}, labels.EMPTY),
    ({"text": 3, "label": 1}, labels.EMPTY),
    ({"text": "a"}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": "fine"}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": 5.5}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": -1}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": True}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": math.nan}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": 1, "scale": 0}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": 2, "scale": "5"}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": -2, "scale": -5}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": HUGE}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": 1, "scale": HUGE}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": 0.5, "scale": HUGE}, labels.UNKNOWN_LABEL),
    ({"text": "a", "label": 1, "scale": math.inf}, labels.UNKNOWN_LABEL),
    ({"text": "a" * MAX_BYTES, "label": 1}, labels.TOO_LARGE),
]


@pytest.mark.parametrize(("line", "reason"), REASONS)
def test_every_reason(tmp_path, line, reason):
    rows = read(written(tmp_path, line, {"text": "next", "label": "poor"}))
    assert [row["reason"] for row in rows] == [reason, None]
    assert rows[1]["label"] == 0
    if reason == labels.UNKNOWN_LABEL and isinstance(line, dict) and "label" in line:
        assert rows[0]["detail"] == repr(json.loads(json.dumps(line))["label"])[: labels.SHOWN_CHARS]


def test_a_damaged_file_gives_what_lies_before(tmp_path):
    path = written(tmp_path, *({"text": f"text {n}", "label": "good"} for n in range(2000)), name="a.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-2000])
    rows = read(path)
    assert rows[-1]["reason"] == labels.DAMAGED_FILE
    assert 0 < len(rows) - 1 < 2000
    assert all(row["reason"] is None for row in rows[:-1])


def test_the_examples_of_the_package_are_read():
    rows = read(Path(examples_file()))
    assert [(row["text"], row["label"] == 1, row["group"]) for row in rows] == [
        (text, label == "good", f"quality_examples/{kind}") for text, label, kind in load_examples()
    ]
    assert all(row["reason"] is None for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)


def test_kinds_of_a_list_are_groups(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "good:\n- {kind: story, texts: [a, b]}\n- {kind: proof, texts: [c]}\npoor: [{kind: story, texts: [d]}]\n"
    )
    found = [(row["text"], row["label"], row["group"], row["offset"]) for row in read(path)]
    assert found == [
        ("a", 1, "mine/story", 0), ("b", 1, "mine/story", 1), ("c", 1, "mine/proof", 2), ("d", 0, "mine/story", 3),
    ]  # fmt: skip


def test_a_broken_list_names_file_and_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("good: [{kind: a, texts: [one]}]\npoor:\n  - {kind: b, texts: [3]}\nbad: 4\n")
    with pytest.raises(ValueError, match=r"mine.yaml, line 4: bad: there is no such key"):
        read(path)


def test_other_files_and_missing_ones_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a name that ends in"):
        read(written(tmp_path, "a,b", name="a.csv"))
    with pytest.raises(ValueError, match="put it back"):
        read(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("numbers", [{"scale": 0.0}, {"scale": math.inf}, {"max_record_bytes": 0}])
def test_numbers_that_mean_nothing_are_refused(tmp_path, numbers):
    with pytest.raises(ValueError, match=f"given {next(iter(numbers))}="):
        stage(tmp_path, **numbers)


def test_single_rows_are_the_rows_of_the_whole(tmp_path):
    path = written(tmp_path, {"text": "a", "label": 1}, "", "{", {"text": "b", "label": 4})
    finer = stage(path).explode(split_of(path), None)
    assert finer.column("row").to_pylist() == [0, 2, 3]
    assert [row for n in (0, 2, 3) for row in read(path, row=n)] == read(path)
    assert read(path, start=1) == []


def test_a_run_drops_what_has_no_label_into_the_ledger(tmp_path):
    path = written(tmp_path, {"text": "a", "label": "good"}, {"text": "b", "label": "?"}, {"text": "c", "label": 0})
    target = stage(path, label="labelled")
    books = engine.run(target, root=str(tmp_path / "run"))["labelled"]["books"]
    assert books["out"] == 2 and sum(books["dropped"].values()) == 1
    root = Root(str(tmp_path / "run"))
    manifest = json.loads(root.read("labelled/manifest.json"))
    kept = Catalog({target.fingerprint: place(root, manifest)}).read(target, 0)
    assert kept.column("text").to_pylist() == ["a", "c"]
    assert kept.schema.names == LABELLED.names


@settings(max_examples=50)
@given(st.floats(0, 100), st.floats(0.1, 100))
def test_a_label_is_a_share_of_its_scale(value, scale):
    found = label_of(value, scale)
    assert found == (value / scale if value / scale <= 1 else None)


NUMBERS = st.integers() | st.integers(0, 9) | st.floats() | st.sampled_from([HUGE, -HUGE])
JSON = st.recursive(
    NUMBERS | st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(NUMBERS | JSON, NUMBERS | JSON), min_size=10, max_size=30))
def test_any_values_of_json_are_a_label_or_an_unknown_one(tmp_path_factory, pairs):
    lines = ({"text": "a", "label": label, "scale": scale} for label, scale in pairs)
    rows = read(written(tmp_path_factory.mktemp("any"), *lines), max_record_bytes=10_000)
    for row, (label, scale) in zip(rows, pairs, strict=True):
        assert row["reason"] in (None, labels.UNKNOWN_LABEL)
        assert 0 <= row["label"] <= 1
        if row["reason"] is None and not isinstance(label, str):
            assert abs(scale) < HUGE
            assert row["label"] == pytest.approx(label / scale)


@pytest.mark.parametrize("depth", [100, 950, 990, 100_000])
def test_deep_values_are_no_label(tmp_path, depth):
    line = '{"text": "a", "label": ' + "[" * depth + "]" * depth + "}"
    row = read(written(tmp_path, line), max_record_bytes=10**6)[0]
    assert row["reason"] in (labels.UNKNOWN_LABEL, labels.MALFORMED_JSON)
