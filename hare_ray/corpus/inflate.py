"""Members of gzip, and frames of zstd and lz4: where they open and end, and what is in them, piece by piece.

The end of a zstd or lz4 frame is read off its block headers without inflating anything; a gzip member ends where
inflating it ends. Pieces have a bounded size whatever the ratio. The same member always yields the same pieces:
the stored position of a piece may stand for the place of a record (`hare_ray.corpus.archive`).

A zstd file may open with its dictionary in a skippable frame (IIPC's proposal for WARC); skippable frames hold
nothing else that is a record.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, cast

import pyarrow as pa
import zstandard
from isal import isal_zlib

from hare_ray.corpus.window import Window

GZIP, ZSTD, LZ4, PLAIN = "gzip", "zstd", "lz4", ""
MAGIC = {GZIP: b"\x1f\x8b\x08", ZSTD: b"\x28\xb5\x2f\xfd", LZ4: b"\x04\x22\x4d\x18"}
WBITS_GZIP = 31
GZIP_RESERVED_FLAGS = 0xE0
BLOCK_BYTES = 1 << 16
"""Stored bytes that are fed at a time."""
OPENING_STORED_BYTES = 1 << 10
"""Enough, as a rule, to see how a member opens."""
FIRST_BYTES = 1 << 14
"""Fed first: most records are small, and what lies behind a member is copied."""
STEP_BYTES = 64
PIECE_BYTES = 1 << 20
"""Inflated bytes that are handed out at a time."""
WINDOW_BYTES = 1 << 27
"""zstd frames that ask for more memory are refused; the format's own recommended limit is 8 MiB."""
DICTIONARY_BYTES = 1 << 24
SKIPPABLE = b"\x2a\x4d\x18"
DICTIONARY = b"\x5d" + SKIPPABLE
LAST_BLOCK, RLE_BLOCK, RESERVED_BLOCK = 1, 1, 3
UNCOMPRESSED = 1 << 31

Piece = tuple[int, bytes]
"""Stored position where the piece was asked for, and the bytes."""


class DamagedError(OSError):
    """Stored bytes that cannot be inflated."""


class CutError(DamagedError):
    """A member that the file ends in."""


def codec_of(head: bytes) -> str:
    """The codec whose magic number the bytes begin with."""
    return next((codec for codec, magic in MAGIC.items() if head.startswith(magic)), PLAIN)


def skippable(window: Window, position: int) -> int | None:
    """The end of the skippable frame at `position`, if there is one."""
    head = window.get(position, 8)
    if len(head) < 8 or head[1:4] != SKIPPABLE or head[0] >> 4 != 5:
        return None
    return position + 8 + int.from_bytes(head[4:], "little")


def dictionary(window: Window) -> zstandard.ZstdCompressionDict | None:
    """The dictionary that opens a zstd file."""
    if window.get(0, 4) != DICTIONARY:
        return None
    data = window.get(8, min(int.from_bytes(window.get(4, 4), "little"), DICTIONARY_BYTES))
    if data.startswith(MAGIC[ZSTD]):
        with suppress(zstandard.ZstdError):
            data = zstandard.ZstdDecompressor().stream_reader(data).read(DICTIONARY_BYTES)
    return zstandard.ZstdCompressionDict(data)


def frame_end(window: Window, codec: str, position: int) -> int | None:
    """Where the zstd or lz4 frame at `position` ends; None where the file ends or a block header makes no sense."""
    head = window.get(position, 32)
    if len(head) < 7:
        return None
    at = _zstd_blocks(head) if codec == ZSTD else _lz4_blocks(head)
    checksum = (head[4] >> 2) & 1
    at += position
    while True:
        block = window.get(at, 3 if codec == ZSTD else 4)
        number = int.from_bytes(block, "little")
        if codec == ZSTD:
            kind = (number >> 1) & 3
            last = number & LAST_BLOCK
            if len(block) < 3 or kind == RESERVED_BLOCK or (number >> 3 == 0 and not last):
                return None
            at += 3 + (1 if kind == RLE_BLOCK else number >> 3)
        else:
            if len(block) < 4:
                return None
            last = number == 0
            at += 4 + (0 if last else (number & ~UNCOMPRESSED) + 4 * ((head[4] >> 4) & 1))
        if last:
            at += 4 * checksum
            return at if at <= window.size else None


