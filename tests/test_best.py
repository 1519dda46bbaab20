"""The best rows of every group, against sorting all of them, for any cut into parts and any number of fetched rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hare_ray.best
from hare_ray.best import Contest, Documents, best, check_tables, counted, id_hashes
from hare_ray.stage import Annotate, Table


def in_turn(function, items):
    return [function(item) for item in items]


def cut(rows, edges):
    spans = [slice(a, b) for a, b in zip([0, *edges], [*edges, len(rows.group)], strict=True)]
    parts = [Contest(rows.group[s], rows.quality[s], rows.hashes[s]) for s in spans]
    return parts.__getitem__, len(parts)


def admitted(rows, wanted, edges=()):
    contest, parts = cut(rows, list(edges))
    sizes = counted(in_turn, contest, parts)
    limits = best(in_turn, contest, parts, np.asarray(wanted)[: len(sizes)], sizes)
    return limits.admit(rows)


def sorted_out(rows, wanted):
    """The same by sorting."""
    kept = np.zeros(len(rows.group), bool)
    for group, number in enumerate(wanted):
        mine = np.flatnonzero(rows.group == group)
        order = mine[np.lexsort((rows.hashes[mine], rows.quality[mine]))][::-1]
        kept[order[:number]] = True
    return kept


QUALITY = st.one_of(st.sampled_from([0.0, -0.0, 0.5, 1.0]), st.floats(-1, 1, width=32))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([0, 3, 1000]))
def test_as_by_sorting_all_rows(data, fetched):
    rows = data.draw(st.lists(st.tuples(st.integers(-1, 3), QUALITY), max_size=60))
    wanted = data.draw(st.lists(st.integers(0, 30), min_size=4, max_size=4))
    edges = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    hashes = np.random.default_rng(1).permutation(len(rows)).astype(np.uint64) << np.uint64(20)
    columns = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float32)
    contest = Contest(*columns, hashes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hare_ray.best, "FETCHED_ROWS", fetched)
        found = admitted(contest, wanted, edges)
    np.testing.assert_array_equal(found, sorted_out(contest, wanted))


def test_many_rows_are_found_by_passes_alone_and_by_a_fetch(monkeypatch):
    rng = np.random.default_rng(2)
    rows = Contest(
        rng.integers(-1, 20, 50_000),
        rng.beta(2, 3, 50_000).astype(np.float32),
        rng.integers(0, 2**63, 50_000, dtype=np.uint64),
    )
    wanted = rng.integers(0, 3000, 20)
    expected = sorted_out(rows, wanted)
    for fetched in (0, 500, 1 << 20):
        monkeypatch.setattr(hare_ray.best, "FETCHED_ROWS", fetched)
        np.testing.assert_array_equal(admitted(rows, wanted, [10, 10, 30_000]), expected)


def test_parts_are_summed_round_by_round(monkeypatch):
    monkeypatch.setattr(hare_ray.best, "ROUND_PARTS", 2)
    monkeypatch.setattr(hare_ray.best, "FETCHED_ROWS", 0)
    rows = Contest(np.zeros(50, np.int64), np.linspace(0, 1, 50, dtype=np.float32), np.arange(50, dtype=np.uint64))
    assert np.flatnonzero(admitted(rows, [7], range(0, 50, 9))).tolist() == list(range(43, 50))


def test_one_quality_for_all_is_decided_by_the_hash_alone(monkeypatch):
    monkeypatch.setattr(hare_ray.best, "FETCHED_ROWS", 10)
    hashes = np.random.default_rng(3).integers(0, 2**63, 5000, dtype=np.uint64)
    rows = Contest(np.zeros(5000, np.int64), np.full(5000, 0.25, np.float32), hashes)
    found = admitted(rows, [1234])
    assert found.sum() == 1234
    assert hashes[found].min() > hashes[~found].max()


@pytest.mark.parametrize("fetched", [0, 100])
def test_copies_of_one_record_go_together(monkeypatch, fetched):
    monkeypatch.setattr(hare_ray.best, "FETCHED_ROWS", fetched)
    rows = Contest(np.zeros(5, np.int64), np.array([0.9, 0.5, 0.5, 0.5, 0.1], np.float32), np.full(5, 77, np.uint64))
    assert admitted(rows, [2]).tolist() == [True, False, False, False, False]
    assert admitted(rows, [4]).tolist() == [True, True, True, True, False]


def test_no_rows_and_no_parts_are_no_trouble():
    nothing = Contest(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.uint64))
    assert admitted(nothing, []).tolist() == []
    assert len(counted(in_turn, lambda part: nothing, 0)) == 0


def test_hashes_of_ids_heed_slices_and_are_spread():
    ids = pa.chunked_array([pa.array([number.to_bytes(16, "little") for number in range(4096)], pa.binary(16))])
    hashes = id_hashes(ids)
    np.testing.assert_array_equal(id_hashes(ids.slice(1000, 50)), hashes[1000:1050])
    assert len(np.unique(hashes)) == 4096
    assert len(id_hashes(ids.slice(0, 0))) == 0
    sixteenths = np.bincount((hashes >> np.uint64(59)).astype(int), minlength=16)
    assert abs(sixteenths - 256).max() < 6 * 16  # six standard deviations


class Docs(Table):
    writes = pa.schema([pa.field("id", pa.binary(16))])


class Opinion(Annotate):
    docs: Table
    column: str
    kind: str

    def schema(self):
        return pa.schema([pa.field(self.column, pa.type_for_alias(self.kind))])


DOCS = Docs()


def opinion(column, kind):
    return Opinion(label=f"{column}_{kind}", docs=DOCS, column=column, kind=kind)


class Desk:
    def __init__(self, **tables):
        self.tables = tables

    def read(self, stage, part, columns):
        return self.tables[stage.name].select(list(columns))


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int32"])
def test_quality_of_any_number_type_decides(kind):
    ids = pa.array([bytes([n]) * 16 for n in range(4)], pa.binary(16))
    topics, scores = opinion("cluster", "int32"), opinion("quality", kind)
    quality = pa.array([1, 3, 0, 2]).cast(kind)
    desk = Desk(
        docs=pa.table({"id": ids}), cluster_int32=pa.table({"cluster": pa.array([0] * 4, pa.int32())}),
        **{scores.name: pa.table({"quality": quality})},
    )  # fmt: skip
    check_tables(scores, DOCS, (topics, scores), ())
    rows = Documents(desk, DOCS, topics, scores, ())
    sizes = counted(in_turn, rows, 1)
    assert best(in_turn, rows, 1, np.array([2]), sizes).admit(rows(0)).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("clusters", "scores", "message"),
    [
        (opinion("topic", "int32"), None, "expected a column of numbers 'cluster'"),
        (opinion("cluster", "string"), None, "expected a column of numbers 'cluster'"),
        (opinion("cluster", "int32"), opinion("score", "float32"), "expected a column of numbers 'quality'"),
    ],
)
def test_tables_without_the_columns_are_refused(clusters, scores, message):
    with pytest.raises(ValueError, match=message):
        check_tables(DOCS, DOCS, (clusters, scores), ())
