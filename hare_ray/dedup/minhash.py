"""MinHash sketches of one byte per permutation, and the keys of their bands.

    words -> n-grams -> minimum of every permutation -> its byte: sketch uint8[documents, width]
    band_keys(sketch) -> uint64[documents, bands]         equal for two documents with probability close to s^rows
    similarity(sketch, sketch) -> float32                 estimate of s, the Jaccard similarity of the n-grams

width = bands * rows, where a band has 8 rows or more. A shorter one would have so few keys that strangers meet by the
million, so its sketch goes on with a second byte of all minima, a third and a fourth, until a key has its 64 bits.

Permutation j of the shingles is x -> (a_j x + b_j) mod 2^32 with a_j odd, x the two halves of the 64-bit n-gram hash
folded together. Two documents have the same minimum with probability s (Broder 1997), hence the same byte of its hash
with probability e = s + (1 - s) / 256 (b-bit minwise hashing, b = 8; Li and Koenig 2010). They meet in at least one of
b bands of r rows with probability 1 - (1 - e^r)^b (Leskovec et al., Mining of Massive Datasets, 3.4); solving the share
of equal bytes for s estimates it with standard error sqrt(e (1 - e) / (b r)) * 256 / 255. So the sketch is both what
candidates are found by and what they are verified by: 112 bytes a document for 14 bands of 8, where minima of 32 bits
take 448 and 64-bit keys another 112. At 8 rows a key is the band's bytes themselves.

Every permutation sees every shingle: one-permutation and sampling schemes are quicker still but lose recall where a few
words are inserted. Since x is well mixed already and the a_j are random, the cheap linear family shows no measurable
bias; the tests hold it to the formulas above.

One loop over a document: its n-grams are rolled into a block in the first-level cache, then permutations outside and
shingles inside, a minimum in a register, which the compiler turns into vector instructions. No n-gram is written out.

A document shorter than a shingle has none. Its bytes come from the hash of its whole word sequence, so that it meets
its equals and nobody else; one sketch shared by all of them would make all short documents copies of each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.ngrams import BASE, finished, leading_factor, salt_of
from hare_ray.text.words import Words

BLOCK_SHINGLES = 2048
"""Shingles handled at a time: 8 KiB of the first-level cache."""

KEY_BYTES = 8
"""Rows of a band whose bytes are its key without further hashing."""

LEVELS = 256.0
"""Values of a byte: unequal minima agree in it once in so many."""

_S32 = np.uint64(32)
_S31 = np.uint64(31)
_S24 = np.uint32(24)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_GOLDEN_32 = np.uint32(0x9E3779B1)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_FULL = np.uint32(0xFFFFFFFF)

Permutations = tuple[NDArray[np.uint32], NDArray[np.uint32]]


def permutations(count: int, seed: int) -> Permutations:
    """Odd multipliers and offsets of `count` permutations, from the raw stream of PCG64, which is fixed."""
    raw = np.random.PCG64(seed).random_raw(count).astype(np.uint64)
    return (raw >> _S32).astype(np.uint32) | np.uint32(1), (raw & np.uint64(_FULL)).astype(np.uint32)


@njit
def mixed(state: np.uint64, value: np.uint64) -> np.uint64:
    """The next state of a running 64-bit hash (finaliser of splitmix64)."""
    state = (state ^ value) + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> _S31)


@njit
def _lower(least: NDArray[np.uint32], block: NDArray[np.uint32], held: int, chosen: Permutations) -> None:
    """Lower the minimum of every permutation by the first `held` shingles of a block."""
    multipliers, additions = chosen
    for j in range(len(multipliers)):
        a, b, low = multipliers[j], additions[j], least[j]
        for i in range(held):
            low = min(low, np.uint32(a * block[i] + b))
        least[j] = low


@njit
def _sketches(words, offsets, n, whole, chosen, out):  # noqa: ANN001, ANN202
    drop, salt = leading_factor(n), salt_of(n)
    count, width = len(chosen[0]), out.shape[1]
    least = np.empty(count, np.uint32)
    block = np.empty(BLOCK_SHINGLES, np.uint32)
    for document in range(len(offsets) - 1):
        first, last = offsets[document], offsets[document + 1]
        if last - first < n:
            for place in range(width):
                out[document, place] = np.uint8(mixed(mixed(whole[document, 0], whole[document, 1]), np.uint64(place)))
            continue
        least[:] = _FULL
        total = np.uint64(0)
        for word in range(first, first + n - 1):
            total = total * BASE + words[word]
        held = 0
        for word in range(first + n - 1, last):
            total = total * BASE + words[word]
            if word - first >= n:
                total -= words[word - n] * drop
            shingle = finished(total, salt)
            block[held] = np.uint32(shingle ^ (shingle >> _S32))
            held += 1
            if held == BLOCK_SHINGLES:
                _lower(least, block, held, chosen)
                held = 0
        _lower(least, block, held, chosen)
        for place in range(width):
            # The bytes are of the minimum's hash: minima themselves lie near 0.
            hashed = np.uint32(least[place % count] * _GOLDEN_32)
            out[document, place] = np.uint8(hashed >> (_S24 - np.uint32(8 * (place // count))))


def sketches(words: Words, n: int, whole: NDArray[np.uint64], chosen: Permutations, width: int) -> NDArray[np.uint8]:
    """Sketch [documents, width] of the n-grams of words; `whole`: 128-bit hashes, of what is too short."""
    out = np.empty((len(words), width), np.uint8)
    _sketches(words.hashes, words.offsets, n, whole, chosen, out)
    return out


@njit
def _hashed_keys(sketch: NDArray[np.uint8], bands: int, rows: int, out: NDArray[np.uint64]) -> None:
    for document in range(len(sketch)):
        for band in range(bands):
            key = np.uint64(band)
            for plane in range(0, sketch.shape[1], bands * rows):
                for place in range(plane + band * rows, plane + (band + 1) * rows):
                    key = mixed(key, np.uint64(sketch[document, place]))
            out[document, band] = key


@njit
def _told_apart(keys: NDArray[np.uint64]) -> None:
    for document in range(len(keys)):
        for band in range(keys.shape[1]):
            keys[document, band] = mixed(np.uint64(band), keys[document, band])


def band_keys(sketch: NDArray[np.uint8], bands: int, rows: int) -> NDArray[np.uint64]:
    """Keys [documents, bands] of sketches, well mixed; equal rows in different bands have different keys."""
    if rows == KEY_BYTES:
        keys = np.ascontiguousarray(sketch).view(np.uint64).reshape(len(sketch), bands).copy()
        _told_apart(keys)
    else:
        keys = np.empty((len(sketch), bands), np.uint64)
        _hashed_keys(sketch, bands, rows, keys)
    return keys


@njit
def similarity(first: NDArray[np.uint8], second: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """Estimated Jaccard similarity of sketches of `count` = bands * rows minima, pair by pair: 0 to 1."""
    out = np.empty(len(first), np.float32)
    for pair in range(len(first)):
        equal = 0
        for place in range(count):
            equal += np.int64(first[pair, place] == second[pair, place])
        out[pair] = max(0.0, (equal / count - 1 / LEVELS) / (1 - 1 / LEVELS))
    return out
