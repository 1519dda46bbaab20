"""Rows of plain text that pass as they are: the same documents as by the long way."""

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hare_ray.corpus.extract import Extract
from hare_ray.corpus.extraction import Extractor, _taken_apart, extract
from hare_ray.corpus.plain import as_it_is
from hare_ray.schema import RECORD
from hare_ray.stage import Table

MAX_BYTES = 60


class Records(Table):
    writes = RECORD


EXTRACTOR = Extractor(
    Extract(
        docs=Records(), engine="model", max_payload_bytes=MAX_BYTES, max_depth=100, max_broken_share=0.1, min_chars=3
    )
)


def records(payloads, media="text/plain"):
    rows = [
        {
            "id": bytes([n % 256]) * 16, "url": f"https://example.org/{n}", "file": "f", "offset": n, "media": media,
            "charset": None, "title": "T", "license": None, "robots": None, "payload": payload,
        }
        for n, payload in enumerate(payloads)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=RECORD)


PIECES = st.sampled_from(
    [
        b"word",
        b" ",
        b"\n",
        b"\t",
        b"\r\n",
        b"\x00",
        b"\x1b$B",
        b"\xc3\xa9",
        b"\xe9",
        b"\xef\xbb\xbf",
        b"\x1c",
        b"~{",
        b".",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.none() | st.lists(PIECES, max_size=9).map(b"".join), max_size=6), st.booleans())
@example([b"a\n\n\n\nb", b"a\n \n\t\n\nb", b"a\n\n\nb", b"  a b", b"a b  "], False)
@example([b"plain text", b"caf\xc3\xa9 au lait", b"caf\xe9 au lait"], False)
@example([b"x" * (MAX_BYTES + 1), b"ab", b"", None], False)
def test_every_row_is_as_by_the_long_way(payloads, html):
    table = records(payloads, "text/html" if html else "text/plain")
    assert extract(EXTRACTOR, table).to_pylist() == _taken_apart(EXTRACTOR, table).to_pylist()


@pytest.mark.parametrize(
    ("payload", "passes"),
    [
        (b"One line.\n\n  Another, indented.\n\n\nA third.", True),
        (b"caf\xc3\xa9 au lait", True),
        (b"a\n\n\n\nb", False),
        (b"a\r\nb", False),
        (b" a", False),
        (b"a\x00b", False),
        (b"caf\xe9 au lait", False),
        (b"", False),
        (b"x" * (MAX_BYTES + 1), False),
    ],
)
def test_only_what_needs_nothing_passes(payload, passes):
    chosen, text = as_it_is(records([payload]), MAX_BYTES)
    assert chosen.tolist() == [passes]
    assert text.to_pylist() == ([payload.decode()] if passes else [])


def test_pages_and_text_keep_their_order():
    table = pa.concat_tables(
        [records([b"first text"]), records([b"<p>a page of text</p>"], "text/html"), records([b"last"])]
    )
    assert extract(EXTRACTOR, table).column("text").to_pylist() == ["first text", "a page of text", "last"]
