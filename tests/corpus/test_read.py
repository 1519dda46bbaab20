"""Read against files that the test writes itself, and against real quirks where HARE_DATA has them."""

import gzip
import os
import zlib
from collections import Counter

import brotli
import pyarrow as pa
import pytest
import xxhash
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus.fetched import Fetched, record_id
from hare_ray.corpus.read import Read
from hare_ray.schema import SPLIT
from hare_ray.stage import Source
from tests.corpus.reading import (
    PAGE,
    answer,
    exploded,
    json_lines,
    no_files,
    one,
    read,
    read_bytes,
    same,
    split_of,
    stage,
    warc_record,
)


def test_reads_page_with_its_origin(tmp_path):
    first = warc_record(b"software: x", http="", WARC_Type="warcinfo", Content_Type="application/warc-fields")
    page = answer(PAGE, 'Content-Type: Text/HTML; Charset="ISO-8859-1"')
    rows = read_bytes(tmp_path, first + page).to_pylist()
    assert len(rows) == 1
    row = rows[0]
    assert (row["url"], row["file"], row["offset"]) == ("http://a.example/", "crawl.warc", len(first))
    assert (row["media"], row["charset"], row["payload"]) == ("text/html", "iso-8859-1", PAGE)
    assert (row["reason"], row["title"]) == (None, None)


@pytest.mark.parametrize("name", ["crawl.warc", "crawl.warc.gz", "crawl.warc.zst"])
def test_offset_is_where_the_record_opens(tmp_path, name):
    pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(name.rpartition(".")[2], bytes)
    members = [pack(answer(PAGE * i, url=f"http://a.example/{i}")) for i in range(1, 6)]
    table = read_bytes(tmp_path, b"".join(members), name)
    starts = [sum(len(m) for m in members[:i]) for i in range(5)]
    assert table["offset"].to_pylist() == starts
    assert table["payload"].to_pylist() == [PAGE * i for i in range(1, 6)]


def chunked(body, size=7):
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(PAGE, mtime=0), "Content-Encoding: gzip"),
        (zlib.compress(PAGE), "Content-Encoding: deflate"),
        (zlib.compress(PAGE)[2:-4], "Content-Encoding: deflate"),
        (brotli.compress(PAGE), "Content-Encoding: br"),
        (zstandard.compress(PAGE), "Content-Encoding: zstd"),
        (chunked(PAGE), "Transfer-Encoding: chunked"),
        (chunked(gzip.compress(PAGE, mtime=0)), "Transfer-Encoding: chunked\r\nContent-Encoding: gzip"),
        (gzip.compress(brotli.compress(PAGE), mtime=0), "Content-Encoding: br, gzip"),
        (PAGE, "Content-Encoding: gzip"),
        (PAGE, "Content-Encoding: utf-8"),
        (PAGE, "Content-Encoding: br\r\nTransfer-Encoding: chunked"),
    ],
)
def test_http_framing_is_undone_where_it_is_there(tmp_path, body, headers):
    row = one(tmp_path, answer(body, f"Content-Type: text/html\r\n{headers}"))
    assert (row["reason"], row["payload"]) == (None, PAGE)


@pytest.mark.parametrize("body", [b"<p>A page.</p>", b"<DIV>\x01", b"\xef\xbb\xbf <p>x", b"Plain words\r\nin lines"])
@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", "Content-Encoding: gzip", "Content-Encoding: br"])
def test_a_body_stored_decoded_is_taken_as_it_is(tmp_path, body, header):
    row = one(tmp_path, answer(body, f"Content-Type: text/html\r\n{header}"))
    assert (row["reason"], row["payload"]) == (None, body)


@pytest.mark.parametrize("body", [b"5\r\nhel", b"ff;x=y\r\nwords", b"ff", b"\0\1\2\r\n", gzip.compress(PAGE, mtime=0)])
def test_a_broken_chunk_is_no_text(tmp_path, body):
    row = one(tmp_path, answer(body, "Content-Type: text/html\r\nTransfer-Encoding: chunked"))
    assert row["reason"] == "bad_record"


