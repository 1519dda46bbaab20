"""JSON lines as records: what counts of a row, and a reason for every line that gives no text."""

import gzip
import io
import itertools
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus.read_rows import json_rows

MOST = 1000


def read(stored, name="a.jsonl", start=0, end=-1, most=MOST):
    return list(json_rows(io.BytesIO(stored), name, start, end, most))


def one(line):
    (row,) = read(line)
    return row


DEEP = b'{"text": "x", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
REFUSED = {
    b'{"text": ': "Expecting value",
    b"[1, 2]": "got list",
    b"7": "got int",
    b'{"body": "x"}': "none of text, content, raw_content",
    b'{"text": 7}': "text is int",
    b'{"text": null}': "text is NoneType",
    b'{"text": {"a": 1}}': "text is dict",
    b'{"text": "a\x00b"}': "control character",
    b'{"text": "\xff"}': "can't decode",
    b'{"text": "a"} {"text": "b"}': "Extra data",
    b"\x00" * 50: "Expecting value",
}


@pytest.mark.parametrize("line", list(REFUSED))
def test_a_line_without_a_text_is_a_bad_row(line):
    row = one(line)
    assert (row.reason, row.payload, row.offset, row.url) == ("bad_row", None, 0, "a.jsonl#0")
    assert REFUSED[line] in (row.detail or "")


def test_a_line_nested_too_deep_is_a_bad_row():
    (row,) = read(DEEP, most=1 << 20)
    assert row.reason == "bad_row"
    assert "recursion" in (row.detail or "")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'\xef\xbb\xbf{"text": "x"}', b"x"),
        (b'{"text": "x"}\r', b"x"),
        (b'  {"text": "x"}', b"x"),
        (b'{"text": "a", "text": "x"}', b"x"),
        (b'{"text": "x", "n": 1e400}', b"x"),
        (b'{"text": "x", "n": NaN}', b"x"),
        (b'{"text": "x", "n": ' + b"9" * 600 + b"}", b"x"),
        (b'{"text": "a\\u0000b"}', b"a\0b"),
        (b'{"text": "a\\ud83d\\ude00b"}', b"a\xf0\x9f\x98\x80b"),
        (b'{"text": "a\\ud800b"}', b"a?b"),
        (b'{"text": "x", "url": "\\udfff"}', b"x"),
        (b'{"content": "x", "raw_content": "y"}', b"x"),
        (b'{"text": "x", "metadata": [1], "meta": "{}"}', b"x"),
    ],
)
def test_odd_lines_with_a_text(line, text):
    row = one(line)
    assert (row.reason, row.payload, row.media, row.charset) == (None, text, "text/plain", "utf-8")
    assert row.url.encode()


def test_blank_lines_are_no_rows_but_count_as_bytes():
    rows = read(b'\n \t\r\n\n{"text": "x"}\n\n')
    assert [(row.offset, row.url) for row in rows] == [(6, "a.jsonl#6")]
    assert read(b"") == read(b"\xef\xbb\xbf") == read(b"\n\n") == []


ORIGINS = [
    ({"url": "u", "title": "t", "license": "l"}, ("u", "t", "l")),
    ({"metadata": {"url": "u", "title": "t", "license": "l"}}, ("u", "t", "l")),
    ({"url": "u", "metadata": {"url": "v", "license": "m"}, "licence": "l"}, ("u", None, "m")),
    ({"licence": "l", "meta": {"url": "u"}}, ("u", None, "l")),
    ({"url": "", "title": 7, "license": ["l"], "metadata": {"url": None}}, ("a.jsonl#0", None, None)),
    ({}, ("a.jsonl#0", None, None)),
]


@pytest.mark.parametrize(("keys", "expected"), ORIGINS)
@pytest.mark.parametrize("more", ["", "\ud800"], ids=["parser", "library"])
def test_origin(keys, expected, more):
    row = one(json.dumps({"text": "x", **keys, "more": more}).encode())
    assert (row.url, row.title, row.license) == expected
    assert row.robots is None


def test_limits():
    sizes = [MOST, MOST + 1, 6 * MOST]
    rows = read(b"".join(b'{"text": "%s"}\n' % (b"x" * size) for size in sizes))
    assert [row.reason for row in rows] == [None, "too_large", "too_large"]
    assert [row.detail for row in rows[1:]] == ["over 1000 bytes", "a line over 6000 bytes"]
    assert [row.reason for row in read(b'{"text": ""}\n{"text": " \\n"}')] == ["empty_payload"] * 2
    escaped = b'{"text": "%s"}' % (b"\\u0001" * (MOST - 3))
    assert read(escaped)[0].payload == b"\1" * (MOST - 3)


def test_one_endless_line_takes_no_memory():
    stored = gzip.compress(b'{"text": "' + b"x" * (40 << 20) + b'"}\n{"text": "x"}')
    tracemalloc.start()
    rows = read(stored, "a.json.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row.reason, row.offset) for row in rows] == [("too_large", 0), (None, (40 << 20) + 13)]
    assert peak < 8 << 20


LINES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b'{"text": "a"}', b'{"text": 1}', b'{"text": "' + b"x" * 7000 + b'"}']),
    st.dictionaries(st.sampled_from(["text", "url", "metadata", "x"]), st.text(max_size=5)).map(
        lambda row: json.dumps(row).encode()
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINES, max_size=15).map(b"\n".join), st.lists(st.integers(0, 10_000), max_size=4), st.booleans())
def test_any_bytes_and_any_cuts(text, cuts, packed):
    name, stored = ("a.jsonl.gz", gzip.compress(text)) if packed else ("a.jsonl", text)
    edges = [0, *sorted(cuts), -1]
    whole = read(stored, name)
    got = [row for start, end in itertools.pairwise(edges) for row in read(stored, name, start, end)]
    assert got == whole
    assert [row.offset for row in whole] == sorted({row.offset for row in whole})


def test_damage_is_one_bad_record():
    stored = gzip.compress(b'{"text": "x"}\n' * 20_000)[:-100]
    rows = read(stored, "a.jsonl.gz")
    assert rows[-1].reason == "bad_record"
    assert {row.reason for row in rows[:-1]} == {None}
    assert len(rows) > 1000
