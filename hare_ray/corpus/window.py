"""Random access to the stored bytes of a file, in reads worth a request.

A reader of archives looks a few bytes ahead and back; a file on an object store answers each look with a request.
`Window` keeps one block in memory and reads the next one ahead: large steps inside the stretch that was asked for,
small ones behind its end, so that a stretch costs about its own bytes.
"""

from __future__ import annotations

from typing import BinaryIO

AHEAD_BYTES = 4 << 20
"""Read at once inside a stretch: some hundred records, and few enough requests to an object store."""
BEYOND_BYTES = 1 << 16
"""Read at once behind the end of a stretch, where only the last record's tail is of interest."""
NEAR_BYTES = 1 << 20
"""What lies so close before a stretch is read with it."""
SCAN_BYTES = 1 << 18
PADDING = b"\r\n\t \0"


class Window:
    """The bytes of `file`, of which [start, end) are wanted."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.start = start
        self.end = self.size if end < 0 else min(end, self.size)
        self._base = 0
        self._data = b""
        self._ahead = BEYOND_BYTES

    def get(self, position: int, count: int) -> bytes:
        """Up to `count` bytes at `position`; fewer at the end of the file."""
        count = max(min(count, self.size - position), 0)
        at = position - self._base
        if at < 0 or at + count > len(self._data):
            self._load(position, count)
            at = position - self._base
        return self._data[at : at + count]

    def _load(self, position: int, count: int) -> None:
        behind = self._base + len(self._data)
        # Bytes that are here already are not read again.
        kept = self._data[position - self._base :] if self._base <= position <= behind else b""
        begin = position + len(kept)
        # Outside the stretch little is read ahead, and twice as much with every further step in one direction.
        self._ahead = min(2 * self._ahead, AHEAD_BYTES) if begin == behind else BEYOND_BYTES
        inside = self.start - NEAR_BYTES <= begin < self.end
        room = min(AHEAD_BYTES, max(self.end - begin, BEYOND_BYTES)) if inside else self._ahead
        self.file.seek(begin)
        blocks, missing = [kept], max(count - len(kept), min(room, self.size - begin))
        while missing > 0 and (block := self.file.read(missing)):
            blocks.append(block)
            missing -= len(block)
        self._base, self._data = position, b"".join(blocks)

    def first_byte(self, position: int) -> int | None:
        """The first byte from `position` on that is neither white space nor zero padding."""
        while position < self.size:
            block = self.get(position, 64)
            if not block.strip(PADDING):
                block = self.get(position, SCAN_BYTES)
            filled = block.lstrip(PADDING)
            if filled:
                return position + len(block) - len(filled)
            if not block:
                return None
            position += len(block)
        return None
