"""The loop that turns words into classes, for `hare_ray.quality.fluency`."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import Int, finish

Array: TypeAlias = NDArray[Any]

END, BREAK, NUMBER, MIXED, CAPITALS, OTHER = 0, 1, 2, 3, 4, 5
"""Classes: end of a sentence, another mark or line break between words, figures, letters with figures, a word in
capitals, a word that ends in no letter a to z."""

FIRST_ENDING = 6
LETTERS = 26
FIRST_FREQUENT = FIRST_ENDING + 2 * LETTERS
"""Rare words are classed by last letter, those with a capital apart; then come the frequent words, a class each."""


@njit
def gap_class(data: NDArray[np.uint8], begin: Int, stop: Int) -> Int:
    """Class of what stands between two words: END, BREAK, or -1 for a plain space."""
    found = -1
    for place in range(begin, stop):
        byte = data[place]
        if byte in (46, 33, 63):  # . ! ?
            return END
        if byte > 32 and byte not in (39, 45):  # apostrophe, hyphen; lines end anywhere in mail and plain text
            found = BREAK
    return found


@njit
def rare_class(data: NDArray[np.uint8], begin: Int, stop: Int) -> Int:
    """Class of a word by how it is written."""
    digits, small, capitals = 0, 0, 0
    for place in range(begin, stop):
        byte = data[place]
        digits += 48 <= byte <= 57
        small += 97 <= byte <= 122
        capitals += 65 <= byte <= 90
    if digits:
        return NUMBER if digits == stop - begin else MIXED
    if capitals > 1 and not small:
        return CAPITALS
    last = data[stop - 1] | 32
    if stop == begin or not 97 <= last <= 122:
        return OTHER
    return FIRST_ENDING + 2 * (last - 97) + (65 <= data[begin] <= 90)


@njit
def place_of(frequent: NDArray[np.uint64], value: np.uint64) -> Int:
    """Index of a value in sorted ones; -1 where it is missing."""
    place = np.searchsorted(frequent, value)
    return place if place < len(frequent) and frequent[place] == value else -1


@njit
def classes(
    data: NDArray[np.uint8],
    begins: Array,
    words: tuple[Array, Array, Array, Array],
    frequent: Array,
    out: Array,
    until: Array,
) -> None:
    """Write the classes of every document's words and gaps, END before the first; `until`: where each stops."""
    offsets, hashes, starts, ends = words
    written = 0
    for document in range(len(begins)):
        out[written] = END
        written += 1
        begin = begins[document]
        for word in range(offsets[document], offsets[document + 1]):
            if word > offsets[document]:
                gap = gap_class(data, begin + ends[word - 1], begin + starts[word])
                if gap >= 0:
                    out[written] = gap
                    written += 1
            known = place_of(frequent, hashes[word])
            if known >= 0:
                out[written] = FIRST_FREQUENT + known
            else:
                out[written] = rare_class(data, begin + starts[word], begin + ends[word])
            written += 1
        until[document] = written


@njit
def means(values: Array, offsets: Array, tables: Array) -> NDArray[np.float64]:
    """Mean of tables[c', c] over the pairs of every document."""
    kinds = tables.shape[2]
    found = np.zeros((len(offsets) - 1, kinds))
    for document in range(len(offsets) - 1):
        pairs = offsets[document + 1] - offsets[document] - 1
        for place in range(offsets[document] + 1, offsets[document + 1]):
            for kind in range(kinds):
                found[document, kind] += tables[values[place - 1], values[place], kind]
        if pairs > 0:
            found[document] /= pairs
    return found


@njit
def class_ngrams(values: Array, offsets: Array, n: int) -> tuple[Array, Array]:
    """Hashes of n classes in a row, n up to 3, and where those of each document begin."""
    edges = np.zeros(len(offsets), np.int64)
    hashes = np.empty(len(values), np.uint64)
    written = 0
    for document in range(len(offsets) - 1):
        for place in range(offsets[document] + n - 1, offsets[document + 1]):
            gram = np.uint64(n)
            for back in range(n):
                gram = gram << np.uint64(16) | np.uint64(values[place - back])
            hashes[written] = finish(gram)
            written += 1
        edges[document + 1] = written
    return edges, hashes[:written]
