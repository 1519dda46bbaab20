"""Read on files of rows and of one document."""

import bz2
import gzip
import lzma
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from hare_ray.corpus.extract import Extract
from hare_ray.corpus.read import Read
from hare_ray.dedup.signature import Signature
from hare_ray.engine import run
from hare_ray.stage import Source, upstream
from jobs.hare_documents import cleaned
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
    ("http://a.example/1", b"first", None),
    ("{file}#{offset}", b"second", None),
    ("http://a.example/3", None, "empty_payload"),
    ("http://a.example/4", None, "too_large"),
]
JSON_NAMES = ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.gz", "a.jsonl.zst", "a.ndjson.bz2", "a.jsonl.xz"]
PACK = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}


def write(path, rows):
    """The rows in the format that the name asks for."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    else:
        path.write_bytes(PACK.get(path.suffix[1:], bytes)(json_lines(rows)))


@pytest.mark.parametrize("name", [*JSON_NAMES, "a.parquet", "a.arrow"])
def test_row_formats(tmp_path, name):
    path = tmp_path / name
    write(path, ROWS)
    table = read(path, max_payload_bytes=1000)
    offsets = table["offset"].to_pylist()
    lines = [0, *np.cumsum([len(json_lines([row])) for row in ROWS[:-1]]).tolist()]
    assert offsets == (lines if "json" in name else [0, 1, 2, 3])
    got = [(row["url"], row["payload"], row["reason"]) for row in table.to_pylist()]
    expected = [
        (url.format(file=name, offset=offset), *rest) for (url, *rest), offset in zip(EXPECTED, offsets, strict=True)
    ]
    assert got == expected
    assert table["title"].to_pylist()[0] == "One"
    assert set(table["media"].to_pylist()) == {"text/plain"}
    finer, alone = exploded(path)
    assert len(finer) == 4
    assert same(alone, read(path))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.arrow"])
def test_a_large_file_is_read_in_stretches(tmp_path, name):
    rows = [{"text": f"document {n} " * 20, "license": "CC0"} for n in range(200)]
    write(tmp_path / name, rows)
    whole = read(tmp_path / name)
    source = Source(location=str(tmp_path / name), part_bytes=len((tmp_path / name).read_bytes()) // 5)
    reader = Read(files=source, sample=1.0, max_payload_bytes=1 << 20)
    run(reader, root=str(tmp_path / "root"))
    parts = sorted((tmp_path / "root").glob("read/*/part-*.parquet"))
    assert len(parts) > 3
    tables = [pq.read_table(part) for part in parts]
    assert max(map(len, tables)) < 150
    assert pa.concat_tables(tables)["id"].to_pylist() == whole["id"].to_pylist()
    assert set(whole["license"].to_pylist()) == {"CC0"}


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "dataset_dict.json"])
def test_what_lies_beside_a_saved_dataset_holds_no_rows(tmp_path, name):
    (tmp_path / name).write_text('{"text": "not a row"}')
    assert read(tmp_path / name).to_pylist() == []
    assert exploded(tmp_path / name)[1].to_pylist() == []
    (tmp_path / f"my_{name}").write_text('{"text": "a row"}')
    assert len(read(tmp_path / f"my_{name}")) == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.arrow"])
def test_clean_text_goes_straight_into_later_stages(tmp_path, name):
    """What a Source of one's own text needs is Read, and an Extract that lets plain text pass."""
    fox = "The quick brown fox jumps over the lazy dog. " * 8
    texts = [fox, fox.replace(".", "!").upper(), "Other words. " * 30]
    write(tmp_path / name, [{"text": text, "url": f"http://a.example/{n}"} for n, text in enumerate(texts)])
    clean = cleaned(Source(location=str(tmp_path / name)), 1.0)
    docs = next(stage for stage in upstream(clean) if isinstance(stage, Extract))
    signature = Signature(docs=docs, ngram=5, unit="word", bands=4, rows=4, seed=1)
    run(signature, root=str(tmp_path / "root"))
    (text,) = (pq.read_table(part) for part in (tmp_path / "root").glob("extract/*/part-*.parquet"))
    (found,) = (pq.read_table(part) for part in (tmp_path / "root").glob("signature/*/part-*.parquet"))
    assert [value.strip() for value in text["text"].to_pylist()] == [value.strip() for value in texts]
    one, two, other = found["exact"].to_pylist()
    assert one == two
    assert one != other


def test_rows_have_one_id_in_two_files_unless_nothing_was_read_of_them(tmp_path):
    rows = [{"text": "same", "url": "http://a.example/1"}, {"text": "same"}, {"text": "same"}, {"text": 7}]
    one, two = (read_bytes(tmp_path, json_lines(rows), name)["id"].to_pylist() for name in ("a.jsonl", "b.jsonl"))
    assert one[:3] == two[:3]
    assert one[0] != one[1] == one[2]
    assert one[3] != two[3]


@pytest.mark.parametrize("column", ["text", "content", "raw_content"])
def test_text_columns(tmp_path, column):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"other": [1, 2], column: ["one", "two"]}), path)
    assert read(path)["payload"].to_pylist() == [b"one", b"two"]
    assert one(tmp_path, json_lines([{"n": 1, column: "one"}]), name="a.jsonl")["payload"] == b"one"


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
    assert got[-1]["reason"] == "bad_record"
    assert got[-1]["offset"] > got[-2]["offset"]


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


def test_a_file_without_text_does_not_end_a_run(tmp_path):
    pq.write_table(pa.table({"body": ["x"] * 9}), tmp_path / "a.parquet")
    (row,) = read(tmp_path / "a.parquet").to_pylist()
    assert row["reason"] == "bad_record"
    assert "columns body (string); expected one of text, content, raw_content" in row["detail"]
