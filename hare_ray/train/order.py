"""Which sequence is sample i of a run, as arithmetic.

    i -> source, epoch, row        a pure function of (seed, i)

A run sees `counts[s]` sequences of source s, which has `rows[s]` of them. All sum(counts) visits are numbered: those of
source 0 first, within a source epoch by epoch. A seeded bijection gives sample i its visit, so the sources are mixed
evenly over the run; a second one, seeded by source and epoch, gives the visit its row, so every epoch has an order of
its own and each row is seen floor or ceil of counts / rows times.

Bijection of [0, n): a Feistel network on the bits of n - 1, walked on until it falls below n (at most 2 steps on
average). No list of indices is kept, as shuffling would need (4 GB for the sequences of 1 T tokens): resuming is one
integer, every worker computes the part it needs, and all see one order, however many they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
"""Four make a pseudo-random permutation of a large range (Luby and Rackoff, 1988); small ranges want more."""

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 / golden ratio."""

STRETCH = 1 << 20
"""Samples looked at together where all are."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""The multipliers of splitmix64."""

_MASK = 2**64 - 1

Uint64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]


def mixed(values: Uint64s) -> Uint64s:
    """The finisher of splitmix64."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def shuffled(values: Int64s, count: int, keys: Uint64s) -> Int64s:
    """Values of [0, count) under the bijection of each one's key; `keys` are one per value, or one for all."""
    bits = max(2, (count - 1).bit_length())
    out = _feistel(values.astype(np.uint64), bits, keys)
    limit = np.uint64(count)
    outside = np.flatnonzero(out >= limit)
    keys = np.broadcast_to(keys, out.shape)
    while len(outside):
        out[outside] = _feistel(out[outside], bits, keys[outside])
        outside = outside[out[outside] >= limit]
    return out.astype(np.int64)


def _feistel(values: Uint64s, bits: int, keys: Uint64s) -> Uint64s:
    """A bijection of [0, 2^bits): each half in turn is changed by a hash of the other."""
    low_bits, high_bits = np.uint64((bits + 1) // 2), np.uint64(bits // 2)
    low, high = values & ((np.uint64(1) << low_bits) - np.uint64(1)), values >> low_bits
    for turn in range(ROUNDS):
        if turn % 2:
            low = low ^ (_hashed(high, keys, turn) >> (np.uint64(64) - low_bits))
        else:
            high = high ^ (_hashed(low, keys, turn) >> (np.uint64(64) - high_bits))
    return (high << low_bits) | low


def _hashed(half: Uint64s, keys: Uint64s, turn: int) -> Uint64s:
    """A hash whose upper bits are good."""
    values = ((half ^ np.uint64((turn + 1) * GOLDEN & _MASK)) + keys) * _FIRST
    return (values ^ (values >> np.uint64(32))) * _SECOND


@dataclass(frozen=True)
class Order:
    """The order of a run over several sources."""

    counts: tuple[int, ...]
    """Sequences the run sees of each source."""
    rows: tuple[int, ...]
    """Sequences each source has."""
    seed: int

    @classmethod
    def of_mixture(cls, mixture: dict[str, Any], seed: int) -> Order:
        """That of a training on what mixture.json says."""
        counts, rows = (tuple(source[name] for source in mixture["sources"]) for name in ("actual", "available"))
        return cls(counts, rows, seed)

    def __post_init__(self) -> None:
        """Refuse sources that cannot give what is asked of them."""
        impossible = [
            n for n, (count, rows) in enumerate(zip(self.counts, self.rows, strict=True)) if count > 0 == rows
        ]
        if impossible or min((*self.counts, *self.rows), default=0) < 0 or not 0 <= self.seed <= _MASK:
            raise ValueError(
                f"given counts={self.counts} of rows={self.rows} with seed={self.seed}, expected none below 0, "
                "no sequences of a source without rows, and a seed below 2^64; take the counts of mixture.json"
            )

    @property
    def total(self) -> int:
        """Samples of the run."""
        return sum(self.counts)

    @cached_property
    def _edges(self) -> Int64s:
        return np.cumsum((0, *self.counts), dtype=np.int64)

    def of(self, samples: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """Source, epoch and row of every sample."""
        if len(samples) and not 0 <= samples.min() <= samples.max() < self.total:
            raise ValueError(
                f"given samples {samples.min()} to {samples.max()}, expected 0 to {self.total - 1}; the run is over"
            )
        root = mixed(np.array([(self.seed + GOLDEN) & _MASK], np.uint64))
        visit = shuffled(samples, self.total, root)
        source = np.searchsorted(self._edges, visit, side="right") - 1
        epoch, row = np.empty_like(visit), np.empty_like(visit)
        for number in np.unique(source).tolist():
            chosen = np.flatnonzero(source == number)
            epoch[chosen], place = np.divmod(visit[chosen] - self._edges[number], self.rows[number])
            own = mixed(root ^ np.uint64((number + 1) * GOLDEN & _MASK))
            keys = mixed(own + epoch[chosen].astype(np.uint64) * np.uint64(GOLDEN))
            row[chosen] = shuffled(place, self.rows[number], keys)
        return source, epoch, row

    def walk(self) -> Iterator[tuple[Int64s, Int64s, Int64s]]:
        """Samples with their sources and rows, all of the run in their order, a stretch at a time."""
        for begin in range(0, self.total, STRETCH):
            samples = np.arange(begin, min(begin + STRETCH, self.total))
            source, _, row = self.of(samples)
            yield samples, source, row
