"""Reading packed rows at random, against a straightforward decode of the same parts."""

import pickle
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.storage import arrow, parquet
from hare_ray.train import packed_parts
from hare_ray.train.sequences import PackedTable, Sequences, segments_and_positions

WIDTH = 12


def packed(rows, token_bytes, seed):
    """A table of random packed rows, and what a row should read as: tokens, segments, positions."""
    rng = np.random.default_rng(seed)
    records, wanted = [], []
    for _ in range(rows):
        lengths = []
        while sum(lengths) < WIDTH and (not lengths or rng.random() < 0.7):
            lengths.append(int(rng.integers(1, WIDTH - sum(lengths) + 1)))
        filled = sum(lengths)
        tokens = rng.integers(4, 60_000, WIDTH)
        tokens[filled:] = 3
        segments = [n for n, length in enumerate(lengths) for _ in range(length)] + [-1] * (WIDTH - filled)
        positions = [at for length in (*lengths, WIDTH - filled) for at in range(length)]
        records.append(
            {
                "tokens": tokens.astype(f"<u{token_bytes}").tobytes(),
                "lengths": lengths,
                "documents": [rng.bytes(16) for _ in lengths],
                "starts": rng.integers(0, 5, len(lengths)).tolist(),
            }
        )
        wanted.append((tokens.tolist(), segments, positions))
    schema = pa.schema(
        [
            pa.field("tokens", pa.binary(WIDTH * token_bytes), nullable=False),
            pa.field("lengths", pa.list_(pa.uint32()), nullable=False),
            pa.field("documents", pa.list_(pa.binary(16)), nullable=False),
            pa.field("starts", pa.list_(pa.uint32()), nullable=False),
        ]
    )
    return pa.Table.from_pylist(records, schema=schema), wanted


def written(folder, parts, token_bytes=2, seed=0):
    """A PackedTable on disk with parts of so many rows, what they hold, and what they should read as."""
    folder.mkdir()
    tables, wanted = [], []
    for part, rows in enumerate(parts):
        table, decoded = packed(rows, token_bytes, seed + part)
        (folder / f"part-{part:05d}.arrow").write_bytes(arrow(table))
        tables.append(table)
        wanted += decoded
    return PackedTable(str(folder), tuple(parts)), pa.concat_tables(tables), wanted


@pytest.fixture(scope="module", params=[2, 4])
def two(request, tmp_path_factory):
    """Two tables, some parts without rows, read with two or four bytes per token."""
    place = tmp_path_factory.mktemp("packed")
    made = [
        written(place / "one", (0, 9, 0, 0, 4, 21), request.param),
        written(place / "two", (7, 0), request.param, 90),
    ]
    return Sequences(tuple(table for table, _, _ in made), WIDTH, request.param), made


def check(reader, made, source, row):
    batch = reader.read(np.array(source, np.int64), np.array(row, np.int64))
    assert [array.dtype for array in batch] == [np.int64, np.int32, np.int32]
    assert [array.shape for array in batch] == [(len(row), WIDTH)] * 3
    for at, (table, number) in enumerate(zip(source, row, strict=True)):
        assert [array[at].tolist() for array in batch] == list(made[table][2][number])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 33)), max_size=20))
def test_any_rows_in_any_order_as_decoded_one_by_one(two, picks):
    reader, made = two
    check(reader, made, [source for source, _ in picks], [row if source == 0 else row % 7 for source, row in picks])


def mapped(reader, table):
    """How many parts of a table are mapped."""
    return len(reader._readers[table]._mapped)


def test_with_room_for_one_mapped_part(two, monkeypatch):
    monkeypatch.setattr(packed_parts, "MAPPED_PARTS", 1)
    reader, made = two
    fresh = Sequences(reader.tables, WIDTH, reader.token_bytes)
    for _ in range(2):
        check(fresh, made, [0, 1] * 7, [row for n in range(7) for row in (33 - n, n)])
    assert [mapped(fresh, n) for n in (0, 1)] == [1, 1]


def test_mapped_parts_hold_no_file_open(tmp_path):
    table, _, wanted = written(tmp_path / "one", (2,) * 40)
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = Sequences((table,), WIDTH, 2)
    check(reader, [(table, None, wanted)], [0] * 80, list(range(80)))
    assert mapped(reader, 0) == 40
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_it_travels_by_pickle_with_nothing_held_open(two):
    reader, made = two
    check(reader, made, [0], [33])
    travelled = pickle.loads(pickle.dumps(reader))
    assert not mapped(travelled, 0)
    check(travelled, made, [1, 0], [6, 12])


def test_documents_lead_back_from_a_row(two):
    reader, made = two
    got = reader.documents(np.array([0, 1, 0, 0]), np.array([33, 2, 0, 9]))
    wanted = [made[source][1].slice(row, 1) for source, row in ((0, 33), (1, 2), (0, 0), (0, 9))]
    assert got.equals(pa.concat_tables(wanted).select(["documents", "starts", "lengths"]))


