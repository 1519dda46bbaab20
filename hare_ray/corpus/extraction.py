"""How `extract` gets text out of a payload.

Charset, the first that fits: byte order mark; UTF-8, whatever the server says, since valid multi-byte
sequences do not happen by chance and wrong headers do; the declared one; the one in <meta>; what uchardet
detects. One fits if at most `max_broken_share` of the characters come out as U+FFFD; UTF-8 must have more
good than broken multi-byte characters besides. Labels are read as browsers do (latin-1 means
windows-1252).

HTML goes through resiliparse: lexbor's tree and a rule-based pass for the main content, several times the
speed of trafilatura, keeping code and lists. Links, alternative texts, form fields, comment sections and
bylines are left out, unless fewer than `min_main_chars` characters would be left: then all visible text
is taken, since main content is a guess, and on short, listing-like pages it fails by leaving nothing; the
title is that of <title>. Plain text passes as it is, with the title of its record. In both, newlines are
line feeds, NUL is removed, there are at most MAX_BLANK_LINES blank lines in a row, and no white space
around the whole.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from resiliparse.parse.html import HTMLParserException, HTMLTree

from hare_ray.corpus.depth import too_deep
from hare_ray.schema import DOCUMENT, REASON

if TYPE_CHECKING:
    from hare_ray.corpus.extract import Extract

TOO_LARGE = "too_large"
TOO_DEEP = "too_deep"
BAD_ENCODING = "bad_encoding"
BAD_HTML = "bad_html"
EMPTY_TEXT = "empty_text"
TOO_SHORT = "too_short"

HTML = "text/html"

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

SIGNS_OF = {"iso2022": b"\x1b", "utf-16": b"\x00"}
"""Charsets whose bytes may be valid UTF-8 all the same, and a byte that they, if meant, cannot do without."""

UTF8 = "utf-8"

MAX_BLANK_LINES = 2
"""Two blank lines set sections apart; more is layout."""

DETECTED_BYTES = 1 << 16
"""What uchardet is given; more does not change its mind."""

_LINE_END = re.compile(r"\r\n?")
_GAP = re.compile(rf"\n(?:[ \t]*\n){{{MAX_BLANK_LINES + 1},}}")
_KEPT_GAP = "\n" * (MAX_BLANK_LINES + 1)
_BROKEN = "\ufffd"


JUDGED = pa.schema([*DOCUMENT, REASON])
"""What extraction gives: documents, and why a row is none."""


class Extracted(NamedTuple):
    """Text and title of one record, or why there is none."""

    text: str = ""
    title: str | None = None
    reason: str | None = None


def charsets(payload: bytes, declared: str | None, html: bool) -> Iterator[str]:
    """Candidate charsets as names of Python codecs, likeliest first."""
    for mark, name in BYTE_ORDER_MARKS:
        if payload.startswith(mark):
            yield name
    said = [detect_encoding(payload, DETECTED_BYTES, from_html_meta=html)]
    if declared:
        said.insert(0, map_encoding_to_html5(declared, fallback_utf8=False))
    for name in filter(None, said):
        if any(name.startswith(charset) and sign in payload for charset, sign in SIGNS_OF.items()):
            yield name
    yield UTF8
    yield from (name for name in said if name and not name.startswith(tuple(SIGNS_OF)))
    yield detect_encoding(payload, DETECTED_BYTES) or UTF8


def decoded(payload: bytes, declared: str | None, html: bool, max_broken_share: float) -> str | None:
    """`payload` in the first charset that fits; None where none does."""
    for charset in charsets(payload, declared, html):
        text = payload.decode(charset, "replace").removeprefix("\ufeff")
        broken = text.count(_BROKEN)
        in_utf8 = charset != UTF8 or 2 * broken <= len(payload) - len(text)
        if broken <= max_broken_share * len(text) and in_utf8:
            return text
    return None


def visible_text(tree: HTMLTree, main_content: bool) -> str:
    """Text of a page with its line structure; of its main content only, where so asked."""
    return extract_plain_text(
        tree,
        main_content=main_content,
        preserve_formatting=True,
        list_bullets=True,
        alt_texts=False,
        links=False,
        form_fields=False,
        noscript=False,
        comments=False,
        post_meta=False,
    )


def main_text(html: str, min_main_chars: int) -> tuple[str, str | None]:
    """Text and title of a page."""
    tree = HTMLTree.parse(html)
    text = visible_text(tree, main_content=True)
    if len(text) < min_main_chars:
        text = visible_text(tree, main_content=False)
    return text, tree.title


def tidy(text: str) -> str:
    """`text` with plain newlines, no NUL, and no large gaps."""
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    if "\x00" in text:
        text = text.replace("\x00", "")
    if "\n\n\n" in text or "\n " in text or "\n\t" in text:
        text = _GAP.sub(_KEPT_GAP, text)
    return text.strip()


def read(stage: Extract, payload: bytes, media: str, charset: str | None, title: str | None) -> Extracted:
    """Text and title of a payload of bearable size and depth."""
    text = decoded(payload, charset, media == HTML, stage.max_broken_share)
    if text is None:
        return Extracted(title=title, reason=BAD_ENCODING)
    if media == HTML:
        try:
            text, own_title = main_text(text, stage.min_main_chars)
        except HTMLParserException:
            return Extracted(title=title, reason=BAD_HTML)
        title = title or own_title
    text = tidy(text)
    if len(text) < stage.min_chars or not text:
        return Extracted(title=title, reason=TOO_SHORT if text else EMPTY_TEXT)
    return Extracted(text, title)


def extract(stage: Extract, records: pa.Table) -> pa.Table:
    """The part function of Extract: one row per record, kept or with a reason."""
    deep = too_deep(records["payload"], stage.max_depth)
    columns = [records[name].to_pylist() for name in ("media", "charset", "title")]
    found = []
    for payload, is_deep, media, charset, title in zip(records["payload"], deep, *columns, strict=True):
        data = payload.as_buffer()
        if data is None:
            found.append(Extracted(title=title, reason=EMPTY_TEXT))
        elif data.size > stage.max_payload_bytes:
            found.append(Extracted(title=title, reason=TOO_LARGE))
        elif is_deep and media == HTML:
            found.append(Extracted(title=title, reason=TOO_DEEP))
        else:
            found.append(read(stage, data.to_pybytes(), media, charset, title))
    texts = [_utf8(row.text) if row.reason is None else None for row in found]
    titles = [None if row.title is None else _utf8(row.title) for row in found]
    own = {
        "title": pa.array(titles, pa.binary()).cast(pa.string()),
        "text": pa.array(texts, pa.large_binary()).cast(pa.large_string()),
        "reason": pa.array([row.reason for row in found], pa.string()),
    }
    kept = {name: records[name] for name in ("id", "url", "file", "offset")}
    return pa.table({**kept, **own}, schema=JUDGED)


def _utf8(text: str) -> bytes:
    """Lone surrogates have no UTF-8 and are left out."""
    return text.encode("utf-8", "ignore")