def test_header_lines_that_end_in_lf_alone(tmp_path):
    record = warc_record(PAGE, http="").replace(PAGE, b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n" + PAGE)
    length = len(b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n") + len(PAGE)
    record = record.replace(b"Content-Length: %d" % len(PAGE), b"Content-Length: %d" % length)
    assert one(tmp_path, record)["payload"] == PAGE


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (answer(PAGE, status="404 Not Found"), "not_200", "404"),
        (answer(PAGE, status="206 Partial Content"), "not_200", "206"),
        (answer(b"", "Location: /there", status="301 Moved Permanently"), "redirect", "/there"),
        (warc_record(b"", WARC_Type="revisit"), "revisit", None),
        (answer(b"%PDF-1.7", "Content-Type: application/pdf"), "not_html", "application/pdf"),
        (answer(b"\x89PNG", "Server: x"), "not_html", "no media type"),
        (
            warc_record(b"1.2.3.4", http="", Content_Type="text/dns", url="dns:a.example"),
            "not_html",
            "text/dns",
        ),
        (answer(b""), "empty_payload", None),
        (answer(b" \r\n\t "), "empty_payload", None),
        (answer(b"x" * 2000), "too_large", "over 1000 bytes"),
        (
            answer(gzip.compress(b"x" * 2000), "Content-Type: text/html\r\nContent-Encoding: gzip"),
            "too_large",
            "over 1000 bytes",
        ),
    ],
)
def test_reasons(tmp_path, record, reason, detail):
    row = one(tmp_path, record, max_payload_bytes=1000)
    assert (row["reason"], row["detail"], row["payload"]) == (reason, detail, None)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (answer(b"\x1f\x8b\x08 not gzip", "Content-Type: text/html\r\nContent-Encoding: gzip"), "gzip"),
        (answer(b"\x00\x01", "Content-Type: text/html\r\nContent-Encoding: rot13"), "rot13"),
        (warc_record(b"no HTTP at all", http=""), "status"),
        (answer(PAGE)[:-20], "bytes"),
        (answer(PAGE)[:60], "no end of the header"),
        (b"not a WARC file at all, whatever its name", "WARC"),
    ],
)
def test_what_is_broken_is_a_bad_record_that_says_why(tmp_path, record, said):
    row = one(tmp_path, record)
    assert row["reason"] == "bad_record"
    assert said in row["detail"]


def test_only_pages_count(tmp_path):
    kinds = [warc_record(b"x", http="", WARC_Type=kind) for kind in ("warcinfo", "request", "metadata")]
    resource = warc_record(PAGE, http="", WARC_Type="resource", Content_Type="text/html; charset=utf-8")
    xhtml = answer(PAGE, "Content-Type: application/xhtml+xml")
    sniffed = answer(PAGE, "Server: x")
    rows = read_bytes(tmp_path, b"".join([*kinds, resource, xhtml, sniffed])).to_pylist()
    assert [(row["media"], row["charset"], row["payload"]) for row in rows] == [
        ("text/html", "utf-8", PAGE),
        ("text/html", None, PAGE),
        ("text/html", None, PAGE),
    ]


def test_wet_is_plain_text(tmp_path):
    record = warc_record("Ein Satz über Käse.".encode(), http="", WARC_Type="conversion", Content_Type="text/plain")
    rows = read_bytes(tmp_path, gzip.compress(record), "crawl.warc.wet.gz").to_pylist()
    assert [(r["media"], r["charset"], r["payload"].decode()) for r in rows] == [
        ("text/plain", "utf-8", "Ein Satz über Käse.")
    ]


def members(count):
    return [gzip.compress(answer(os.urandom(400).hex().encode(), url=f"http://a.example/{i}")) for i in range(count)]


@pytest.mark.parametrize("lost", [3, 150, 390])
def test_truncated_file_keeps_what_precedes_and_counts_the_rest(tmp_path, lost):
    packed = members(4)
    rows = read_bytes(tmp_path, b"".join(packed)[: -min(lost, len(packed[-1]) - 12)], "cut.warc.gz").to_pylist()
    assert [row["reason"] for row in rows[:3]] == [None] * 3
    assert [row["offset"] for row in rows[3:]] == [sum(map(len, packed[:3]))]
    assert rows[3]["reason"] == (None if lost == 3 else "bad_record")


