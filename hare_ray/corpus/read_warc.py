"""Fetched pages out of the records of a WARC, WET or ARC file.

    record              becomes
    response            a page where the server answered 200 with HTML or plain text; HTTP framing undone
    resource            a page of the media type in its header
    conversion          plain text (WET), UTF-8 by convention
    revisit             reason `revisit`
    anything else       nothing: requests, crawl information and metadata are no pages

Nothing is inflated beyond `max_payload_bytes`, neither an archive's member nor an HTTP body. The declared media type
counts; where there is none, the type the crawler identified, and then the first bytes. Of the server's fields,
`X-Robots-Tag` goes to `robots`, and a `Link` of relation `license` to `license`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from hare_ray.corpus import fetched as why
from hare_ray.corpus.answer import (
    MARKUP,
    InflatedError,
    UndecodableError,
    decoded,
    license_of,
    parse_answer,
)
from hare_ray.corpus.archive import Archive, Record
from hare_ray.corpus.fetched import Fetched, Wanted, complete
from hare_ray.corpus.grammar import CONVERSION, PAGES, REVISIT, Header, text

MEDIA = {why.HTML: why.HTML, "application/xhtml+xml": why.HTML, why.PLAIN: why.PLAIN}
REDIRECTS = (301, 302, 303, 307, 308)
OK = 200
CHARSET = re.compile(r"(?i)charset\s*=\s*(?:[\"']\s*)?([\w.:+-]+)")


Stretch = tuple[str, int, int]
"""Name of the file, start and end."""


def pages(file: BinaryIO, stretch: Stretch, max_payload_bytes: int, wanted: Wanted) -> Iterator[Fetched]:
    """Every page that begins in the stretch, and every broken record; of these, the wanted ones."""
    for record in wanted.of(_counted(file, stretch, max_payload_bytes)):
        yield complete(_page(record, stretch[0], max_payload_bytes), max_payload_bytes)


def count(file: BinaryIO, stretch: Stretch, max_payload_bytes: int) -> int:
    """How many pages and broken records begin in the stretch; no page is looked into."""
    return sum(1 for _ in _counted(file, stretch, max_payload_bytes))


def _counted(file: BinaryIO, stretch: Stretch, most: int) -> Iterator[Record]:
    name, start, end = stretch
    for record in Archive(file, name, start, end, most).records():
        if record.error or (record.header is not None and record.header.kind in PAGES):
            yield record


def _page(record: Record, name: str, max_payload_bytes: int) -> Fetched:
    header = record.header
    empty = Fetched((header.url if header else "") or f"{name}#{record.offset}", record.offset, None)
    if record.bomb:
        return empty._replace(reason=why.COMPRESSION_BOMB, detail=record.error)
    if record.error or header is None:
        return empty._replace(reason=why.BAD_RECORD, detail=record.error)
    if header.kind == REVISIT:
        return empty._replace(reason=why.REVISIT)
    try:
        if header.is_http:
            return _answered(record, header, empty, max_payload_bytes)
        declared = header.media or (why.PLAIN if header.kind == CONVERSION else "")
        return _body(header, empty, declared, record.block, header.length, max_payload_bytes)
    except InflatedError as long:
        reason = why.COMPRESSION_BOMB if long.bomb else why.TOO_LARGE
        said = f"over {max_payload_bytes} bytes"
        return empty._replace(reason=reason, detail=f"{said}, {long}" if long.bomb else said)
    except (UndecodableError, OSError, zlib.error) as failed:
        return empty._replace(reason=why.BAD_RECORD, detail=str(failed))


def _answered(record: Record, header: Header, empty: Fetched, max_payload_bytes: int) -> Fetched:
    """A page, or why it is none, of an HTTP response."""
    answer = parse_answer(record.block)
    if answer.status in REDIRECTS:
        return empty._replace(reason=why.REDIRECT, detail=text(answer.fields.get(b"location")) or None)
    if answer.status != OK:
        return empty._replace(reason=why.NOT_200, detail=str(answer.status))
    empty = empty._replace(license=license_of(answer), robots=text(answer.fields.get(b"x-robots-tag")) or None)
    declared = text(answer.fields.get(b"content-type"))
    stored, length = record.block[answer.begin :], header.length - answer.begin
    if _media(header, declared) in (*MEDIA, "") and length <= max_payload_bytes:
        stored = decoded(answer, stored, max_payload_bytes)
        length = len(stored)
    return _body(header, empty, declared, stored, length, max_payload_bytes)


def _media(header: Header, declared: str) -> str:
    return (declared or header.identified).partition(";")[0].strip().lower()


def _body(
    header: Header, empty: Fetched, declared: str, payload: bytes, length: int, max_payload_bytes: int
) -> Fetched:
    """`empty` with payload, media type and charset."""
    kind = _media(header, declared)
    if kind and kind not in MEDIA:
        return empty._replace(reason=why.NOT_HTML, detail=kind)
    if length > max_payload_bytes:
        return empty._replace(reason=why.TOO_LARGE, detail=f"over {max_payload_bytes} bytes")
    if not kind and not MARKUP.match(payload):
        return empty._replace(reason=why.NOT_HTML, detail="no media type")
    charset = CHARSET.search(declared or header.identified)
    return empty._replace(
        payload=payload,
        media=MEDIA[kind] if kind else why.HTML,
        charset=charset[1].lower() if charset else "utf-8" if header.kind == CONVERSION else None,
    )
