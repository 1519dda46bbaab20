"""Bombs, mislabelled, empty and clipped archives: each record becomes a reason, and nothing takes long."""

import gzip
import io
import os
import time
import zlib
from collections import Counter
from pathlib import Path

import brotli
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus.archive import Archive
from hare_ray.corpus.grammar import ARC, WARC, fields, parse
from tests.corpus.archives import PACKINGS, arc_opening, arc_record, lz4, over_cuts, records_of, warc
from tests.corpus.reading import PAGE, answer, exploded, one, read, read_bytes, same, warc_record

BOMB_BYTES = 100 << 20


def head_of(count):
    """The header of a record whose body is that long."""
    record = warc_record(b"")
    http = len(record.split(b"\r\n\r\n")[1]) + 4
    return record.replace(b"Content-Length: %d" % http, b"Content-Length: %d" % (count + http))[:-4]


def zeros(count):
    """A gzip member of zeros behind a record's header, packed a thousand to one."""
    head = head_of(count)
    packer = zlib.compressobj(9, wbits=31)
    packed = [packer.compress(head)]
    block = bytes(1 << 20)
    packed += [packer.compress(block) for _ in range(count >> 20)]
    return b"".join([*packed, packer.flush()])


def test_a_member_that_is_a_bomb_is_left_where_it_shows(tmp_path):
    bomb = zeros(BOMB_BYTES)
    began = time.perf_counter()
    good = gzip.compress(warc())
    path = tmp_path / "a.warc.gz"
    path.write_bytes(good + bomb + good)
    rows = read(path, max_payload_bytes=1 << 20).to_pylist()
    assert [row["reason"] for row in rows] == [None, "compression_bomb", None]
    assert "MiB out of" in rows[1]["detail"] and rows[1]["url"] == "http://a.example/"
    assert time.perf_counter() - began < 5
    assert over_cuts(path, [len(good) + 9, len(good) + 1000]) == records_of(path)


@pytest.mark.parametrize("name", ["whole.warc.gz", "a.warc.zst", "a.warc.lz4"])
def test_bombs_of_other_packings(tmp_path, name):
    record = head_of(64 << 20) + bytes(64 << 20)
    packed = {"a.warc.zst": zstandard.compress, "a.warc.lz4": lz4}
    if name in packed:
        data = packed[name](warc()) + packed[name](record) + packed[name](warc())
    else:
        data = gzip.compress(warc() + warc() + record) + gzip.compress(warc())
    reasons = read_bytes(tmp_path, data, name, max_payload_bytes=1 << 20)["reason"].to_pylist()
    assert reasons[0] is None and reasons[-1] is None
    assert "compression_bomb" in reasons


def test_a_long_record_that_is_no_bomb_is_too_large_and_inflated_through(tmp_path):
    body = os.urandom(3 << 20)
    packed = [gzip.compress(warc(data)) for data in (PAGE, body, PAGE)]
    rows = read_bytes(tmp_path, b"".join(packed), "a.warc.gz", max_payload_bytes=1 << 20).to_pylist()
    assert [row["reason"] for row in rows] == [None, "too_large", None]


def bombs():
    plain = bytes(30 << 20)
    return {
        "gzip": gzip.compress(plain),
        "deflate": zlib.compress(plain),
        "br": brotli.compress(plain, quality=4),
        "zstd": zstandard.compress(plain),
        "gzip, gzip": gzip.compress(gzip.compress(plain)),
    }


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_http_bombs(tmp_path, coding):
    record = answer(bombs()[coding], f"Content-Type: text/html\r\nContent-Encoding: {coding}")
    row = one(tmp_path, record, max_payload_bytes=5 << 20)
    assert row["reason"] == "compression_bomb" and row["payload"] is None
    assert row["detail"].startswith(f"over {5 << 20} bytes, ")


