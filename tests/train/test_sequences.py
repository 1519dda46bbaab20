"""Reading packed rows at random, against a straightforward decode of the same parts."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.train import sequences
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
        pq.write_table(table, folder / f"part-{part:05d}.parquet", compression="zstd", row_group_size=4)
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


def test_with_next_to_no_room_for_files_and_groups(two, monkeypatch):
    monkeypatch.setattr(sequences, "OPEN_FILES", 1)
    monkeypatch.setattr(sequences, "CACHED_BYTES", 0)
    reader, made = two
    fresh = Sequences(reader.tables, WIDTH, reader.token_bytes)
    for _ in range(2):
        check(fresh, made, [0, 1] * 7, [row for n in range(7) for row in (33 - n, n)])
    assert len(fresh._files) == len(fresh._groups) == 1


def test_what_is_kept_stays_within_its_bytes(tmp_path, monkeypatch):
    table, _, wanted = written(tmp_path / "one", (40,))
    monkeypatch.setattr(sequences, "CACHED_BYTES", 3 * 4 * WIDTH * 2)  # Three groups of four rows of two bytes.
    reader = Sequences((table,), WIDTH, 2)
    for row in np.random.default_rng(0).permutation(40).tolist():
        check(reader, [(table, None, wanted)], [0], [row])
        assert sum(group.tokens.nbytes for group in reader._groups.values()) == reader._cached_bytes
        assert len(reader._groups) <= 3


def test_it_travels_by_pickle_with_nothing_held_open(two):
    reader, made = two
    check(reader, made, [0], [33])
    travelled = pickle.loads(pickle.dumps(reader))
    assert not travelled._files and not travelled._groups
    check(travelled, made, [1, 0], [6, 12])


def test_documents_lead_back_from_a_row(two):
    reader, made = two
    got = reader.documents(np.array([0, 1, 0, 0]), np.array([33, 2, 0, 9]))
    wanted = [made[source][1].slice(row, 1) for source, row in ((0, 33), (1, 2), (0, 0), (0, 9))]
    assert got.equals(pa.concat_tables(wanted).select(["documents", "starts", "lengths"]))


def test_an_object_store_reads_as_a_disk(tmp_path):
    import fsspec

    table, _, wanted = written(tmp_path / "one", (5, 0, 8))
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "one") + "/", "/packed/one/", recursive=True)
    reader = Sequences((PackedTable("memory://packed/one", table.rows),), WIDTH, 2)
    check(reader, [(table, None, wanted)], [0] * 4, [12, 0, 4, 5])


def test_full_rows_and_single_pieces():
    segments, positions = segments_and_positions([np.array([3, 2]), np.array([5]), np.array([1])], 5)
    assert segments.tolist() == [[0, 0, 0, 1, 1], [0] * 5, [0, -1, -1, -1, -1]]
    assert positions.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 4], [0, 0, 1, 2, 3]]


def test_what_does_not_match_the_files_is_refused(two, tmp_path):
    reader, _ = two
    one = np.zeros(1, np.int64)
    for row in (-1, 34):
        with pytest.raises(ValueError, match="expected 0 to 33"):
            reader.read(one, one + row)
    table, _, _ = written(tmp_path / "one", (4,))
    with pytest.raises(ValueError, match="one and the same run"):
        Sequences((PackedTable(table.url, (5,)),), WIDTH, 2).read(one, one)
    with pytest.raises(ValueError, match="expected 24 tokens"):
        Sequences((table,), 24, 2).read(one, one)
    with pytest.raises(ValueError, match="expected 2 or 4"):
        Sequences((table,), WIDTH, 3)