@pytest.fixture
def asked(monkeypatch):
    """First and last bytes of the stretches that were asked of the object store, call by call."""
    calls = []
    own = MemoryFileSystem.cat_ranges

    def cat_ranges(self, paths, starts, ends, **options):
        calls.append((starts, ends))
        return own(self, paths, starts, ends, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", cat_ranges)
    return calls


@pytest.fixture
def store(tmp_path):
    """Puts a folder of the disk onto an object store and says where."""
    place = f"/{tmp_path.name}"

    def put(name):
        fsspec.filesystem("memory").put(str(tmp_path / name) + "/", f"{place}/{name}/", recursive=True)
        return f"memory:/{place}/{name}"

    yield put
    if fsspec.filesystem("memory").exists(place):
        fsspec.filesystem("memory").rm(place, recursive=True)


@pytest.mark.parametrize("token_bytes", [2, 4])
def test_an_object_store_reads_as_a_disk(tmp_path, store, token_bytes):
    table, records, wanted = written(tmp_path / "one", (5, 0, 8), token_bytes)
    reader = Sequences((PackedTable(store("one"), table.rows),), WIDTH, token_bytes)
    check(reader, [(table, None, wanted)], [0] * 13, list(range(12, -1, -1)))
    check(reader, [(table, None, wanted)], [0] * 4, [12, 0, 4, 0])
    got = reader.documents(np.array([0, 0]), np.array([6, 4]))
    wanted = pa.concat_tables([records.slice(6, 1), records.slice(4, 1)])
    assert got.equals(wanted.select(["documents", "starts", "lengths"]))


def test_of_an_object_store_only_the_bytes_of_the_rows_are_fetched_all_at_once(tmp_path, store, asked):
    table, _, wanted = written(tmp_path / "one", (50, 60))
    reader = Sequences((PackedTable(store("one"), table.rows),), WIDTH, 2)
    rows = [3, 99, 50, 20]
    check(reader, [(table, None, wanted)], [0] * 4, rows)
    heads, *calls = asked
    assert heads == ([0, 0], [packed_parts.HEAD_BYTES] * 2)
    assert len(calls) == 2
    check(reader, [(table, None, wanted)], [0] * 4, rows)
    assert asked[3:] == calls  # The heads are known now.
    pieces = sum(max(wanted[row][1]) + 1 for row in rows)
    fetched = sum(stop - start for starts, stops in calls for start, stop in zip(starts, stops, strict=True))
    assert fetched == 4 * (2 * WIDTH + 2 * 4) + 4 * pieces


@pytest.mark.parametrize("place", ["disk", "store"])
def test_columns_in_another_order_and_more_of_them(tmp_path, store, place):
    table, records, wanted = written(tmp_path / "one", (9,))
    other = records.append_column("base_row", pa.array(range(9), pa.uint32()))
    other = other.select(["documents", "base_row", "lengths", "starts", "tokens"])
    (tmp_path / "one" / "part-00000.arrow").write_bytes(arrow(other))
    url = table.url if place == "disk" else store("one")
    check(Sequences((PackedTable(url, (9,)),), WIDTH, 2), [(table, None, wanted)], [0] * 3, [8, 0, 5])


@pytest.mark.parametrize("place", ["disk", "store"])
@pytest.mark.parametrize("harm", ["cut", "emptied", "garbled", "gone", "of another kind"])
def test_a_torn_or_garbled_part_is_named_with_the_cure(tmp_path, store, place, harm):
    table, records, _ = written(tmp_path / "one", (40,))
    path = tmp_path / "one" / "part-00000.arrow"
    data = path.read_bytes()
    lengths = data.find(np.array(records["lengths"][20].as_py(), "<u4").tobytes(), 40 * 2 * WIDTH)
    new = {
        "cut": data[: len(data) // 3],
        "emptied": b"",
        "garbled": data[:lengths] + b"\xff" * 400 + data[lengths + 400 :],
        "gone": None,
        "of another kind": parquet(records),
    }[harm]
    path.unlink()
    if new is not None:
        path.write_bytes(new)
    url = table.url if place == "disk" else store("one")
    numbers = np.arange(40)
    with pytest.raises(ValueError, match=r"one/part-00000\.arrow.*--redo"):
        Sequences((PackedTable(url, (40,)),), WIDTH, 2).read(np.zeros_like(numbers), numbers)


def test_full_rows_and_single_pieces():
    segments, positions = segments_and_positions([np.array([3, 2]), np.array([5]), np.array([1])], 5)
    assert segments.tolist() == [[0, 0, 0, 1, 1], [0] * 5, [0, -1, -1, -1, -1]]
    assert positions.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 4], [0, 0, 1, 2, 3]]


@pytest.mark.parametrize("place", ["disk", "store"])
def test_what_does_not_match_the_files_is_refused(tmp_path, store, place):
    table, _, _ = written(tmp_path / "one", (4,))
    url = table.url if place == "disk" else store("one")
    one = np.zeros(1, np.int64)
    for row in (-1, 4):
        with pytest.raises(ValueError, match="expected 0 to 3"):
            Sequences((PackedTable(url, (4,)),), WIDTH, 2).read(one, one + row)
    with pytest.raises(ValueError, match="one and the same run"):
        Sequences((PackedTable(url, (5,)),), WIDTH, 2).read(one, one)
    with pytest.raises(ValueError, match="expected 24 tokens"):
        Sequences((PackedTable(url, (4,)),), 24, 2).read(one, one)
    with pytest.raises(ValueError, match="expected 2 or 4"):
        Sequences((table,), WIDTH, 3)