def test_truncation_inside_the_header_is_not_silent(tmp_path):
    packed = members(3)
    for kept in (5, 25, 60):
        rows = read_bytes(tmp_path, packed[0] + packed[1] + packed[2][:kept], "cut.warc.gz").to_pylist()
        assert [row["reason"] for row in rows] == [None, None, "bad_record"]


@pytest.mark.parametrize("at", [0, 5, 30, 120, 300])
def test_reading_goes_on_behind_a_corrupt_member(tmp_path, at):
    packed = members(5)
    broken = bytearray(packed[2])
    broken[at : at + 40] = bytes(byte ^ 0xA5 for byte in broken[at : at + 40])
    packed[2] = bytes(broken)
    path = tmp_path / "corrupt.warc.gz"
    path.write_bytes(b"".join(packed))
    table = read(path)
    assert table["reason"].to_pylist() == [None, None, "bad_record", None, None]
    assert same(exploded(path)[1].drop("detail"), table.drop("detail"))


def test_reading_goes_on_behind_a_corrupt_plain_record(tmp_path):
    parts = [answer(PAGE, url=f"http://a.example/{i}") for i in range(4)]
    parts[1] = parts[1].replace(b"WARC/1.0", b"WARK!1.0")
    parts[2] = parts[2].replace(b"Content-Length: ", b"Content-Length: x")
    rows = read_bytes(tmp_path, b"".join(parts)).to_pylist()
    assert [r["url"][-1] for r in rows if r["reason"] is None] == ["0", "3"]
    assert next(r["offset"] for r in rows if r["reason"] == "bad_record") == len(parts[0])


@pytest.mark.parametrize("name", ["crawl.warc", "crawl.warc.gz"])
def test_splits_partition_the_records(tmp_path, name):
    kinds = ["request", "response", "metadata", "warcinfo", "response", "response", "request"]
    plain = [warc_record(PAGE * (i + 1), WARC_Type=kind) for i, kind in enumerate(kinds)]
    path = tmp_path / name
    path.write_bytes(b"".join(plain if name.endswith("c") else [gzip.compress(record) for record in plain]))
    finer, alone = exploded(path)
    assert finer["row"].to_pylist() == list(range(kinds.count("response")))
    assert same(alone, read(path))


def test_file_compressed_as_one_whole_is_read(tmp_path):
    path = tmp_path / "whole.warc.gz"
    path.write_bytes(gzip.compress(b"".join(answer(PAGE, url=f"http://a.example/{i}") for i in range(5))))
    assert read(path)["reason"].null_count == 5
    finer, alone = exploded(path)
    assert len(finer) == 5 and same(alone, read(path))


def test_several_splits_in_one_part_keep_their_order(tmp_path):
    paths = [tmp_path / f"{i}.txt" for i in range(3)]
    for path in paths:
        path.write_text(path.stem)
    splits = pa.concat_tables([split_of(path) for path in reversed(paths)])
    assert stage().prepare(no_files)(splits)["payload"].to_pylist() == [b"2", b"1", b"0"]


def test_reads_through_fsspec(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(answer(PAGE)))
    row = {"file": "a.warc.gz", "path": f"file://{path}", "start": 0, "end": -1, "row": -1}
    table = stage().prepare(no_files)(pa.Table.from_pylist([row], schema=SPLIT))
    assert same(table, read(path))


def test_sample_keeps_a_share_and_grows_with_it(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json_lines([{"text": f"text {i}" if i % 2 else ""} for i in range(4000)]))
    kept = {}
    for share in (0.1, 0.3):
        rows = read(path, sample=share).to_pylist()
        assert len(rows) == 4000
        inside = [r for r in rows if r["reason"] != "not_sampled"]
        assert abs(len(inside) / 4000 - share) < 0.03
        assert abs(sum(r["reason"] == "empty_payload" for r in inside) / len(inside) - 0.5) < 0.1
        kept[share] = {r["id"] for r in inside}
    assert kept[0.1] < kept[0.3]


def test_broken_records_are_reported_whatever_the_sample(tmp_path):
    assert one(tmp_path, b"broken", sample=1e-9)["reason"] == "bad_record"


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_impossible_sample_is_refused(share):
    with pytest.raises(ValueError, match="expected a share"):
        stage(sample=share)


