"""The records of a WARC or WET file, with their byte offsets, past whatever is broken in between.

FastWARC parses; what it leaves open is added here:

* it ends silently where a file is cut inside a header, and for good at the first byte it cannot parse. So
  after each end the length of the last record is measured. Anything but white space after it is one broken
  record, and reading goes on at the next member that opens like a WARC record (gzip and plain files; lz4
  and zstd end there);
* a split [start, end) holds the records that begin in it.

`offset` is where the compressed member of a record begins. A file compressed as one whole, against the WARC
standard, is read too, but its offsets lead nowhere and it cannot be split.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from fastwarc.warc import ArchiveIterator, WarcRecord

GZIP = b"\x1f\x8b\x08"
PLAIN = b"WARC/"
WBITS_GZIP = 31
BLOCK_BYTES = 1 << 16
MEMBER_BLOCK_BYTES = 1 << 20
"""Inflated at a time while a member is only measured."""
UNKNOWN = -1
"""The end of a record inside lz4 or zstd: not known."""


class Record(NamedTuple):
    """A record, or what is wrong at that offset."""

    offset: int
    warc: WarcRecord | None
    error: str = ""


def records(file: BinaryIO, start: int, end: int) -> Iterator[Record]:
    """All records, of any type, that begin in [start, end); end -1: to the end of the file.

    A record is valid until the next one is asked for.
    """
    size = file.seek(0, 2)
    end = size if end < 0 else min(end, size)
    begin: int | None = start
    while begin is not None and begin < end:
        last, error = None, ""
        file.seek(begin)
        try:
            for warc in ArchiveIterator(file, parse_http=False):
                if end < size and warc.stream_pos >= end:
                    return
                last = warc.stream_pos
                whole = (warc.headers.get_bytes(b"Content-Length") or b"").strip().isdigit()
                yield Record(last, warc) if whole else Record(last, None, "no valid Content-Length")
        except OSError as failed:
            error = str(failed)
        stop = begin if last is None else _after(file, last)
        if stop == UNKNOWN:
            stop = last + 1 if last is not None and error else end
        if stop is not None:
            stop = _first_byte(file, stop, end)
            if stop is None:
                return
            yield Record(stop, None, error or "incomplete record at the end of the file")
        begin = _next_opening(file, (stop or last or begin) + 1, end)


def _first_byte(file: BinaryIO, position: int, end: int) -> int | None:
    """The first byte in [position, end) that is neither white space nor zero padding."""
    while position < end:
        file.seek(position)
        block = file.read(min(BLOCK_BYTES, end - position))
        filled = block.lstrip(b"\r\n\t \0")
        if filled:
            return position + len(block) - len(filled)
        position += len(block) or end
    return None


def _after(file: BinaryIO, position: int) -> int | None:
    """Where the record at `position` ends; None where it is itself broken."""
    file.seek(position)
    head = file.read(BLOCK_BYTES)
    file.seek(position)
    if head.startswith(GZIP):
        return _after_member(file, position)
    if not head.startswith(PLAIN):
        return UNKNOWN
    opening, found, _ = head.partition(b"\r\n\r\n" if b"\r\n\r\n" in head else b"\n\n")
    for line in opening.splitlines():
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            stop = position + len(opening) + len(found) + int(value)
            return stop if stop <= file.seek(0, 2) else None
    return None


def _after_member(file: BinaryIO, position: int) -> int | None:
    member = zlib.decompressobj(WBITS_GZIP)
    read = position
    with suppress(zlib.error):
        while block := file.read(BLOCK_BYTES):
            read += len(block)
            pending = block
            while pending:
                member.decompress(pending, MEMBER_BLOCK_BYTES)
                pending = member.unconsumed_tail
            if member.eof:
                return read - len(member.unused_data)
    return None


def _next_opening(file: BinaryIO, position: int, end: int) -> int | None:
    """The next offset in [position, end) where a record opens, plain or as a gzip member."""
    overlap = len(PLAIN)
    while position < end:
        file.seek(position)
        block = file.read(BLOCK_BYTES)
        for found in _candidates(block):
            if position + found < end and _opens(file, position + found):
                return position + found
        if len(block) <= overlap:
            return None
        position += len(block) - overlap
    return None


def _candidates(block: bytes) -> list[int]:
    found = []
    for mark, skip in ((GZIP, 0), (b"\n" + PLAIN, 1)):
        at = block.find(mark)
        while at >= 0:
            found.append(at + skip)
            at = block.find(mark, at + 1)
    return sorted(found)


def _opens(file: BinaryIO, position: int) -> bool:
    """Whether a WARC record opens at `position`: three bytes of gzip magic also turn up by chance."""
    file.seek(position)
    head = file.read(BLOCK_BYTES)
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(WBITS_GZIP).decompress(head, BLOCK_BYTES)
        except zlib.error:
            return False
    return head.startswith(PLAIN)
