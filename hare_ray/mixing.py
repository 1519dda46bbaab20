"""Well mixed numbers of documents, from their ids: for orders and draws that no cut of the rows can change.

    mixed      uint64 -> uint64, a bijection whose every output bit depends on every input bit (splitmix64's finisher)
    halves     binary(16) -> uint64[rows, 2]
    id_keys    ids, seed, further numbers -> uint64: one chain of `mixed` over all of them

Ids are hashes themselves, but an order by their bytes would be the same for every seed, and the least of a set of ids
(a cluster's) has leading zeros.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: what splitmix64 adds between two numbers, so that zeros do not stay zeros."""

_FINISHERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""The multipliers of splitmix64."""

Numbers = NDArray[np.uint64]


def mixed(values: Numbers) -> Numbers:
    """The finisher of splitmix64."""
    values = (values ^ (values >> np.uint64(30))) * _FINISHERS[0]
    values = (values ^ (values >> np.uint64(27))) * _FINISHERS[1]
    return values ^ (values >> np.uint64(31))


def halves(ids: pa.Array) -> Numbers:
    """The two 64-bit numbers, little-endian, of every 16-byte id; no id may be null."""
    if len(ids) == 0:
        return np.empty((0, 2), np.uint64)
    numbers = np.frombuffer(memoryview(ids.buffers()[1]), "<u8").reshape(-1, 2)
    return numbers[ids.offset : ids.offset + len(ids)].astype(np.uint64, copy=False)


def id_keys(ids: pa.Array, seed: int, *further: NDArray[np.int64]) -> Numbers:
    """A 64-bit hash of the seed, every id and its further numbers."""
    wide = halves(ids)
    key = mixed(np.full(len(ids), seed, np.uint64) + GOLDEN)
    for word in (wide[:, 0], wide[:, 1], *further):
        key = mixed((key ^ word.astype(np.uint64)) + GOLDEN)
    return key
