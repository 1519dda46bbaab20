"""Hashes of word n-grams and of whole word sequences, from the word hashes of `hare_ray.text.words`.

    ngram_hashes(words, n) -> offsets int64[documents + 1], hashes uint64
    document_hashes(words) -> uint64[documents, 2]: 128 bits over all words in order, for exact duplicates

Hash i of a document covers its words i .. i + n - 1: the polynomial sum of w_i * B^(n - 1 - i) modulo
2^64, rolled in two multiplications per word whatever n is, then finished. The words are 64-bit hashes
already, so unequal n-grams collide with a probability of about 2^-64. B = 3 modulo 4, since B - 1 then
has one factor two: swapping two words changes the sum. A document shorter than n words has no n-grams,
and callers decide what to make of it: a shared sentinel would make all short documents equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import FINISHER, MULTIPLIER, SEED, finish, mix
from hare_ray.text.words import Words

BASE = MULTIPLIER
"""B: odd, and 3 modulo 4."""

SECOND_SEED = np.uint64(0x94D049BB133111EB)
"""Start of the other half of a document's hash; any number would do."""

_S29 = np.uint64(29)
_S35 = np.uint64(35)


@njit
def leading_factor(n: int) -> np.uint64:
    """B^n: what the word before an n-gram is multiplied by when it leaves the rolling sum."""
    factor = np.uint64(1)
    for _ in range(n):
        factor *= BASE
    return factor


@njit
def salt_of(n: int) -> np.uint64:
    """Tells n-grams of different n apart."""
    return np.uint64(n) * SEED


@njit
def finished(total: np.uint64, salt: np.uint64) -> np.uint64:
    """The hash of an n-gram from its rolling sum."""
    return finish(total ^ salt)


@njit
def _roll(
    words: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    n: int,
    out: NDArray[np.uint64],
    out_offsets: NDArray[np.int64],
) -> None:
    drop, salt = leading_factor(n), salt_of(n)
    for document in range(len(offsets) - 1):
        first = offsets[document]
        place = out_offsets[document]
        total = np.uint64(0)
        for word in range(first, offsets[document + 1]):
            total = total * BASE + words[word]
            if word - first >= n:
                total -= words[word - n] * drop
            if word - first >= n - 1:
                out[place] = finished(total, salt)
                place += 1


def ngram_hashes(words: Words, n: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Hashes of all n-grams of consecutive words, per document, in order."""
    if n < 1:
        raise ValueError(f"given n = {n}, expected an n-gram of at least one word")
    offsets = np.zeros(len(words) + 1, np.int64)
    np.cumsum(np.maximum(words.lengths - (n - 1), 0), out=offsets[1:])
    hashes = np.empty(offsets[-1], np.uint64)
    _roll(words.hashes, words.offsets, n, hashes, offsets)
    return offsets, hashes


@njit
def _fold_documents(words: NDArray[np.uint64], offsets: NDArray[np.int64], out: NDArray[np.uint64]) -> None:
    for document in range(len(offsets) - 1):
        one, two = SEED, SECOND_SEED
        for word in range(offsets[document], offsets[document + 1]):
            one = mix(one, words[word])
            two = ((two << _S29 | two >> _S35) + words[word]) * FINISHER
        count = np.uint64(offsets[document + 1] - offsets[document])
        out[document, 0] = finish(one ^ count)
        out[document, 1] = finish(two ^ count * SEED)


def document_hashes(words: Words) -> NDArray[np.uint64]:
    """128 bits of the folded word sequence per document; all documents without words share one value."""
    out = np.empty((len(words), 2), np.uint64)
    _fold_documents(words.hashes, words.offsets, out)
    return out