@pytest.mark.parametrize("data", [b"", b"\r\n \n", bytes(5000)])
@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.arc.gz", "a.wet.zst"])
def test_an_empty_file_is_said_to_be_empty(tmp_path, name, data):
    row = one(tmp_path, data, name=name)
    assert (row["reason"], row["detail"], row["offset"]) == ("bad_record", "an empty file", 0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.warc.gz", warc() * 3),
        ("packed.warc", gzip.compress(warc()) * 3),
        ("frames.warc.gz", zstandard.compress(warc()) * 3),
        ("whole.warc", gzip.compress(warc() * 3)),
        ("really_warc.arc", warc() * 3),
    ],
)
def test_content_counts_where_the_name_is_wrong(tmp_path, name, data):
    assert read_bytes(tmp_path, data, name)["payload"].to_pylist() == [PAGE] * 3


@pytest.mark.parametrize("name", ["page.warc.gz", "page.warc", "page.warc.zst", "page.arc"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_web_page_by_the_name_of_an_archive(tmp_path, name, pack):
    assert one(tmp_path, pack(PAGE * 50), name=name)["reason"] == "bad_record"


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc.zst", "a.warc.lz4"])
def test_garbage_between_members_is_one_broken_record(tmp_path, name):
    pack = {"gz": gzip.compress, "zst": zstandard.compress, "lz4": lz4}[name.rpartition(".")[2]]
    data = pack(warc()) + b"\0\x01garbage <html> WARC/1.0\r\n" + pack(warc()) + bytes(4096) + pack(warc())
    assert read_bytes(tmp_path, data, name)["reason"].to_pylist() == [None, "bad_record", None, None]


def with_dictionary(bodies, packed):
    pages = [warc(body, url=f"http://a.example/{i}") for i, body in enumerate(bodies)]
    known = zstandard.train_dictionary(2048, [page + os.urandom(30) for page in pages * 20])
    stored = zstandard.compress(known.as_bytes()) if packed else known.as_bytes()
    packer = zstandard.ZstdCompressor(dict_data=known)
    return b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored + b"".join(map(packer.compress, pages))


@pytest.mark.parametrize("packed", [False, True])
def test_zstd_with_its_dictionary_in_front(tmp_path, packed):
    bodies = [PAGE + bytes([65 + i]) * 50 for i in range(9)]
    path = tmp_path / "a.warc.zst"
    path.write_bytes(with_dictionary(bodies, packed))
    assert read(path)["payload"].to_pylist() == bodies
    assert over_cuts(path, range(0, path.stat().st_size, 101)) == records_of(path)


def test_zstd_frames_that_ask_for_a_dictionary_that_is_not_there_say_so(tmp_path):
    data = with_dictionary([PAGE] * 3, False)
    frames = data[8 + int.from_bytes(data[4:8], "little") :]
    row = read_bytes(tmp_path, frames, "a.warc.zst").to_pylist()[0]
    assert row["reason"] == "bad_record"


def test_arc_of_version_2_and_records_that_are_no_web_pages(tmp_path):
    dns = b"dns:a.example 192.0.2.1 20081124120000 text/dns 7\n1.2.3.4\n"
    body = b"HTTP/1.0 200 OK\nContent-Type: text/html\n\n" + PAGE
    two = b"http://b.example/ 192.0.2.1 20081124120000 text/html 200 - - 0 a.arc %d\n%s\n" % (len(body), body)
    rows = read_bytes(tmp_path, arc_opening() + dns + two + arc_record(PAGE), "a.arc").to_pylist()
    assert [(row["url"], row["reason"]) for row in rows] == [
        ("dns:a.example", "not_html"),
        ("http://b.example/", None),
        ("http://a.example/", None),
    ]


def test_broken_arc_goes_on_at_the_next_record(tmp_path):
    records = [arc_record(PAGE, f"http://a.example/{i}") for i in range(4)]
    records[1] = records[1][: len(records[1]) // 2] + b"\n"
    rows = read_bytes(tmp_path, b"".join(records), "a.arc").to_pylist()
    assert [row["reason"] for row in rows] == [None, "bad_record", None, None]
    clipped = read_bytes(tmp_path, b"".join(records)[:-30], "b.arc").to_pylist()
    assert [row["reason"] for row in clipped] == [None, "bad_record", None, "bad_record"]


def test_a_cut_whole_file_keeps_what_precedes_and_says_that_it_is_cut(tmp_path):
    packed = gzip.compress(b"".join(warc(os.urandom(3000).hex().encode()) for _ in range(40)))
    rows = read_bytes(tmp_path, packed[: len(packed) // 2], "a.warc.gz").to_pylist()
    assert len(rows) > 15 and {row["reason"] for row in rows[:-1]} == {None}
    assert rows[-1]["reason"] == "bad_record" and "ends inside" in rows[-1]["detail"]


@pytest.mark.parametrize("name", ["a.warc", "whole.warc.gz"])
def test_a_header_ends_at_the_next_opening(tmp_path, name):
    cut = warc()[: warc().index(b"Content-Length")]
    data = warc() + cut + warc(url="http://b.example/") + cut
    rows = read_bytes(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name).to_pylist()
    assert [(row["reason"], row["url"]) for row in rows[::2]] == [(None, f"http://{host}.example/") for host in "ab"]
    assert [row["reason"] for row in rows[1::2]] == ["bad_record"] * 2
    assert [row["detail"] for row in rows[1::2]] == ["another record opens inside the header", "no end of the header"]


@pytest.mark.parametrize("name", ["a.warc", "whole.warc.gz"])
@pytest.mark.parametrize("line", [b"WARC/1.0\r\n", b"WARC/1.0\n" + b"a:b\n" * 1200])
def test_headers_without_an_end_take_no_time(tmp_path, name, line):
    data = warc() + line * (200_000 // len(line))
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    began = time.perf_counter()
    found = records_of(path)
    assert time.perf_counter() - began < 2
    assert len(found) == 1 + 200_000 // len(line) and all(record.error for record in found[1:])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([WARC, ARC]))
def test_no_header_raises(data, grammar):
    opening = b"WARC/1.0\r\n" if grammar is WARC else b"http://a/ 1.2.3.4 20240101000000 "
    for header in (parse(grammar, data), parse(grammar, opening + data)):
        assert isinstance(header, str) or (header.length >= 0 and header.bytes > 0)
    assert all(isinstance(value, bytes) for value in fields(data).values())


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(PACKINGS)), st.binary(max_size=120), st.sampled_from([b"", b"x", b"\x1f\x8b\x08\0"]))
def test_no_bytes_raise_whatever_the_name(name, noise, magic):
    data = magic + noise
    for record in Archive(io.BytesIO(data), name, 0, -1, 1000).records():
        assert record.error


EDGE = {
    "IAH-urls-wget.warc.gz": {None: 6, "redirect": 9, "not_html": 4},
    "clipped.warc.gz": {"bad_record": 1},
    "clueweb-quirk.warc.gz": {None: 29},
    "mutliple-headers.warc": {None: 1},
    "sample-0000.warc.gz": {None: 24},
    "sample-0001.warc.gz": {None: 17},
    "warcfile.warc": {None: 16},
    "warcfile.warc.gz": {None: 16},
    "warcfile.warc.lz4": {None: 16},
    "whirlwind.warc": {None: 1},
    "whirlwind.warc.gz": {None: 1},
    "whirlwind.warc.wet": {None: 1},
    "whirlwind.warc.wet.gz": {None: 1},
}


@pytest.mark.parametrize("name", EDGE)
def test_real_quirks_are_read_or_refused_over_any_cut(name):
    root = os.environ.get("HARE_DATA")
    if not root:
        pytest.skip("HARE_DATA is not set: no real files to read")
    path = Path(root, "web", "edge", name)
    table = read(path, max_payload_bytes=10 << 20)
    assert Counter(table["reason"].to_pylist()) == EDGE[name]
    assert same(exploded(path)[1], read(path))
    whole = records_of(path)
    size = path.stat().st_size
    for parts in (2, 7, 40):
        assert over_cuts(path, range(0, size, max(size // parts, 1))) == whole


def test_a_long_file_of_garbage_is_one_broken_record(tmp_path):
    began = time.perf_counter()
    row = one(tmp_path, (b"\x1f\x8b\x08" + os.urandom(5)) * 30_000, name="a.warc.gz")
    assert row["reason"] == "bad_record"
    assert time.perf_counter() - began < 20
    assert pa.types.is_large_binary(read_bytes(tmp_path, b"x")["payload"].type)
