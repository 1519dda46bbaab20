"""How a record opens in the uncompressed text of a WARC (all versions) or ARC (1 and 2) file.

    WARC    `WARC/1.0`, named fields, an empty line, Content-Length bytes, two line ends
    ARC     one line: URL, IP address, date, media type, (version 2: four more fields,) length; length bytes,
            one line end

An opening is recognised by its form alone, so that what counts as one is the same wherever reading begins.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEADER_BYTES = 1 << 16
"""Longer headers are broken ones."""
OPENING_BYTES = 1 << 12
"""Enough to tell an opening: an ARC line holds a URL."""
LENGTH_DIGITS = 15
UNENDED = "no end of the header"
"""What is wrong with a header that more bytes could mend."""

RESPONSE, RESOURCE, CONVERSION, REVISIT = "response", "resource", "conversion", "revisit"
OTHER = "other"
PAGES = frozenset((RESPONSE, RESOURCE, CONVERSION, REVISIT))


class Header(NamedTuple):
    """What a record says of itself. `bytes`: of the header; `length`: of the block behind it."""

    kind: str
    url: str
    media: str
    identified: str
    is_http: bool
    bytes: int
    length: int


class Grammar(NamedTuple):
    """One of the two formats."""

    name: str
    opening: re.Pattern[bytes]
    """Matches where a record begins."""
    found: re.Pattern[bytes]
    """Finds openings in a block of bytes; matches of no length."""
    ends: tuple[bytes, ...]
    """What stands behind a block."""
    opening_bytes: int
    """Enough to tell an opening."""


_WARC = rb"WARC/[01]\.\d{1,2}[ \t]{0,8}\r?\n"
_NEXT_WARC = re.compile(rb"\n" + _WARC)
_ARC = rb"[A-Za-z][A-Za-z0-9+.\-]{1,30}:[^\r\n]{0,3000} [0-9A-Fa-f.:]{2,45} \d{8,17} [^\r\n]{0,300}\d\r?\n"
WARC = Grammar("WARC", re.compile(_WARC), re.compile(rb"(?=" + _WARC + rb")"), (b"\r\n\r\n", b"\n\n"), 64)
ARC = Grammar("ARC", re.compile(_ARC), re.compile(rb"(?<=\n)(?=" + _ARC + rb")"), (b"\n", b"\r\n"), OPENING_BYTES)
GRAMMARS = (WARC, ARC)


def text(value: bytes | None) -> str:
    """A header value; bytes that are not UTF-8 are rare, and not worth a record."""
    return "" if value is None else value.decode("utf-8", "replace").strip()


def header_end(data: bytes) -> tuple[int, int]:
    """Where the fields end and where what follows begins; (-1, -1) where there is no empty line."""
    found = data.find(b"\r\n\r\n")
    bare = data.find(b"\n\n", 0, found + 2 if found >= 0 else len(data))
    if bare >= 0:
        return bare, bare + 2
    return (found, found + 4) if found >= 0 else (-1, -1)


def fields(data: bytes) -> dict[bytes, bytes]:
    """Fields by lower-case name; repeated ones are joined by a comma, folded ones by a blank."""
    found: dict[bytes, list[bytes]] = {}
    last = b""
    for line in data.splitlines():
        if line[:1] in (b" ", b"\t"):
            if last:
                found[last] += b" ", line.strip()
            continue
        name, colon, value = line.partition(b":")
        if colon:
            last = name.strip().lower()
            pieces = found.setdefault(last, [])
            pieces += (b", ", value.strip()) if pieces else (value.strip(),)
    return {name: b"".join(pieces) for name, pieces in found.items()}


def parse(grammar: Grammar, data: bytes) -> Header | str:
    """The header at the beginning of `data`, or what is wrong with it."""
    return _warc(data) if grammar is WARC else _arc(data)


def _length(value: bytes) -> int | None:
    value = value.partition(b",")[0].strip()
    return int(value) if value.isdigit() and len(value) <= LENGTH_DIGITS else None


def _warc(data: bytes) -> Header | str:
    stop, begin = header_end(data)
    if _NEXT_WARC.search(data, 0, begin if stop >= 0 else len(data)):
        return "another record opens inside the header"
    if stop < 0:
        return UNENDED
    named = fields(data[:stop])
    length = _length(named.get(b"content-length", b""))
    if length is None:
        return "no valid Content-Length"
    kind = text(named.get(b"warc-type")).lower()
    media = text(named.get(b"content-type"))
    is_http = media.lower().startswith("application/http")
    url = text(named.get(b"warc-target-uri")).strip("<>")
    identified = text(named.get(b"warc-identified-payload-type"))
    return Header(kind if kind in PAGES else OTHER, url, media, identified, is_http, begin, length)


def _arc(data: bytes) -> Header | str:
    line, found, _ = data.partition(b"\n")
    words = line.strip().split(b" ")
    # URLs with blanks are found in real crawls, so the fields are counted from the end where they are few.
    length = _length(words[-1])
    if not found or length is None:
        return "no valid length in the record's line"
    dates = [at for at, word in enumerate(words) if at >= 2 and word.isdigit() and 8 <= len(word) <= 17]
    date = next((at for at in dates if at < len(words) - 1), 2)
    url, media = text(b" ".join(words[: date - 1])), text(b" ".join(words[date + 1 : date + 2]))
    if url.startswith("filedesc:"):
        return Header(OTHER, url, media, "", False, len(line) + 1, length)
    is_http = url[:5].lower() in ("http:", "https")
    return Header(RESPONSE if is_http else RESOURCE, url, media, media, is_http, len(line) + 1, length)
