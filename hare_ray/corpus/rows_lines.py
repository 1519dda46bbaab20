"""Lines of a file, by stretches of stored bytes, never more of one than a limit.

A plain file is entered at the byte before `start`: a line begins after a newline. A compressed one cannot be entered.
It is fed to its decompressor from byte 0 in blocks of 64 KiB, and a line lies where the block lies that gave its first
byte; what lies before `start` is decompressed and thrown away. So n stretches of a compressed file cost n / 2 times
its decompression, at a hundred times the speed of what follows; recompress large files in pieces to spare that. Since
the blocks are always the same, each line is in one stretch whatever the cuts.

Decompression gives at most some MiB at a time, however far a block expands. A stream that is cut or corrupt gives what
precedes the damage, and raises `DamagedError`, which lies where the block lies that showed it.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import zstandard

from hare_ray.stretch import within

STORED_BLOCK_BYTES = 1 << 16
"""Part of the meaning of a stretch of a compressed file: another number moves lines between stretches."""
PLAIN_BLOCK_BYTES = 1 << 20
INFLATED_BYTES = 1 << 20
"""Decompressed at a time."""
ZSTD_SLICE_BYTES = 1 << 11
"""zstd has no such limit, but 4 bytes give at most 128 KiB: a slice gives at most 64 MiB."""
ZSTD_WINDOW_BYTES = 1 << 31
"""Collections packed with `--long=31` need it; it is taken only as far as a stream fills it."""
XZ_MEMORY_BYTES = 1 << 30
WBITS_GZIP = 31


class DamagedError(ValueError):
    """A stream that is cut or corrupt; `position` is that of the stored block which showed it."""

    def __init__(self, words: str, position: int, offset: int) -> None:
        super().__init__(words)
        self.position, self.offset = position, offset


class Chunk(NamedTuple):
    """Some bytes of the text."""

    offset: int
    """Of the first, in the uncompressed text."""
    block: int | None
    """Position of the stored block that gave them; None where they are stored as they are."""
    data: bytes


class Line(NamedTuple):
    """A line without its newline; `data` is None where it is over the limit."""

    offset: int
    data: bytes | None


def chunks(file: BinaryIO, name: str, start: int) -> Iterator[Chunk]:
    """The bytes of a file: a plain one from `start` on, a compressed one (by its name) from its beginning."""
    codec = _codec(name)
    if codec is None:
        file.seek(start)
        while data := file.read(PLAIN_BLOCK_BYTES):
            yield Chunk(start, None, data)
            start += len(data)
        return
    file.seek(0)
    stream, offset, block = _Stream(codec), 0, 0
    stored = file.read(STORED_BLOCK_BYTES)
    try:
        while stored:
            for data in filter(None, stream.feed(stored)):
                yield Chunk(offset, block, data)
                offset += len(data)
            following = file.read(STORED_BLOCK_BYTES)
            if not following and stream.member is not None:
                raise EOFError("the stream is cut")
            block, stored = block + len(stored), following
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, ValueError, OSError) as failed:
        if isinstance(failed, OSError) and failed.errno is not None:
            raise
        raise DamagedError(f"{type(failed).__name__}: {failed}", block, offset) from failed


class _Codec(NamedTuple):
    """How one member of a compressed file is decompressed."""

    member: Callable[[], Any]
    inflated: Callable[[Any, bytes], Iterator[bytes]]


class _Stream:
    """Compressed members one after the other."""

    def __init__(self, codec: _Codec) -> None:
        self.codec = codec
        self.member: Any = None
        self.after_one = False

    def feed(self, stored: bytes) -> Iterator[bytes]:
        """What more stored bytes give; some of it may be empty."""
        while stored:
            if self.member is None:
                # Tapes and some uploaders fill the last block with zeros.
                stored = stored.lstrip(b"\0") if self.after_one else stored
                if not stored:
                    return
                self.member = self.codec.member()
            yield from self.codec.inflated(self.member, stored)
            if not self.member.eof:
                return
            stored, self.member, self.after_one = self.member.unused_data, None, True


def _gzip(member: Any, stored: bytes) -> Iterator[bytes]:
    while stored and not member.eof:
        yield member.decompress(stored, INFLATED_BYTES)
        stored = member.unconsumed_tail


def _zstd(member: Any, stored: bytes) -> Iterator[bytes]:
    held, size = [], 0
    for at in range(0, len(stored), ZSTD_SLICE_BYTES):
        data = member.decompress(stored[at : at + ZSTD_SLICE_BYTES])
        if size + len(data) > INFLATED_BYTES:
            yield b"".join(held)
            yield from (data[begin : begin + INFLATED_BYTES] for begin in range(0, len(data), INFLATED_BYTES))
            held, size = [], 0
        else:
            held.append(data)
            size += len(data)
        if member.eof:
            member.after = stored[at + ZSTD_SLICE_BYTES :]
            break
    yield b"".join(held)


def _bounded(member: Any, stored: bytes) -> Iterator[bytes]:
    """Decompressors of the standard library that keep what they have not used yet."""
    while not member.eof:
        yield member.decompress(stored, INFLATED_BYTES)
        stored = b""
        if member.needs_input:
            return


class _ZstdMember:
    """A zstd frame, with what lies behind it."""

    def __init__(self) -> None:
        self.frame = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()
        self.after = b""

    @property
    def eof(self) -> bool:
        return self.frame.eof

    @property
    def unused_data(self) -> bytes:
        return self.frame.unused_data + self.after

    def decompress(self, stored: bytes) -> bytes:
        return self.frame.decompress(stored)


CODECS = {
    "gz": _Codec(lambda: zlib.decompressobj(WBITS_GZIP), _gzip),
    "zst": _Codec(_ZstdMember, _zstd),
    "bz2": _Codec(bz2.BZ2Decompressor, _bounded),
    "xz": _Codec(lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES), _bounded),
}


def _codec(name: str) -> _Codec | None:
    return CODECS.get(name.lower().rpartition(".")[2])


class Stretch(NamedTuple):
    """Stored bytes [start, end), and how long a line may be."""

    start: int
    end: int
    line_bytes: int

    def past(self, position: int) -> bool:
        """Whether a stored position lies behind the stretch."""
        return 0 <= self.end <= position


def lines(file: BinaryIO, name: str, stretch: Stretch) -> Iterator[Line]:
    """The lines that begin in the stretch. Raises `DamagedError` where the damage lies in it."""
    # The line that the byte before is in is not of the stretch.
    first = max(stretch.start - 1, 0)
    cut = _Cut(stretch, begun=first < stretch.start and _codec(name) is None)
    try:
        for chunk in chunks(file, name, first):
            position = chunk.offset if chunk.block is None else chunk.block
            if not cut.held_open and cut.begun and stretch.past(position):
                return
            if chunk.block is not None and chunk.block < stretch.start:
                cut.begun = not chunk.data.endswith(b"\n")
                continue
            yield from cut.feed(chunk)
            if cut.done:
                return
        yield from cut.rest()
    except DamagedError as damage:
        if within(damage.position, stretch.start, stretch.end):
            raise


class _Cut:
    """Cuts chunks into the lines of a stretch."""

    def __init__(self, stretch: Stretch, begun: bool) -> None:
        self.stretch = stretch
        self.begun = begun
        """Whether the next byte is in the middle of a line."""
        self.held_open = False
        """Whether that line is of the stretch and not over the limit."""
        self.done = False
        self.offset = self.held_bytes = 0
        self.held: list[bytes] = []

    def feed(self, chunk: Chunk) -> Iterator[Line]:
        """The lines that a chunk completes, or brings over the limit."""
        at, data = 0, chunk.data
        while at < len(data):
            if not self.begun:
                if self._inside(chunk):
                    stop = data.rfind(b"\n", at)
                    yield from self._whole(chunk.offset + at, data[at : max(stop, at)] if stop >= 0 else None)
                    at = max(stop + 1, at)
                if at == len(data) or not self._begin(chunk, at):
                    return
            found = data.find(b"\n", at)
            stop = len(data) if found < 0 else found
            if self.held_open:
                yield from self._hold(data[at:stop])
            if found < 0:
                return
            yield from self.rest()
            self.begun = False
            at = stop + 1

    def _inside(self, chunk: Chunk) -> bool:
        """Whether every line that begins in the chunk is of the stretch."""
        if chunk.block is not None:
            return chunk.block >= self.stretch.start and not self.stretch.past(chunk.block)
        return chunk.offset >= self.stretch.start and not self.stretch.past(chunk.offset + len(chunk.data) - 1)

    def _whole(self, offset: int, data: bytes | None) -> Iterator[Line]:
        """Lines that lie in one chunk: most do."""
        if data is None:
            return
        most = self.stretch.line_bytes
        for line in data.split(b"\n"):
            yield Line(offset, line if len(line) <= most else None)
            offset += len(line) + 1

    def _begin(self, chunk: Chunk, at: int) -> bool:
        """Begin a line; false where it lies behind the stretch."""
        self.offset = chunk.offset + at
        position = self.offset if chunk.block is None else chunk.block
        self.done = self.stretch.past(position)
        self.begun, self.held_open = True, position >= self.stretch.start
        return not self.done

    def _hold(self, data: bytes) -> Iterator[Line]:
        self.held_bytes += len(data)
        if self.held_bytes <= self.stretch.line_bytes:
            self.held.append(data)
            return
        self._drop()
        yield Line(self.offset, None)

    def rest(self) -> Iterator[Line]:
        """The line that is held."""
        if self.held_open:
            line = Line(self.offset, b"".join(self.held))
            self._drop()
            yield line

    def _drop(self) -> None:
        self.held_open, self.held_bytes, self.held = False, 0, []


def joined(parts: Iterable[Chunk], most_bytes: int) -> bytes:
    """The first `most_bytes` of the text."""
    held, size = [], 0
    for part in parts:
        held.append(part.data[: most_bytes - size])
        size += len(held[-1])
        if size >= most_bytes:
            break
    return b"".join(held)
