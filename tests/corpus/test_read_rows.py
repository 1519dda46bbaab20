"""Read on files of rows and of one document."""

import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.corpus.reading import (
    PAGE,
    exploded,
    json_lines,
    no_files,
    one,
    read,
    read_bytes,
    same,
    split_of,
    stage,
)

ROWS = [
    {"text": "first", "url": "http://a.example/1", "title": "One"},
    {"text": "second", "url": None},
    {"text": "", "url": "http://a.example/3"},
    {"text": "x" * 5000, "url": "http://a.example/4"},
]
EXPECTED = [
    ("http://a.example/1", 0, b"first", None),
    ("{file}#1", 1, b"second", None),
    ("http://a.example/3", 2, None, "empty_payload"),
    ("http://a.example/4", 3, None, "too_large"),
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.gz", "a.jsonl.zst", "a.parquet"])
def test_row_formats(tmp_path, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)
    else:
        pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(name.rpartition(".")[2], bytes)
        path.write_bytes(pack(json_lines(ROWS)))
    table = read(path, max_payload_bytes=1000)
    got = [(r["url"], r["offset"], r["payload"], r["reason"]) for r in table.to_pylist()]
    assert got == [(url.format(file=name), *rest) for url, *rest in EXPECTED]
    assert table["title"].to_pylist()[0] == "One"
    assert set(table["media"].to_pylist()) == {"text/plain"}
    finer, alone = exploded(path)
    assert len(finer) == 4
    assert same(alone, read(path))
    assert read(path, 1, 3)["offset"].to_pylist() == [1, 2]


def test_rows_have_one_id_in_two_files_where_they_have_a_url(tmp_path):
    rows = [{"text": "same", "url": "http://a.example/1"}, {"text": "same"}, {"text": "same"}, {"text": 7}]
    one, two = (read_bytes(tmp_path, json_lines(rows), name)["id"].to_pylist() for name in ("a.jsonl", "b.jsonl"))
    assert one[0] == two[0]
    assert len(set(one + two)) == 7


@pytest.mark.parametrize("column", ["text", "content", "raw_content"])
def test_text_columns(tmp_path, column):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"other": [1, 2], column: ["one", "two"]}), path)
    assert read(path)["payload"].to_pylist() == [b"one", b"two"]
    assert one(tmp_path, json_lines([{"n": 1, column: "one"}]), name="a.jsonl")["payload"] == b"one"


def test_bad_rows_say_what_is_wrong(tmp_path):
    lines = b'{"text": "good"}\n{"text": \n\n[1, 2]\n{"body": "x"}\n'
    lines += b'{"text": 7}\n{"text": null}\n{"text": "\\ud800"}\n'
    rows = read_bytes(tmp_path, lines, "a.jsonl").to_pylist()
    assert [r["offset"] for r in rows] == [0, 1, 3, 4, 5, 6, 7]
    assert [r["reason"] for r in rows] == [None, *["bad_row"] * 5, None]
    assert [word in r["detail"] for r, word in zip(rows[2:6], ("list", "raw_content", "int", "None"), strict=True)]
    assert all(r["detail"] for r in rows[1:6])


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_cut_stream_of_rows_keeps_what_precedes(tmp_path, name):
    rows = [{"text": os.urandom(60).hex()} for _ in range(3000)]
    pack = gzip.compress if name.endswith("gz") else zstandard.compress
    packed = pack(json_lines(rows))
    path = tmp_path / name
    path.write_bytes(packed[: len(packed) * 2 // 3])
    got = read(path).to_pylist()
    assert len(got) > 500
    assert [r["payload"].decode() for r in got[:-1]] == [row["text"] for row in rows[: len(got) - 1]]
    assert (got[-1]["reason"], got[-1]["offset"]) == ("bad_record", len(got) - 1)


def test_corrupt_parquet_is_one_bad_record(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 nothing of the kind")
    finer, alone = exploded(path)
    assert (len(finer), alone["reason"].to_pylist()) == (1, ["bad_record"])


@pytest.mark.parametrize(("name", "media"), [("a.txt", "text/plain"), ("b.html", "text/html"), ("c.HTM", "text/html")])
def test_file_that_is_one_document(tmp_path, name, media):
    path = tmp_path / name
    path.write_bytes(PAGE)
    row = read(path).to_pylist()[0]
    assert (row["url"], row["media"], row["payload"], row["offset"]) == (name, media, PAGE, 0)
    assert stage().explode(split_of(path), no_files).equals(split_of(path))
    assert read(path, max_payload_bytes=10)["reason"].to_pylist() == ["too_large"]


@pytest.mark.parametrize(("name", "pack"), [("a.txt.gz", gzip.compress), ("a.txt.zst", zstandard.compress)])
def test_compressed_document(tmp_path, name, pack):
    assert read_bytes(tmp_path, pack(b"words"), name)["payload"].to_pylist() == [b"words"]
    assert read_bytes(tmp_path, pack(b"words")[:-4], name)["reason"].to_pylist() == ["bad_record"]


def test_parquet_without_text_is_refused(tmp_path):
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet has the columns body; expected one of text"):
        read(tmp_path / "a.parquet")
