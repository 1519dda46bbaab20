"""Fetched pages out of the records of a WARC or WET file.

    record              becomes
    response            a page where the server answered 200 with HTML or plain text; HTTP framing undone
    resource            a page of the media type in its WARC header
    conversion          plain text (WET), UTF-8 by convention
    revisit             reason `revisit`
    anything else       nothing: requests, crawl information and metadata are no pages

Transfer-Encoding (chunked) and Content-Encoding (gzip, deflate, br, zstd) are undone up to
`max_payload_bytes`. Many crawlers store a body decoded and keep the header that says otherwise: a body that
cannot be decoded, but begins like markup, is taken as it is. The declared media type counts; where there is
none, the type the crawler identified, and then the first bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from fastwarc.stream_io import BrotliReader, ChunkedReader, ZstdReader
from fastwarc.warc import WarcRecord, WarcRecordType

from hare_ray.corpus import fetched as why
from hare_ray.corpus.archive import Record, records
from hare_ray.corpus.fetched import Fetched, complete

PAGES = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion | WarcRecordType.revisit
MEDIA = {why.HTML: why.HTML, "application/xhtml+xml": why.HTML, why.PLAIN: why.PLAIN}
REDIRECTS = (301, 302, 303, 307, 308)
OK = 200
MARKUP = re.compile(rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|title|!--|\?xml)")
CHARSET = re.compile(r"(?i)charset\s*=\s*[\"']?\s*([\w.:+-]+)")
WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15, "raw deflate": -15}


class UndecodableError(ValueError):
    """A record that is not what its headers say."""


def pages(file: BinaryIO, name: str, start: int, end: int, max_payload_bytes: int) -> Iterator[Fetched]:
    """Every page that begins in [start, end), and every broken record."""
    for record in records(file, start, end):
        if record.warc is None:
            yield _broken(f"{name}#{record.offset}", record.offset, record.error)
        elif record.warc.record_type & PAGES:
            yield complete(_page(record, record.warc, name, max_payload_bytes), max_payload_bytes)


def offsets(file: BinaryIO, start: int, end: int) -> list[int]:
    """Where pages and broken records begin."""
    found = records(file, start, end)
    return [record.offset for record in found if record.warc is None or record.warc.record_type & PAGES]


def _broken(url: str, offset: int, error: str) -> Fetched:
    return Fetched(url, offset, None, reason=why.BAD_RECORD, detail=error)


def _text(value: bytes | None) -> str | None:
    """A header value; bytes that are not UTF-8 are rare, and not worth a record."""
    return None if value is None else value.decode("utf-8", "replace").strip()


def _page(record: Record, warc: WarcRecord, name: str, max_payload_bytes: int) -> Fetched:
    offset = record.offset
    url = (_text(warc.headers.get_bytes(b"WARC-Target-URI")) or "").strip("<>") or f"{name}#{offset}"
    if warc.record_type == WarcRecordType.revisit:
        return Fetched(url, offset, None, reason=why.REVISIT)
    try:
        if warc.is_http:
            return _answer(warc, url, offset, max_payload_bytes)
        declared = _text(warc.headers.get_bytes(b"Content-Type")) or ""
        converted = warc.record_type == WarcRecordType.conversion
        return _body(warc, Fetched(url, offset, None), declared or (why.PLAIN if converted else ""), max_payload_bytes)
    except (UndecodableError, OSError, zlib.error) as failed:
        return _broken(url, offset, str(failed))


def _answer(warc: WarcRecord, url: str, offset: int, max_payload_bytes: int) -> Fetched:
    """A page, or why it is none, of an HTTP response."""
    warc.parse_http(quirks_mode=True)  # header lines that end in LF alone, as in ClueWeb09
    status = warc.http_headers.status_code
    if status is None:
        raise UndecodableError("no HTTP status line")
    if status in REDIRECTS:
        target = _text(warc.http_headers.get_bytes(b"Location"))
        return Fetched(url, offset, None, reason=why.REDIRECT, detail=target)
    if status != OK:
        return Fetched(url, offset, None, reason=why.NOT_200, detail=str(status))
    declared = _text(warc.http_headers.get_bytes(b"Content-Type")) or ""
    return _body(warc, Fetched(url, offset, None), declared, max_payload_bytes)


def _body(warc: WarcRecord, empty: Fetched, declared: str, max_payload_bytes: int) -> Fetched:
    """`empty` with payload, media type and charset."""
    declared = declared or _text(warc.headers.get_bytes(b"WARC-Identified-Payload-Type")) or ""
    kind = declared.partition(";")[0].strip().lower()
    if kind and kind not in MEDIA:
        return empty._replace(reason=why.NOT_HTML, detail=kind)
    if warc.content_length > max_payload_bytes:
        return empty._replace(reason=why.TOO_LARGE, detail=f"over {max_payload_bytes} bytes")
    stored = warc.reader.read(warc.content_length) if warc.content_length else b""
    if len(stored) < warc.content_length:
        raise UndecodableError(f"{len(stored)} of {warc.content_length} bytes")
    payload = _decoded(warc, stored, max_payload_bytes) if warc.is_http else stored
    if not kind:
        if not MARKUP.match(payload):
            return empty._replace(reason=why.NOT_HTML, detail="no media type")
        kind = why.HTML
    charset = CHARSET.search(declared)
    utf8 = warc.record_type == WarcRecordType.conversion
    return empty._replace(
        payload=payload,
        media=MEDIA[kind],
        charset=charset[1].lower() if charset else "utf-8" if utf8 else None,
    )


def _decoded(warc: WarcRecord, payload: bytes, max_payload_bytes: int) -> bytes:
    """The body with its encodings undone, the last one first; at most one byte more than allowed."""
    headers = warc.http_headers
    for header in (b"Transfer-Encoding", b"Content-Encoding"):
        listed = _text(headers.get_bytes(header)) or ""
        for coding in reversed([item.strip().lower() for item in listed.split(",")]):
            try:
                payload = _undo(coding, payload, max_payload_bytes + 1)
            except (OSError, zlib.error) as failed:
                if not MARKUP.match(payload):
                    raise UndecodableError(f"{coding}: {failed}") from failed
    return payload


def _undo(coding: str, payload: bytes, limit: int) -> bytes:
    if coding in ("", "identity") or not payload:
        return payload
    if coding == "chunked":
        return ChunkedReader(BytesIO(payload)).read(limit)
    if coding == "br":
        return BrotliReader(BytesIO(payload)).read(limit)
    if coding == "zstd":
        return ZstdReader(BytesIO(payload)).read(limit)
    if coding not in WBITS:
        raise UndecodableError(f"Content-Encoding {coding!r} is unknown")
    try:
        return zlib.decompressobj(WBITS[coding]).decompress(payload, limit)
    except zlib.error:
        if coding != "deflate":
            raise
        return zlib.decompressobj(WBITS["raw deflate"]).decompress(payload, limit)
