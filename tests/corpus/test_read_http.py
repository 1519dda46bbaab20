"""What an HTTP answer says of itself: encodings, charset, licence and robots."""

import gzip
import time
import zlib
from contextlib import suppress

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus.answer import InflatedError, UndecodableError, decoded, license_of, parse_answer
from hare_ray.corpus.grammar import fields
from hare_ray.corpus.read_warc import CHARSET
from tests.corpus.reading import PAGE, answer, one

CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=3000), st.lists(st.sampled_from(sorted(CODINGS)), max_size=3))
def test_encodings_in_a_row_are_undone_from_the_last(body, listed):
    packed = body
    for coding in listed:
        packed = CODINGS[coding](packed)
    head = parse_answer(f"HTTP/1.1 200 OK\r\nContent-Encoding: {', '.join(listed)}\r\n\r\n".encode())
    assert decoded(head, packed, len(body) + 20_000) == body


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from(["gzip", "deflate", "br", "zstd", "chunked", "chunked, gzip"]),
    st.booleans(),
)
def test_no_body_raises_what_is_not_foreseen(body, coding, transfer):
    name = "Transfer-Encoding" if transfer else "Content-Encoding"
    head = parse_answer(f"HTTP/1.1 200 OK\n{name}: {coding}\n\n".encode())
    with suppress(InflatedError, UndecodableError):
        assert len(decoded(head, body, 1000)) <= 1000


def test_members_one_behind_another_are_one_body(tmp_path):
    body = gzip.compress(PAGE) + gzip.compress(b"<p>more</p>")
    row = one(tmp_path, answer(body, "Content-Type: text/html\r\nContent-Encoding: gzip"))
    assert row["payload"] == PAGE + b"<p>more</p>"


def test_a_packed_body_without_a_media_type_is_unpacked_before_it_is_sniffed(tmp_path):
    assert one(tmp_path, answer(gzip.compress(PAGE), "Content-Encoding: gzip"))["payload"] == PAGE


@pytest.mark.parametrize(
    ("headers", "license_", "robots"),
    [
        ('Link: <https://l.example/by>; rel="license"', "https://l.example/by", None),
        ("Link: <https://a.example/n>; rel=next, <https://l.example/by> ; REL=License", "https://l.example/by", None),
        ('Link: </n>; rel="next"\r\nlink: </l>; title="a, b"; rel="copyright license"', "/l", None),
        ('Link: <https://l.example/license>; rel="next"', None, None),
        ("X-Robots-Tag: noindex\r\nX-Robots-Tag: googlebot: nofollow", None, "noindex, googlebot: nofollow"),
        ("X-Robots-Tag: noindex,\r\n noai", None, "noindex, noai"),
        ("X-Robots-Tag:", None, None),
    ],
)
def test_licence_and_robots(tmp_path, headers, license_, robots):
    row = one(tmp_path, answer(PAGE, f"Content-Type: text/html\r\n{headers}"))
    assert (row["license"], row["robots"], row["payload"]) == (license_, robots, PAGE)


@pytest.mark.parametrize("status", ["HTTP/1.1 200 OK", "HTTP/1.0 200", "HTTP/2 200", "http/1.1 200 OK".upper()])
def test_status_lines(status):
    head = parse_answer(status.encode() + b"\r\nA: b\r\n\r\nbody")
    assert (head.status, head.fields) == (200, {b"a": b"b"})


@pytest.mark.parametrize("line", [b"a:b\n", b" folded\n"])
def test_a_long_head_takes_no_time(line):
    lines = line * 300_000
    began = time.perf_counter()
    for end in (b"", b"\nbody"):
        with pytest.raises(UndecodableError, match="no end of the HTTP head"):
            parse_answer(b"HTTP/1.1 200 OK\nx: y\n" + lines + end)
    assert fields(b"x: y\n" + lines)
    assert time.perf_counter() - began < 2


def test_repeated_and_folded_fields():
    assert fields(b"A: b\r\na:c\n d\n\te\nB:\nb: x\n f") == {b"a": b"b, c d e", b"b": b", x f"}


def test_a_charset_behind_many_blanks_takes_no_time():
    began = time.perf_counter()
    for value in ("charset=" + " " * 60_000 + ";", "charset=" + " " * 30_000 + '"' + " " * 30_000 + ";"):
        assert CHARSET.search(value) is None
    assert time.perf_counter() - began < 1
    quoted = (" 'a'", '" a"', "a", '"a', " a")
    assert [found[1] for value in quoted if (found := CHARSET.search("charset =" + value))] == ["a"] * len(quoted)


def test_a_head_without_an_end_is_all_head():
    head = parse_answer(b"HTTP/1.1 200 OK\r\nX: y")
    assert (head.fields, head.begin) == ({b"x": b"y"}, 21)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_link_header_is_read(value):
    head = parse_answer(b"HTTP/1.1 200 OK\r\nLink: license " + value + b"\r\n\r\n")
    assert license_of(head) is None or isinstance(license_of(head), str)