def _zstd_blocks(head: bytes) -> int:
    descriptor = head[4]
    single = (descriptor >> 5) & 1
    content = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    return 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + content


def _lz4_blocks(head: bytes) -> int:
    return 7 + 8 * ((head[4] >> 3) & 1) + 4 * (head[4] & 1)


class Inflater:
    """Inflates the members of one file."""

    def __init__(self, window: Window, codec: str) -> None:
        self.window = window
        self.codec = codec
        self.ends_at: int | None = None
        """End of the member whose pieces were all taken."""
        self._zstd = zstandard.ZstdDecompressor(
            dict_data=dictionary(window) if codec == ZSTD else None, max_window_size=WINDOW_BYTES
        )

    def begins(self, position: int) -> bool:
        """Whether the magic number stands at `position`."""
        return self.window.get(position, 4).startswith(MAGIC[self.codec])

    def opening(self, position: int, count: int) -> bytes:
        """The first bytes of what may be a member; none where it is no member."""
        if self.codec == GZIP:
            head = self.window.get(position, OPENING_STORED_BYTES)
            if len(head) < 4 or head[3] & GZIP_RESERVED_FLAGS:
                return b""
            with suppress(isal_zlib.error):
                found = isal_zlib.decompressobj(WBITS_GZIP).decompress(head, count)
                if len(found) == count:
                    return found
                return isal_zlib.decompressobj(WBITS_GZIP).decompress(self.window.get(position, FIRST_BYTES), count)
            return b""
        found = b""
        with suppress(OSError, zstandard.ZstdError):  # what follows a short frame is read with it, and may be anything
            reader = self._reader(_Feed(self.window, position, self.window.size))
            while len(found) < count and (piece := reader.read(STEP_BYTES)):
                found += piece
        return found[:count]

    def pieces(self, position: int) -> Iterator[Piece]:
        """What the member at `position` holds; raises DamagedError."""
        self.ends_at = None
        return self._gzip(position) if self.codec == GZIP else self._frame(position)

    def _gzip(self, position: int) -> Iterator[Piece]:
        member, at, count = isal_zlib.decompressobj(WBITS_GZIP), position, FIRST_BYTES
        while not member.eof:
            stored = self.window.get(at, count)
            if not stored:
                raise CutError("the file ends inside a gzip member")
            fed, pending = at, stored
            at, count = at + len(stored), BLOCK_BYTES
            while pending and not member.eof:
                try:
                    piece = member.decompress(pending, PIECE_BYTES)
                except isal_zlib.error as failed:
                    raise DamagedError(str(failed)) from failed
                pending = member.unconsumed_tail
                if piece:
                    yield fed, piece
        self.ends_at = at - len(member.unused_data)

    def _frame(self, position: int) -> Iterator[Piece]:
        end = frame_end(self.window, self.codec, position)
        feed = _Feed(self.window, position, self.window.size if end is None else end)
        try:
            reader = self._reader(feed)
            while True:
                fed = feed.position
                piece = reader.read(PIECE_BYTES)
                if not piece:
                    break
                yield fed, piece
        except (OSError, zstandard.ZstdError) as failed:
            error = CutError if end is None else DamagedError
            raise error(f"{self.codec}: {failed}") from failed
        if end is None:
            raise CutError(f"the file ends inside a {self.codec} frame")
        self.ends_at = end

    def _reader(self, feed: _Feed) -> Any:
        if self.codec == ZSTD:
            return self._zstd.stream_reader(cast(BinaryIO, feed), read_size=BLOCK_BYTES)
        return pa.CompressedInputStream(io.BufferedReader(feed, BLOCK_BYTES), "lz4")


class _Feed(io.RawIOBase):
    """The stored bytes [position, end) as a file."""

    def __init__(self, window: Window, position: int, end: int) -> None:
        super().__init__()
        self.window, self.position, self.end = window, position, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.window.get(self.position, min(len(buffer), BLOCK_BYTES, self.end - self.position))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)
