"""The loops of the static embedder: from the word hashes of a document to the sum of its words' vectors.

Words are looked up in an open-addressing table with linear probing, at most half full: one or two cache lines a word,
where a binary search of 60,000 hashes takes sixteen steps. Vectors are rows of int8 with a float32 factor each, so
60,000 of 384 dimensions take 23 MB and most of a document's rows come from cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

EMPTY = -1


@njit
def table_of(hashes: NDArray[np.uint64], bits: Int) -> NDArray[np.int32]:
    """Places of different hashes, in 2^bits slots."""
    slots = np.full(1 << bits, EMPTY, np.int32)
    mask = (1 << bits) - 1
    for row in range(len(hashes)):
        slot = np.int64(hashes[row] & np.uint64(mask))
        while slots[slot] != EMPTY:
            slot = (slot + 1) & mask
        slots[slot] = row
    return slots


@njit
def find(word: np.uint64, hashes: NDArray[np.uint64], slots: NDArray[np.int32]) -> Int:
    """Number of a word, or EMPTY."""
    mask = len(slots) - 1
    slot = np.int64(word & np.uint64(mask))
    while slots[slot] != EMPTY:
        if hashes[slots[slot]] == word:
            return slots[slot]
        slot = (slot + 1) & mask
    return EMPTY


@njit
def bags(
    offsets: NDArray[np.int64],
    words: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    slots: NDArray[np.int32],
    max_words: Int,
    half_words: float,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """The known words among the first `max_words` of each document, each once, in order, and how much each occurs.

    An occurrence as word p counts 1 / (1 + p / half_words), so the one at `half_words` half of one at the beginning.
    Returns the places of the documents, int64[documents + 1]; numbers of the words; sums of their occurrences.
    """
    documents = len(offsets) - 1
    room = 0
    for document in range(documents):
        room += min(offsets[document + 1] - offsets[document], max_words)
    edges = np.zeros(documents + 1, np.int64)
    rows = np.empty(room, np.int32)
    amounts = np.empty(room, np.float32)
    seen = np.full(len(hashes), EMPTY, np.int64)  # where in `rows` a word was last put
    end = 0
    for document in range(documents):
        begin = end
        for at in range(offsets[document], min(offsets[document + 1], offsets[document] + max_words)):
            row = find(words[at], hashes, slots)
            if row == EMPTY:
                continue
            amount = half_words / (half_words + (at - offsets[document]))
            if seen[row] >= begin:
                amounts[seen[row]] += amount
            else:
                seen[row] = end
                rows[end] = row
                amounts[end] = amount
                end += 1
        edges[document + 1] = end
    return edges, rows[:end], amounts[:end]


@njit
def find_all(words: NDArray[np.uint64], hashes: NDArray[np.uint64], slots: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers of words, EMPTY for those without."""
    found = np.empty(len(words), np.int32)
    for at in range(len(words)):
        found[at] = find(words[at], hashes, slots)
    return found


@njit
def weigh(
    edges: NDArray[np.int64], rows: NDArray[np.int32], amounts: NDArray[np.float32], rarity: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Damped amounts (1 + log of what is above 1) times rarity, brought to length 1 in every document."""
    weights = np.empty(len(rows), np.float32)
    for document in range(len(edges) - 1):
        square = 0.0
        for at in range(edges[document], edges[document + 1]):
            amount = amounts[at]
            weight = (1.0 + np.log(amount) if amount > 1.0 else amount) * rarity[rows[at]]
            weights[at] = weight
            square += weight * weight
        length = np.sqrt(square)
        for at in range(edges[document], edges[document + 1]):
            weights[at] = weights[at] / length if length > 0.0 else 0.0
    return weights


@njit
def sums(
    edges: NDArray[np.int64],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    vectors: NDArray[np.int8],
    factors: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Per document the sum of its words' vectors times weights and factors, word after word in float32."""
    found = np.zeros((len(edges) - 1, vectors.shape[1]), np.float32)
    for document in range(len(edges) - 1):
        total = found[document]
        for at in range(edges[document], edges[document + 1]):
            factor = weights[at] * factors[rows[at]]
            vector = vectors[rows[at]]
            for dimension in range(len(vector)):
                total[dimension] += factor * vector[dimension]
    return found
