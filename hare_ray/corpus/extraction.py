"""How `extract` gets text out of a payload.

Charset: `charset`. HTML goes through one of three engines behind one function:

    model        ours: blocks judged by a small trained model (`pages`)                the default
    resiliparse  rules over lexbor's tree
    trafilatura  rules and fallbacks over lxml's tree; slow, installed by the user

`make bench-extract` measures them on the same pages. The model is ahead on every type of page and faster than both;
the others are there for whoever must reproduce a corpus made with them. Title, licence, robots and depth come from
our scan whatever the engine. Plain text passes as it is, with the title of its record. In all, newlines are line
feeds, NUL is removed, there are at most MAX_BLANK_LINES blank lines in a row, and no white space around the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.corpus.charset import utf8
from hare_ray.corpus.page_scan import TOO_DEEP as DEEP
from hare_ray.corpus.pages import PageError, Pages
from hare_ray.corpus.plain import as_it_is
from hare_ray.schema import REASON

if TYPE_CHECKING:
    from hare_ray.corpus.extract import Extract

TOO_LARGE = "too_large"
TOO_DEEP = "too_deep"
TOO_MANY_BLOCKS = "too_many_blocks"
BAD_ENCODING = "bad_encoding"
BAD_HTML = "bad_html"
EMPTY_TEXT = "empty_text"
TOO_SHORT = "too_short"

HTML = "text/html"

MAX_BLANK_LINES = 2
"""Two blank lines set sections apart; more is layout."""

FEW_CHARS = 200
"""Where resiliparse finds less main content, all visible text is taken: on short pages it fails by leaving nothing."""

_LINE_END = re.compile(r"\r\n?")
_GAP = re.compile(rf"\n(?:[ \t]*\n){{{MAX_BLANK_LINES + 1},}}")
_KEPT_GAP = "\n" * (MAX_BLANK_LINES + 1)


class Extracted(NamedTuple):
    """Text and what else is known of one record, or why there is none."""

    text: str | None = None
    title: str | None = None
    license: str | None = None
    robots: str | None = None
    reason: str | None = None


class Record(NamedTuple):
    """What is read of a row of `hare_ray.schema.RECORD`."""

    media: str
    charset: str | None
    title: str | None
    license: str | None
    robots: str | None


class BadHTMLError(ValueError):
    """A page that an engine refuses."""


def by_resiliparse(html: bytes) -> str:
    """Main text by resiliparse."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLParserException, HTMLTree

    visible = partial(
        extract_plain_text, preserve_formatting=True, list_bullets=True, alt_texts=False, links=False,
        form_fields=False, noscript=False, comments=False, post_meta=False,
    )  # fmt: skip
    try:
        tree = HTMLTree.parse(html.decode())
    except HTMLParserException as refused:
        raise BadHTMLError(str(refused)) from refused
    text = visible(tree, main_content=True)
    return text if len(text) >= FEW_CHARS else visible(tree, main_content=False)


def by_trafilatura(html: bytes) -> str:
    """Main text by trafilatura."""
    from trafilatura import extract  # pyright: ignore[reportMissingImports]

    return extract(html.decode(), include_comments=False) or ""


ENGINES: dict[str, Callable[[bytes], str] | None] = {
    "model": None,
    "resiliparse": by_resiliparse,
    "trafilatura": by_trafilatura,
}
"""None: the text comes with the scan."""


def tidy(text: str) -> str:
    """`text` with plain newlines, no NUL, and no large gaps."""
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    if "\x00" in text:
        text = text.replace("\x00", "")
    if "\n\n\n" in text or "\n " in text or "\n\t" in text:
        text = _GAP.sub(_KEPT_GAP, text)
    return text.strip()


