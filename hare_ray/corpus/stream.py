"""Uncompressed text at any position: of a plain file, or inflated piece by piece with only what is needed kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from hare_ray.corpus.inflate import CutError, DamagedError, Piece
from hare_ray.corpus.window import Window

BOMB_RATIO = 100
"""Inflated over stored. Web pages reach 20, a page of nothing but blanks 1,000."""
BOMB_BYTES = 1 << 24
"""Fewer inflated bytes are no bomb, whatever their ratio: they cost some hundredths of a second."""


class BombError(DamagedError):
    """A record of implausibly many inflated bytes."""


class Text(Protocol):
    """What records are read from."""

    error: DamagedError | None

    def peek(self, position: int, count: int) -> bytes:
        """Up to `count` bytes; fewer at the end. Nothing in front of the last mark can be asked for."""
        ...

    def reaches(self, position: int) -> bool:
        """Whether there are bytes up to `position`; what lies in front of it may be forgotten."""
        ...

    def mark(self, position: int) -> None:
        """A record begins here."""
        ...

    def stored(self, position: int) -> int:
        """Where in the stored bytes a byte comes from."""
        ...


class PlainText:
    """The bytes of a file that is not compressed."""

    error: DamagedError | None = None

    def __init__(self, window: Window) -> None:
        self.window = window

    def peek(self, position: int, count: int) -> bytes:
        """Up to `count` bytes."""
        return self.window.get(position, count)

    def reaches(self, position: int) -> bool:
        """Whether the file is that long."""
        return position <= self.window.size

    def mark(self, position: int) -> None:
        """Nothing to forget."""

    def stored(self, position: int) -> int:
        """The position itself."""
        return position


class Inflated:
    """The pieces of one or several members, one after another."""

    def __init__(self, pieces: Iterator[Piece], bomb_bytes: int) -> None:
        self.error: DamagedError | None = None
        self.bomb_bytes = max(bomb_bytes, BOMB_BYTES)
        self._pieces = pieces
        self._more = True
        self._base = 0
        self._data = b""
        self._places: list[tuple[int, int]] = []
        """Position and stored position of every piece that is kept."""
        self._marked = (0, 0)

    @property
    def base(self) -> int:
        """The first byte that is still known."""
        return self._base

    @property
    def place(self) -> int:
        """Where the last piece was asked for."""
        return self._places[-1][1] if self._places else 0

    @property
    def _total(self) -> int:
        return self._base + len(self._data)

    def _pull(self) -> bytes:
        """The next piece; nothing at the end or where it is damaged."""
        try:
            stored, piece = next(self._pieces)
        except StopIteration:
            self._more = False
            return b""
        except DamagedError as failed:
            self.error, self._more = failed, False
            return b""
        if not self._places:
            self._marked = (0, stored)
        self._places.append((self._total, stored))
        return piece

    def _check(self, total: int) -> None:
        begun, at = self._marked
        inflated, fed = total - begun, self._places[-1][1] - at
        if inflated > self.bomb_bytes and inflated > BOMB_RATIO * max(fed, 1 << 16):
            self.error = BombError(f"over {inflated >> 20} MiB out of {max(fed, 1 << 16) >> 10} KiB")
            self._more = False

    def peek(self, position: int, count: int) -> bytes:
        """Up to `count` bytes."""
        if position + count > self._total and self._more:
            # Only now, when a copy is made anyway, is what lies in front of the mark let go.
            blocks, total = [self._data[max(self._marked[0] - self._base, 0) :]], self._total
            self._base = total - len(blocks[0])
            while self._more and position + count > total:
                piece = self._pull()
                if piece:
                    self._places[-1] = (total, self._places[-1][1])
                    blocks.append(piece)
                    total += len(piece)
                    self._check(total)
            self._data = b"".join(blocks)
        at = position - self._base
        return self._data[at : at + count]

    def reaches(self, position: int) -> bool:
        """Whether that much can be inflated; pieces in front of it are forgotten."""
        while self._more and position > self._total:
            self._base, self._data = self._total, b""
            piece = self._pull()
            if piece:
                self._data = piece
                self._places = self._places[-1:]
                self._check(self._total)
        return position <= self._total

    def mark(self, position: int) -> None:
        """What lies in front may be forgotten, and the ratio counts from here."""
        while len(self._places) > 1 and self._places[1][0] <= position:
            self._places.pop(0)
        if self._places:
            self._marked = (position, self._places[0][1])

    def stored(self, position: int) -> int:
        """Where the piece that holds `position` was asked for."""
        return next(stored for at, stored in reversed(self._places) if at <= position)


def cut(error: DamagedError | None) -> bool:
    """Whether the file merely ends early."""
    return isinstance(error, CutError)
