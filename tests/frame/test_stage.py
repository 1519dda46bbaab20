"""A stage is a value: what its identity is made of, and what is refused when it is built."""

import time
from pathlib import Path

import pyarrow as pa
import pytest

from hare_ray.stage import Annotate, Keep, Make, Needs, Source, Stage, Table, upstream
from tests.frame.stages import Count, FirstOfKind, Lines, Longer


class Thing(Make):
    value: object
    extra: Stage | None = None


class Where(Annotate):
    docs: Table
    writes = pa.schema([("here", pa.string())])


def source(folder: Path, text: str = "a document") -> Source:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text(text)
    return Source(label="crawl", location=str(folder))


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), lambda: 1, Path("x"), {1: "a"}, b"bytes"])
def test_a_value_without_a_stable_form_raises_and_names_the_field(value):
    with pytest.raises(TypeError, match="field 'value' of Thing"):
        _ = Thing(value=value).fingerprint


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "x", (1, "a"), {"a": (1, 2)}, Needs(cpus=2)])
def test_a_stable_value_gives_the_same_fingerprint_in_every_object(value):
    assert Thing(value=value).fingerprint == Thing(value=value, label="another").fingerprint


def test_values_that_differ_only_in_type_or_nesting_have_different_fingerprints():
    values = [1, 1.5, "1", True, None, (1,), ((1,),), {"a": 1}, {"b": 1}]
    assert len({Thing(value=value).fingerprint for value in values}) == len(values)


def test_the_code_number_is_part_of_the_identity():
    class Newer(Thing):
        code = 2

    class Older(Thing):
        code = 1

    Newer.__name__ = Older.__name__
    assert Newer(value=1).fingerprint != Older(value=1).fingerprint


def test_resources_are_not_part_of_the_identity(monkeypatch):
    before = Thing(value=1).fingerprint
    monkeypatch.setattr(Thing, "needs", Needs(gpus=8, memory_bytes=1 << 40))
    assert Thing(value=1).fingerprint == before


def test_a_change_upstream_changes_every_fingerprint_below(tmp_path):
    docs = source(tmp_path / "in")
    before, after = (Count(docs=Lines(files=docs), unit=unit) for unit in ("characters", "letters"))
    assert before.fingerprint != after.fingerprint
    low, high = (Thing(value=0, extra=Thing(value=v, label="below")) for v in (1, 2))
    assert low.fingerprint != high.fingerprint


def test_a_source_is_its_files_not_its_place(tmp_path):
    one, two = source(tmp_path / "one"), source(tmp_path / "two")
    assert one.fingerprint == two.fingerprint
    assert source(tmp_path / "three", "another document").fingerprint != one.fingerprint


def test_a_diamond_of_depth_thirty_is_fingerprinted_in_milliseconds():
    class Two(Make):
        left: Stage
        right: Stage

    at: Stage = Thing(value=1, label="bottom")
    for depth in range(30):
        at = Two(left=at, right=at, label=f"depth_{depth}")
    began = time.perf_counter()
    assert at.fingerprint
    assert len(upstream(at)) == 31
    assert time.perf_counter() - began < 0.5  # 2**30 visits would take minutes


def test_stages_are_frozen_and_want_keywords():
    thing = Thing(value=1)
    with pytest.raises(AttributeError):
        thing.value = 2
    with pytest.raises(TypeError):
        Thing(1)
    with pytest.raises(TypeError, match="value"):
        Thing()


def test_two_stages_of_one_name_are_refused():
    one = Thing(value=1)
    with pytest.raises(ValueError, match="two stages are called 'thing'"):
        upstream(Thing(value=2, extra=one))


def test_opinions_of_different_bases_are_refused(tmp_path):
    docs = Lines(files=source(tmp_path / "in"))
    longer = Longer(docs=docs, min_chars=1)
    clean = Keep(label="clean", docs=docs, verdicts=(longer,))
    with pytest.raises(ValueError, match="same base object"):
        Keep(docs=clean, verdicts=(longer,))


def test_keep_refuses_a_verdict_without_reason_and_an_unknown_column(tmp_path):
    docs = Lines(files=source(tmp_path / "in"))
    with pytest.raises(ValueError, match="no column `reason`"):
        Keep(docs=docs, verdicts=(Where(docs=docs),))
    with pytest.raises(ValueError, match=r"cannot carry \['nothing'\]"):
        Keep(docs=docs, verdicts=(FirstOfKind(docs=docs),), carry=("nothing",))


def test_upstream_gives_inputs_before_users(tmp_path):
    docs = Lines(files=source(tmp_path / "in"))
    clean = Keep(label="clean", docs=docs, verdicts=(Longer(docs=docs, min_chars=1),))
    names = [stage.name for stage in upstream(Count(docs=clean, unit="characters"))]
    assert names == ["crawl", "lines", "longer", "clean", "count"]