def test_id_is_the_hash_of_url_and_payload(tmp_path):
    row = one(tmp_path, answer(PAGE))
    fields = (b"http://a.example/", PAGE)
    data = b"".join(len(field).to_bytes(8, "little") + field for field in fields)
    assert row["id"] == xxhash.xxh3_128_digest(data)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.text(max_size=4)] * 2, st.integers(0, 3), st.none() | st.binary(max_size=4)),
    st.tuples(*[st.text(max_size=4)] * 2, st.integers(0, 3), st.none() | st.binary(max_size=4)),
)
def test_fields_of_an_id_cannot_run_into_each_other(left, right):
    ids, named = [], []
    for file, url, offset, payload in (left, right):
        ids.append(record_id(file, Fetched(url, offset, payload)))
        placed = "" if payload and url == f"{file}#{offset}" else url
        named.append((url, file, offset) if payload is None else (placed, payload))
    assert (ids[0] == ids[1]) == (named[0] == named[1])


def test_a_payload_without_url_has_one_id_in_whatever_file():
    ids = {record_id(file, Fetched(f"{file}#{offset}", offset, b"text")) for file, offset in (("a", 0), ("b", 7))}
    assert len(ids) == 1
    assert record_id("a", Fetched("a#0", 1, b"text")) not in ids
    assert record_id("a", Fetched("a#0", 0, b"other")) not in ids


@pytest.mark.parametrize("names", [("a.warc", "b.warc"), ("a.warc", "b.warc.gz")])
def test_a_record_in_two_files_has_one_id(tmp_path, names):
    other = answer(PAGE, url="http://a.example/other")
    data = [other + answer(PAGE), answer(PAGE) + other]
    data = [gzip.compress(d) if name.endswith("gz") else d for name, d in zip(names, data, strict=True)]
    one, two = (read_bytes(tmp_path, d, name)["id"].to_pylist() for name, d in zip(names, data, strict=True))
    assert one == two[::-1] and len(set(one)) == 2


def test_drops_without_payload_stay_apart(tmp_path):
    record = answer(b"", "Location: /there", status="302 Found")
    found = [read_bytes(tmp_path, record * 3, name)["id"].to_pylist() for name in ("a.warc", "b.warc")]
    assert len(set(found[0] + found[1])) == 6


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3), st.booleans())
def test_no_bytes_crash_the_reader(tmp_path_factory, noise, at, packed):
    path = tmp_path_factory.mktemp("noise") / "a.warc.gz"
    good = [gzip.compress(answer(PAGE)) if packed else answer(PAGE) for _ in range(3)]
    path.write_bytes(b"".join([*good[:at], noise, *good[at:]]))
    reasons = Counter(read(path)["reason"].to_pylist())
    assert set(reasons) <= {None, "bad_record"}
    assert reasons[None] >= min(at, 1)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.warc is not at .*put it back"):
        read(tmp_path / "gone.warc")


STRAY = ("_SUCCESS", "README.md", "state.json", "table.csv", "a.warc.wat.gz")


def folder_of(folder, names):
    for name in names:
        (folder / name).write_bytes(b"x")
    splits = pa.concat_tables([split_of(folder / name) for name in names])
    return Read(files=Source(location=str(folder)), sample=1e-9, max_payload_bytes=1000), splits


def test_stray_files_of_unknown_formats_are_a_row_each_whatever_the_sample(tmp_path):
    reader, splits = folder_of(tmp_path, [*STRAY, "a.txt"])
    table = reader.prepare(no_files)(splits)
    rows = [row for row in table.to_pylist() if row["reason"] == "unknown_format"]
    assert [(row["url"], row["file"]) for row in rows] == [(name, name) for name in STRAY if name != "state.json"]
    assert all(".warc.gz" in row["detail"] and ".parquet" in row["detail"] for row in rows)
    assert table.num_rows == len(rows) + 1
    assert reader.explode(splits, no_files).equals(splits)


def test_a_source_of_unknown_formats_alone_is_refused_with_the_known_ones(tmp_path):
    reader, splits = folder_of(tmp_path, STRAY)
    with pytest.raises(ValueError, match=r"_SUCCESS.*\.warc\.gz.*\.parquet.*convert"):
        reader.prepare(no_files)(splits)