class Extractor:
    """Takes records apart, one worker's worth."""

    def __init__(self, stage: Extract) -> None:
        self.stage = stage
        self.pages = Pages(stage.max_depth)
        self.engine = ENGINES[stage.engine]

    def read(self, payload: bytes, record: Record) -> Extracted:
        """Text and more of a payload of bearable size."""
        dropped = Extracted(None, *record[2:])
        text = utf8(payload, record.charset, record.media == HTML, self.stage.max_broken_share)
        if text is None:
            return dropped._replace(reason=BAD_ENCODING)
        found = self._page(text, record) if record.media == HTML else dropped._replace(text=text.decode())
        if found.text is None:
            return found
        tidied = tidy(found.text)
        if len(tidied) < self.stage.min_chars or not tidied:
            return found._replace(text=None, reason=TOO_SHORT if tidied else EMPTY_TEXT)
        return found._replace(text=tidied)

    def _page(self, html: bytes, record: Record) -> Extracted:
        dropped = Extracted(None, *record[2:])
        try:
            page = self.pages.read(html, judge=self.engine is None)
        except PageError as given_up:
            return dropped._replace(reason=TOO_DEEP if given_up.status == DEEP else TOO_MANY_BLOCKS)
        robots = ", ".join(filter(None, (record.robots, page.robots))) or None
        known = Extracted(None, record.title or page.title, record.license or page.license, robots)
        try:
            return known._replace(text=page.text.decode() if self.engine is None else self.engine(html))
        except BadHTMLError:
            return known._replace(reason=BAD_HTML)


def extract(extractor: Extractor, records: pa.Table) -> pa.Table:
    """The part function of Extract: one row per record, kept or with a reason."""
    plain, text = as_it_is(records, extractor.stage.max_payload_bytes)
    if not plain.any():
        return _taken_apart(extractor, records)
    rest = records.filter(pa.array(~plain))
    tables = [_passed_on(extractor, records if not len(rest) else records.filter(pa.array(plain)), text)]
    if not len(rest):
        return tables[0]
    tables.append(_taken_apart(extractor, rest))
    order = np.argsort(np.concatenate([np.flatnonzero(plain), np.flatnonzero(~plain)]))
    return pa.concat_tables(tables).take(pa.array(order)).combine_chunks()


def _passed_on(extractor: Extractor, records: pa.Table, text: pa.Array) -> pa.Table:
    """Rows whose payload is their text."""
    short = pc.less(pc.utf8_length(text), extractor.stage.min_chars)
    own = {
        "text": pc.if_else(short, pa.scalar(None, pa.large_string()), text) if pc.any(short).as_py() else text,
        "reason": pc.if_else(short, TOO_SHORT, pa.scalar(None, pa.string())),
    }
    return _documents(extractor, records, {name: records[name] for name in ("title", "license", "robots")} | own)


def _documents(extractor: Extractor, records: pa.Table, own: dict[str, Any]) -> pa.Table:
    kept = {name: records[name] for name in ("id", "url", "file", "offset")}
    return pa.table({**kept, **own}, schema=pa.schema([*extractor.stage.writes, REASON]))


def _taken_apart(extractor: Extractor, records: pa.Table) -> pa.Table:
    """One record after the other."""
    columns = [records[name].to_pylist() for name in Record._fields]
    found = []
    for payload, *values in zip(records["payload"], *columns, strict=True):
        record = Record(*values)
        data = payload.as_buffer()
        if data is None:
            found.append(Extracted(None, *record[2:], reason=EMPTY_TEXT))
        elif data.size > extractor.stage.max_payload_bytes:
            found.append(Extracted(None, *record[2:], reason=TOO_LARGE))
        else:
            found.append(extractor.read(data.to_pybytes(), record))
    own = {name: _strings([getattr(row, name) for row in found]) for name in ("title", "license", "robots")}
    own["text"] = pa.array([row.text for row in found], pa.large_string())
    own["reason"] = pa.array([row.reason for row in found], pa.string())
    return _documents(extractor, records, own)


def _strings(values: list[str | None]) -> pa.Array:
    """Lone surrogates have no UTF-8 and are left out."""
    return pa.array([None if value is None else value.encode("utf-8", "ignore") for value in values], pa.binary()).cast(
        pa.string()
    )
