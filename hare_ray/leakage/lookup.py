"""Membership of many 64-bit hashes in a fixed set, a few nanoseconds each.

Almost no n-gram of a corpus is in a benchmark, so the common answer is no and must be cheap: a blocked Bloom
filter of 32 bits per key. The upper bits of a hash choose a 64-bit word, two groups of its lowest bits
choose two bits in it, so one load says no for 99 of 100 strangers; the rest goes through a binary search of
the sorted keys, which is exact. The filter is asked for a block of hashes at a time, without a branch, so
that its loads overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

BITS_PER_KEY = 32
"""At least; four million keys (19 benchmarks) take 16 MiB."""

BLOCK_HASHES = 1024
"""Hashes asked for at a time."""

_S6 = np.uint64(6)
_LOW = np.uint64(63)
_ONE = np.uint64(1)


@njit(cache=True, nogil=True)
def _bits(key: np.uint64) -> np.uint64:
    """The two bits (or one) of a key in its word."""
    return (_ONE << (key & _LOW)) | (_ONE << ((key >> _S6) & _LOW))


@njit(cache=True, nogil=True)
def _mark(keys: NDArray[np.uint64], shift: np.uint64, words: NDArray[np.uint64]) -> None:
    for key in keys:
        words[key >> shift] |= _bits(key)


@njit(cache=True, nogil=True)
def _holds(keys: NDArray[np.uint64], key: np.uint64) -> bool:
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < len(keys) and keys[low] == key


@njit(cache=True, nogil=True)
def _contains(
    hashes: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    words: NDArray[np.uint64],
    shift: np.uint64,
    out: NDArray[np.bool_],
) -> None:
    likely = np.empty(BLOCK_HASHES, np.int64)
    for start in range(0, len(hashes), BLOCK_HASHES):
        count = 0
        for i in range(start, min(start + BLOCK_HASHES, len(hashes))):
            bits = _bits(hashes[i])
            likely[count] = i
            count += np.int64(words[hashes[i] >> shift] & bits == bits)
        for place in range(count):
            at = int(likely[place])
            out[at] = _holds(keys, hashes[at])


@dataclass(frozen=True)
class KeySet:
    """Sorted unique keys, the item each belongs to, and the filter's words."""

    keys: NDArray[np.uint64]
    owners: NDArray[np.int32]
    words: NDArray[np.uint64]
    shift: np.uint64

    @classmethod
    def of(cls, keys: NDArray[np.uint64], owners: NDArray[np.int32]) -> KeySet:
        """The set of these sorted keys."""
        log2_words = max(1, (BITS_PER_KEY * len(keys) // 64).bit_length())
        shift = np.uint64(64 - log2_words)
        words = np.zeros(1 << log2_words, np.uint64)
        _mark(keys, shift, words)
        return cls(keys, owners, words, shift)

    def hits(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Places of the hashes that are in the set, and the items these belong to."""
        found = np.zeros(len(hashes), np.bool_)
        _contains(hashes, self.keys, self.words, self.shift, found)
        at = np.flatnonzero(found)
        return at, self.owners[np.searchsorted(self.keys, hashes[at])]
