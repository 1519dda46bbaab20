"""Texts out of JSON lines: one object per line, in plain or compressed files.

    payload   the first of the keys `text`, `content`, `raw_content`
    url       `url`, else that of the object `metadata` or `meta`, else file#offset
    title     the same way
    license   the same way, `license` before `licence`
    offset    of the line's first byte in the uncompressed text

A blank line is no row. `bad_row`: no JSON, no object, no text, nested too deep. `too_large`: a line that could not hold
a text within the limit even if every byte of it were escaped; it is passed over without being held.

The parser is msgspec: told which keys count, it does not build the rest, twice as fast as a parser that builds all of a
row with metadata. What it refuses goes to the standard library, so that lone surrogates (escaped, written as `?`),
NaN and such pass as they do everywhere in Python, and the reasons are Python's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from hare_ray.corpus import fetched as why
from hare_ray.corpus.fetched import Fetched, complete
from hare_ray.corpus.rows_lines import DamagedError, Line, Stretch, lines
from hare_ray.corpus.rows_table import NESTS, TEXT_COLUMNS, UTF8

BYTES_PER_ESCAPED = 6
"""Bytes of an escape such as \\u0001, which stands for one."""
BOM = b"\xef\xbb\xbf"
ABSENT = msgspec.UNSET


class _Origin(msgspec.Struct):
    """What counts of `metadata`."""

    url: Any = ABSENT
    title: Any = ABSENT
    license: Any = ABSENT
    licence: Any = ABSENT


class _Row(msgspec.Struct):
    """What counts of a line."""

    text: Any = ABSENT
    content: Any = ABSENT
    raw_content: Any = ABSENT
    url: Any = ABSENT
    title: Any = ABSENT
    license: Any = ABSENT
    licence: Any = ABSENT
    metadata: _Origin | str | int | float | bool | list | None = None
    meta: _Origin | str | int | float | bool | list | None = None


_DECODER = msgspec.json.Decoder(_Row)


def json_rows(file: BinaryIO, name: str, start: int, end: int, max_payload_bytes: int) -> Iterator[Fetched]:
    """The lines that begin in the stored bytes [start, end)."""
    stretch = Stretch(start, end, max_payload_bytes * BYTES_PER_ESCAPED)
    try:
        for line in lines(file, name, stretch):
            row = _fetched(name, line, stretch.line_bytes)
            if row is not None:
                yield complete(row, max_payload_bytes)
    except DamagedError as damage:
        yield _refused(name, damage.offset, why.BAD_RECORD, str(damage))


def _fetched(name: str, line: Line, line_bytes: int) -> Fetched | None:
    """A line as a record; None where it is blank."""
    data = line.data
    if data is None:
        return _refused(name, line.offset, why.TOO_LARGE, f"a line over {line_bytes} bytes")
    if line.offset == 0:
        data = data.removeprefix(BOM)
    if not data or data.isspace():
        return None
    try:
        row = _DECODER.decode(data)
    except (ValueError, RecursionError):
        try:
            row = _by_the_library(data)
        except (ValueError, RecursionError) as failed:
            return _refused(name, line.offset, why.BAD_ROW, str(failed))
    return _record(name, line.offset, row)


def _refused(name: str, offset: int, reason: str, detail: str) -> Fetched:
    return Fetched(f"{name}#{offset}", offset, None, reason=reason, detail=detail)


def _by_the_library(data: bytes) -> _Row:
    values = _clean(json.loads(data.decode(UTF8)))
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, got {type(values).__name__}")
    row = _Row(**{key: values[key] for key in _Row.__struct_fields__ if key in values})
    for nest in NESTS:
        inner = getattr(row, nest)
        if isinstance(inner, dict):
            known = {key: inner[key] for key in _Origin.__struct_fields__ if key in inner}
            setattr(row, nest, _Origin(**_clean(known)))
    return row


def _clean(values: Any) -> Any:
    """An object with its strings free of lone surrogates, which no encoding can write."""
    if not isinstance(values, dict):
        return values
    return {
        key: value.encode(UTF8, "replace").decode(UTF8) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _record(name: str, offset: int, row: _Row) -> Fetched:
    url = _string(row, "url") or f"{name}#{offset}"
    for column in TEXT_COLUMNS:
        text = getattr(row, column)
        if isinstance(text, str):
            title, terms = _string(row, "title"), _string(row, "license") or _string(row, "licence")
            return Fetched(url, offset, text.encode(UTF8), why.PLAIN, UTF8, title, license=terms)
        if text is not ABSENT:
            return Fetched(url, offset, None, reason=why.BAD_ROW, detail=f"{column} is {type(text).__name__}")
    return Fetched(url, offset, None, reason=why.BAD_ROW, detail=f"none of {', '.join(TEXT_COLUMNS)}")


def _string(row: _Row, key: str) -> str | None:
    """The first string that is not empty, of the row or of what is nested in it."""
    value = getattr(row, key)
    if isinstance(value, str) and value:
        return value
    for place in (row.metadata, row.meta):
        if isinstance(place, _Origin):
            value = getattr(place, key)
            if isinstance(value, str) and value:
                return value
    return None
