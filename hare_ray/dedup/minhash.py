"""MinHash with banding: one 64-bit key per band, equal for two documents with probability close to s^rows.

    (offsets, hashes) of word n-grams
        ->  minima uint32[documents, bands * rows]  ->  keys uint64[documents, bands]

Permutation j of the shingles is x -> (a_j x + b_j) mod 2^32 with a_j odd, x the two halves of the 64-bit
n-gram hash folded together. The minimum over a document's shingles is equal in two documents with
probability s, their Jaccard similarity, so that the share of equal minima estimates s with standard error
sqrt(s (1 - s) / k), and they meet in at least one of b bands of r rows with probability 1 - (1 - s^r)^b
(Broder 1997; Leskovec et al., Mining of Massive Datasets, 3.4). Every permutation sees every shingle:
one-permutation and sampling schemes are quicker still but lose recall where a few words are inserted. Since
x is well mixed already and the a_j are random, the cheap linear family shows no measurable bias; the tests
hold it to the formulas above.

The loop runs over permutations outside and shingles inside, a minimum in a register and a block of shingles
in the first-level cache, which the compiler turns into vector instructions: reading words costs more than
112 permutations.

A document shorter than a shingle has none. Its keys come from the hash of its whole word sequence, so that
it meets its equals and nobody else; one key shared by all of them would make all short documents copies of
each other.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK_SHINGLES = 2048
"""Shingles handled at a time: 8 KiB of the first-level cache."""

_S32 = np.uint64(32)
_S31 = np.uint64(31)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_FULL = np.uint32(0xFFFFFFFF)


def permutations(count: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Odd multipliers and offsets of `count` permutations, from the raw stream of PCG64, which is fixed."""
    raw = np.random.PCG64(seed).random_raw(count).astype(np.uint64)
    return (raw >> _S32).astype(np.uint32) | np.uint32(1), (raw & np.uint64(_FULL)).astype(np.uint32)


@njit(cache=True, nogil=True)
def mixed(state: np.uint64, value: np.uint64) -> np.uint64:
    """The next state of a running 64-bit hash (finaliser of splitmix64)."""
    state = (state ^ value) + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> _S31)


@njit(cache=True, nogil=True)
def minima(
    offsets: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    multipliers: NDArray[np.uint32],
    additions: NDArray[np.uint32],
) -> NDArray[np.uint32]:
    """Minimum of every permutation over every document's shingles; 2^32 - 1 where there are none."""
    documents, count = len(offsets) - 1, len(multipliers)
    out = np.full((documents, count), _FULL, np.uint32)
    block = np.empty(BLOCK_SHINGLES, np.uint32)
    for document in range(documents):
        for start in range(offsets[document], offsets[document + 1], BLOCK_SHINGLES):
            held = min(BLOCK_SHINGLES, offsets[document + 1] - start)
            for i in range(held):
                shingle = hashes[start + i]
                block[i] = np.uint32(shingle ^ (shingle >> _S32))
            for j in range(count):
                a, b, least = multipliers[j], additions[j], out[document, j]
                for i in range(held):
                    least = min(least, np.uint32(a * block[i] + b))
                out[document, j] = least
    return out


@njit(cache=True, nogil=True)
def _band_keys(
    offsets: NDArray[np.int64],
    least: NDArray[np.uint32],
    whole: NDArray[np.uint64],
    bands: int,
    seed: np.uint64,
) -> NDArray[np.uint64]:
    documents, rows = len(least), least.shape[1] // bands
    out = np.empty((documents, bands), np.uint64)
    for document in range(documents):
        short = offsets[document] == offsets[document + 1]
        for band in range(bands):
            # The band's number is part of its key: equal rows in different bands mean nothing.
            key = mixed(seed, np.uint64(2 * band + (1 if short else 0)))
            if short:
                key = mixed(mixed(key, whole[document, 0]), whole[document, 1])
            else:
                for row in range(band * rows, (band + 1) * rows):
                    key = mixed(key, np.uint64(least[document, row]))
            out[document, band] = key
    return out


def band_keys(
    shingles: tuple[NDArray[np.int64], NDArray[np.uint64]],
    whole: NDArray[np.uint64],
    bands: int,
    rows: int,
    seed: int,
) -> NDArray[np.uint64]:
    """Keys [documents, bands] from the n-grams (offsets, hashes) and 128-bit hashes `whole` of documents."""
    offsets, hashes = shingles
    least = minima(offsets, hashes, *permutations(bands * rows, seed))
    return _band_keys(offsets, least, whole, bands, np.uint64(seed))
