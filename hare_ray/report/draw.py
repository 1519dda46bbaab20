"""Rows drawn at random without keeping more than are wanted: those whose ids have the smallest salted hashes.

An id is itself a hash, and stages draw by it too (seeds are the documents with the smallest ones of a topic), so the
smallest ids are no fair sample of what such a stage let through. Mixed with a salt of the page's own they are one, and
the same run gives the same sample however its rows lie in parts.

Of a table with many parts some are read, evenly spread: whole texts are only ever read of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SHOWN = 10
"""Rows drawn of each label."""

PARTS_READ = 16
"""Parts of a table that samples are drawn from: 1 GiB of text where a part has 64 MiB."""

SALT = np.uint64(0x9E3779B97F4A7C15)
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Multipliers of the splitmix64 finaliser (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators)."""


@dataclass(frozen=True, order=True)
class Drawn:
    """A row, in order of its hash."""

    hash: int
    part: int
    row: int


@dataclass
class Draw:
    """The rows with the smallest hashes of every label, of all that were added."""

    rows: dict[tuple[int, str], list[Drawn]] = field(default_factory=dict)

    def add(
        self,
        ids: NDArray[np.uint64],
        labels: tuple[NDArray[np.int64], list[tuple[int, str]]],
        part: int,
        places: NDArray[np.integer],
    ) -> None:
        """Rows of one part, with the number of each one's label, what the numbers stand for, and each one's row."""
        numbers, names = labels
        hashes = salted(ids)
        limits = np.array([self._limit(name) for name in names], np.uint64)
        some = np.flatnonzero(hashes <= limits[numbers]) if len(names) else np.zeros(0, np.int64)
        order = some[np.lexsort((hashes[some], numbers[some]))]
        first = np.searchsorted(numbers[order], numbers[order], side="left")
        for at in order[np.arange(len(order)) - first < SHOWN].tolist():
            mine = self.rows.setdefault(names[numbers[at]], [])
            mine.append(Drawn(int(hashes[at]), part, int(places[at])))
        for mine in self.rows.values():
            mine[:] = sorted(mine)[:SHOWN]

    def _limit(self, name: tuple[int, str]) -> int:
        """The largest hash that could still be drawn."""
        mine = self.rows.get(name, ())
        return mine[-1].hash if len(mine) == SHOWN else int(np.iinfo(np.uint64).max)


def salted(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of every id: both halves and the salt, mixed."""
    found = ids[:, 0] ^ SALT
    for factor, shift in zip(MIX, (np.uint64(30), np.uint64(27)), strict=True):
        found = (found ^ (found >> shift)) * factor
    found = found ^ ids[:, 1]
    for factor, shift in zip(MIX, (np.uint64(31), np.uint64(29)), strict=True):
        found = (found ^ (found >> shift)) * factor
    return found ^ (found >> np.uint64(32))


def words_of(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Ids of 16 bytes as two numbers each."""
    whole = ids.cast(pa.binary(16)).combine_chunks()
    data = whole.buffers()[1]
    numbers = np.frombuffer(data, np.uint64) if data is not None and len(whole) else np.zeros(0, np.uint64)
    return numbers[2 * whole.offset : 2 * (whole.offset + len(whole))].reshape(-1, 2)


def spread(parts: int) -> frozenset[int]:
    """The parts that samples are drawn from."""
    if parts <= PARTS_READ:
        return frozenset(range(parts))
    return frozenset((2 * number + 1) * parts // (2 * PARTS_READ) for number in range(PARTS_READ))
