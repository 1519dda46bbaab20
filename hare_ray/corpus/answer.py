"""HTTP answers by the book: status, fields, and the body with its encodings undone.

    chunked                          RFC 9112, section 7.1
    gzip, x-gzip, deflate, br, zstd  RFC 9110, section 8.4; deflate with or without the zlib header
    several in a row                 undone from the last to the first; transfer encodings before content encodings

Every layer stops at the bytes a payload may have. Many crawlers store a body decoded and keep the header that says
otherwise: what cannot be decoded, but begins like markup or is text, is taken as it is.
"""

from __future__ import annotations

import re
import zlib
from io import BytesIO
from typing import NamedTuple

from fastwarc.stream_io import BrotliReader, ChunkedReader, ZstdReader

from hare_ray.corpus.grammar import HEADER_BYTES, fields, header_end, text
from hare_ray.corpus.inflate import GZIP, MAGIC
from hare_ray.corpus.stream import BOMB_RATIO

STATUS = re.compile(rb"\s*HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?!\d)")
MARKUP = re.compile(rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|title|!--|\?xml)")
TAG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<[A-Za-z!?]")
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text has, and one byte in ten of what is compressed."""
CHUNK = re.compile(rb"[0-9A-Fa-f]+[ \t]*(?:;[^\n]*)?(?:\r?\n|\Z)")
LOOKED_AT_BYTES = 512
"""Of a body, to tell text from compressed bytes."""
LICENSE = re.compile(r"<([^<>]*)>([^<]*)")
RELATION = re.compile(r"(?i);\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+))")
WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15, "raw deflate": -15}


class UndecodableError(ValueError):
    """A record that is not what its headers say."""


class InflatedError(ValueError):
    """More bytes than a payload may have; `ratio`: of those that came out to those that went in."""

    def __init__(self, ratio: float) -> None:
        super().__init__(f"{ratio:.0f} times its stored bytes")
        self.bomb = ratio > BOMB_RATIO


class Answer(NamedTuple):
    """Status, fields by lower-case name, and where the body begins."""

    status: int
    fields: dict[bytes, bytes]
    begin: int


def parse_answer(block: bytes) -> Answer:
    """The head of an HTTP answer; lines may end in LF alone, as in ClueWeb09."""
    found = STATUS.match(block)
    if found is None:
        raise UndecodableError("no HTTP status line")
    stop, begin = header_end(block[:HEADER_BYTES])
    if stop < 0:
        if len(block) >= HEADER_BYTES:
            raise UndecodableError(f"no end of the HTTP head in {HEADER_BYTES} bytes")
        stop = begin = len(block)
    return Answer(int(found[1]), fields(block[found.end() : stop]), begin)


def license_of(answer: Answer) -> str | None:
    """The target of the first `Link` of relation `license` (RFC 8288, RFC 4946)."""
    listed = text(answer.fields.get(b"link"))
    for target, parameters in LICENSE.findall(listed) if "license" in listed.lower() else ():
        relation = RELATION.search(parameters)
        if relation and "license" in (relation[1] or relation[2]).lower().split():
            return target.strip()
    return None


def decoded(answer: Answer, payload: bytes, max_bytes: int) -> bytes:
    """The body with its encodings undone, the last one first; raises InflatedError where it gets too long."""
    for name in (b"transfer-encoding", b"content-encoding"):
        if name not in answer.fields:
            continue
        for coding in reversed(text(answer.fields[name]).lower().split(",")):
            try:
                plain, fed = _undo(coding.strip(), payload, max_bytes + 1)
            except (OSError, zlib.error) as failed:
                if not _is_plain(coding.strip(), payload):
                    raise UndecodableError(f"{coding.strip()}: {failed}") from failed
                continue
            if len(plain) > max_bytes:
                raise InflatedError(len(plain) / max(fed, 1))
            payload = plain
    return payload


def _is_plain(coding: str, payload: bytes) -> bool:
    """Whether a body that cannot be decoded was stored decoded: markup, or text that opens with no chunk."""
    if TAG.match(payload):
        return True
    return not CONTROL.search(payload, 0, LOOKED_AT_BYTES) and not (coding == "chunked" and CHUNK.match(payload))


def _undo(coding: str, payload: bytes, most: int) -> tuple[bytes, int]:
    """At most `most` bytes of the body, and how many stored bytes they took."""
    if coding in ("", "identity") or not payload:
        return payload, len(payload)
    if coding in WBITS:
        return _inflated(coding, payload, most)
    readers = {"chunked": ChunkedReader, "br": BrotliReader, "zstd": ZstdReader}
    if coding not in readers:
        if TAG.match(payload):
            return payload, len(payload)
        raise UndecodableError(f"encoding {coding!r} is unknown")
    stored = BytesIO(payload)
    return readers[coding](stored).read(most), stored.tell()


def _inflated(coding: str, payload: bytes, most: int) -> tuple[bytes, int]:
    member = zlib.decompressobj(WBITS[coding])
    try:
        plain = member.decompress(payload, most)
    except zlib.error:
        if coding != "deflate":
            raise
        member = zlib.decompressobj(WBITS["raw deflate"])
        plain = member.decompress(payload, most)
    while member.eof and len(plain) < most and member.unused_data.startswith(MAGIC[GZIP]):  # members one after another
        rest, member = member.unused_data, zlib.decompressobj(WBITS["gzip"])
        plain += member.decompress(rest, most - len(plain))
    return plain, len(payload) - len(member.unconsumed_tail) - len(member.unused_data)
