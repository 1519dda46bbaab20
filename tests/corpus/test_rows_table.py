"""Rows of Parquet and Arrow files: each once whatever the cuts, in every way Arrow has to store a string."""

import io
import itertools
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus.read_rows import arrow_rows, parquet_rows

MOST = 1000
READERS = {"parquet": parquet_rows, "arrow": arrow_rows}


def parquet(table, rows=None, **options):
    stored = io.BytesIO()
    pq.write_table(table, stored, row_group_size=rows, **options)
    return stored.getvalue()


def arrow(table, rows=None, file=False, compression=None):
    stored = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=not file)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(stored, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return stored.getvalue()


WRITERS = {"parquet": parquet, "arrow": arrow}


def read(stored, kind, start=0, end=-1, most=MOST):
    return list(READERS[kind](io.BytesIO(stored), "a." + kind, start, end, most))


def over(stored, kind, cuts):
    edges = [0, *sorted(cuts), -1]
    stretches = itertools.pairwise(edges)
    return [row for start, end in stretches if start != end for row in read(stored, kind, start, end)]


TABLE = pa.table(
    {
        "id": list(range(100)),
        "text": [f"text {n}" * (n % 7) for n in range(100)],
        "url": [f"http://a.example/{n}" if n % 3 else None for n in range(100)],
    }
)
EXPECTED = [
    (n, f"http://a.example/{n}" if n % 3 else f"a.{{}}#{n}", (f"text {n}" * (n % 7)).encode() or None)
    for n in range(100)
]


@pytest.mark.parametrize("kind", list(READERS))
def test_rows(kind):
    rows = read(WRITERS[kind](TABLE), kind)
    got = [(row.offset, row.url, None if row.reason else row.payload) for row in rows]
    assert got == [(n, url.format(kind), text) for n, url, text in EXPECTED]
    assert {(row.media, row.charset) for row in rows} == {("text/plain", "utf-8")}
    assert {row.reason for row in rows} == {None, "empty_payload"}


STORED = {
    "parquet": parquet(TABLE, 7),
    "parquet without dictionaries": parquet(TABLE, 7, use_dictionary=False, compression="zstd"),
    "arrow": arrow(TABLE, 7),
    "arrow file": arrow(TABLE, 7, file=True),
    "arrow compressed": arrow(TABLE, 7, compression="zstd"),
    "arrow of dictionaries": arrow(TABLE.set_column(1, "text", TABLE["text"].dictionary_encode()), 7),
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(STORED)), st.lists(st.integers(0, 6000), max_size=5))
def test_each_row_is_in_one_stretch(which, cuts):
    stored, kind = STORED[which], which.split()[0]
    assert over(stored, kind, cuts) == read(stored, kind)
    assert over(stored, kind, [len(stored) // 2, len(stored)]) == read(stored, kind)


@pytest.mark.parametrize("which", list(STORED))
def test_cuts_do_cut(which):
    stored, kind = STORED[which], which.split()[0]
    assert any(0 < len(read(stored, kind, 0, cut)) < 100 for cut in range(0, len(stored), 100))


def test_what_lies_before_a_stretch_of_an_arrow_stream_is_not_read():
    class Counted(io.BytesIO):
        bytes_read = 0

        def read(self, size=-1):
            data = super().read(size)
            self.bytes_read += len(data)
            return data

    stored = arrow(pa.table({"text": ["x" * 1000] * 2000}), 100)
    file = Counted(stored)
    assert len(list(arrow_rows(file, "a.arrow", len(stored) * 9 // 10, -1, MOST))) in (100, 200)
    assert file.bytes_read < len(stored) // 4


TEXTS = ["first", None, "", "x" * (MOST + 1), "\u00e9"]
KINDS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
]


@pytest.mark.parametrize("column", ["text", "content", "raw_content"])
@pytest.mark.parametrize("type_", KINDS, ids=str)
@pytest.mark.parametrize("kind", list(READERS))
def test_ways_to_store_a_text(kind, type_, column):
    text = pa.array(TEXTS, pa.large_string()).cast(pa.large_binary() if "binary" in str(type_) else pa.large_string())
    text = text.dictionary_encode().cast(type_) if pa.types.is_dictionary(type_) else text.cast(type_)
    rows = read(WRITERS[kind](pa.table({"n": range(5), column: text, "title": text})), kind)
    assert [row.reason for row in rows] == [None, "bad_row", "empty_payload", "too_large", None]
    assert [row.payload for row in rows if row.reason is None] == [b"first", b"\xc3\xa9"]
    assert rows[1].detail == f"{column} is null"
    assert rows[4].title == "\u00e9"


@pytest.mark.parametrize("kind", list(READERS))
def test_strings_that_are_no_utf_8(kind):
    wrong = pa.array([b"a\xff", b"b"], pa.binary()).view(pa.string())
    rows = read(WRITERS[kind](pa.table({"text": wrong, "url": wrong, "license": wrong})), kind)
    assert [(row.payload, row.url, row.license) for row in rows] == [
        (b"a\xff", "a\ufffd", "a\ufffd"),
        (b"b", "b", "b"),
    ]


@pytest.mark.parametrize("kind", list(READERS))
def test_origin(kind):
    nested = [{"url": "nested", "license": "nested", "n": 1}, None, {"url": None}]
    table = pa.Table.from_pylist(
        [
            {"text": "x", "url": url, "licence": "own", "metadata": nest, "title": 7}
            for url, nest in zip(["own", "", None], nested, strict=True)
        ]
    )
    rows = read(WRITERS[kind](table), kind)
    assert [(row.url, row.license, row.title) for row in rows] == [
        ("own", "nested", None),
        (f"a.{kind}#1", "own", None),
        (f"a.{kind}#2", "own", None),
    ]


ODD = [
    pa.table({"body": ["x", "y"], "n": [1, 2]}),
    pa.table({"text": [["x"], ["y"]]}),
    pa.table({"text": [1, 2]}),
    pa.table({"n": pa.array([], pa.int64())}),
]


@pytest.mark.parametrize("table", ODD, ids=lambda table: str(table.schema.names))
@pytest.mark.parametrize("kind", list(READERS))
def test_a_file_without_text_is_one_bad_record(kind, table):
    stored = WRITERS[kind](table, 1)
    (row,) = read(stored, kind)
    assert row.reason == "bad_record"
    assert table.schema.names[0] in (row.detail or "")
    assert "rename the column" in (row.detail or "")
    assert over(stored, kind, [10, len(stored) // 2]) == [row]


@pytest.mark.parametrize("kind", list(READERS))
def test_a_column_of_nulls_is_bad_rows(kind):
    rows = read(WRITERS[kind](pa.table({"text": pa.nulls(2)})), kind)
    assert [row.reason for row in rows] == ["bad_row"] * 2


@pytest.mark.parametrize("kind", list(READERS))
@pytest.mark.parametrize("stored", [b"", b"PAR1", b"ARROW1\0\0", b"nothing of the kind" * 9])
def test_a_file_of_something_else_is_one_bad_record(kind, stored):
    (row,) = read(stored, kind)
    assert (row.reason, row.offset) == ("bad_record", 0)
    assert row.detail
    assert over(stored, kind, [3, 5]) == [row]


def test_empty_tables_have_no_rows():
    for kind, write in WRITERS.items():
        assert read(write(pa.table({"text": pa.array([], pa.string())})), kind) == []


def noise(kind):
    """Three batches or groups whose texts cannot be packed, so that damage hits them and no head."""
    table = pa.table({"text": [os.urandom(300).hex() for _ in range(30)]})
    return WRITERS[kind](table, 10, **({"use_dictionary": False} if kind == "parquet" else {}))


def test_a_cut_arrow_stream_keeps_what_precedes():
    stored = noise("arrow")
    cut = stored[: len(stored) * 5 // 6]
    rows = read(cut, "arrow")
    assert [row.reason for row in rows] == [None] * 20 + ["bad_record"]
    assert rows[-1].offset == 20
    assert over(cut, "arrow", range(0, len(cut), 500)) == rows


def test_a_damaged_batch_leaves_the_others():
    stored = noise("arrow")
    wrong = bytearray(stored)
    offsets = stored.index((600).to_bytes(4, "little") + (1200).to_bytes(4, "little"), len(stored) // 3)
    wrong[offsets : offsets + 4] = (1 << 30).to_bytes(4, "little")
    rows = read(bytes(wrong), "arrow")
    assert [row.reason for row in rows] == [None] * 10 + ["bad_record"] + [None] * 10
    assert [row.offset for row in rows] == [*range(11), *range(20, 30)]


def test_a_damaged_row_group_leaves_the_others():
    stored = noise("parquet")
    first, second = (pq.ParquetFile(io.BytesIO(stored)).metadata.row_group(n).column(0) for n in (0, 1))
    at = second.data_page_offset
    assert at > first.data_page_offset
    rows = read(stored[:at] + b"\xff" * 40 + stored[at + 40 :], "parquet")
    assert [row.reason for row in rows] == [None] * 10 + ["bad_record"] + [None] * 10
    assert [row.offset for row in rows] == [*range(11), *range(20, 30)]


def test_an_error_of_the_disk_is_no_damage():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    for kind in READERS:
        with pytest.raises(OSError, match="Input/output"):
            list(READERS[kind](Broken(STORED[kind]), "a", 0, -1, MOST))


def test_an_index_behind_its_dictionary_is_damage():
    wrong = pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int32()), pa.array(["x"]), safe=False)
    rows = read(arrow(pa.table({"text": pa.chunked_array([wrong])})), "arrow")
    assert [(row.reason, row.offset) for row in rows] == [("bad_record", 0)]
