"""Which short grams of an item are looked for in text: the rare ones, so that ordinary text meets none of them.

A word's weight is its information in words that occur in one item only:

    weight(w) = ln((items + SMOOTHING) / (items with w)) / ln(items + SMOOTHING)

so that 1 is a word of one item, and the, of and which are next to nothing. A gram weighs the sum of its words.

    windows   of every n words in a row without an anchor, the heaviest gram of the second half: every run of n words
              that text and item have in common then holds an anchor, so looking for anchors alone loses no n-gram
              (winnowing, Schleimer, Wilkerson and Aiken 2003, with rarity in place of the hash; the second half, since
              an anchor far to the right serves more windows to come)
    spread    of each of `most` equal stretches of a question, the heaviest gram: some survive where words are replaced
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit

SMOOTHING = 20
"""Items added to the count: with a handful of items, no word is known to be rare."""


@njit
def _heaviest(weights: NDArray[np.float32], first: int, count: int, n: int) -> int:
    """Where the heaviest of `count` grams of n words starts, from `first` on; the first of equals."""
    best, found = np.float32(-1), first
    for start in range(first, first + count):
        total = np.float32(0)
        for place in range(start, start + n):
            total += weights[place]
        if total > best:
            best, found = total, start
    return found


@njit
def window_anchors(weights: NDArray[np.float32], offsets: NDArray[np.int64], n: int, gram: int) -> NDArray[np.int64]:
    """Starts of heavy grams, of which every window of n words holds one."""
    out = np.empty(len(weights), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        last = np.int64(-1)
        for first in range(offsets[document], offsets[document + 1] - n + 1):
            if last < first:
                skipped = (n - gram) // 2
                last = _heaviest(weights, first + skipped, n - gram + 1 - skipped, gram)
                out[count] = last
                count += 1
    return out[:count]


@njit
def spread_anchors(
    weights: NDArray[np.float32], offsets: NDArray[np.int64], most: int, gram: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts of the heaviest gram of each of `most` stretches of every document, and its document."""
    out, documents = np.empty(len(weights), np.int64), np.empty(len(weights), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        first = offsets[document]
        room = offsets[document + 1] - first - gram + 1
        stretches = min(room, most)
        for stretch in range(stretches):
            begin, stop = stretch * room // stretches, (stretch + 1) * room // stretches
            out[count] = _heaviest(weights, first + begin, stop - begin, gram)
            documents[count] = document
            count += 1
    return out[:count], documents[:count]


@dataclass(frozen=True)
class Weights:
    """In how many items every word occurs."""

    words: NDArray[np.uint64]
    items: NDArray[np.int64]
    total: int

    @classmethod
    def none(cls) -> Weights:
        """Of no items."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.int64), 0)

    def plus(self, words: NDArray[np.uint64], offsets: NDArray[np.int64]) -> Weights:
        """With the items [offsets[i], offsets[i + 1]) of `words` counted too."""
        item = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        order = np.lexsort((item, words))
        sorted_words, item = words[order], item[order]
        new = np.ones(len(words), bool)
        new[1:] = (sorted_words[1:] != sorted_words[:-1]) | (item[1:] != item[:-1])
        merged = np.concatenate([self.words, sorted_words[new]])
        counts = np.concatenate([self.items, np.ones(int(new.sum()), np.int64)])
        unique, place = np.unique(merged, return_inverse=True)
        return Weights(unique, np.bincount(place, counts, len(unique)).astype(np.int64), self.total + len(offsets) - 1)

    def of(self, words: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Weight of every word; 1 of a word of no item."""
        most = np.log(self.total + SMOOTHING)
        if not len(self.words):
            return np.ones(len(words), np.float32)
        place = np.minimum(np.searchsorted(self.words, words), len(self.words) - 1)
        items = np.where(self.words[place] == words, self.items[place], 1)
        return ((most - np.log(items)) / most).astype(np.float32)


def gram_weights(weights: NDArray[np.float32], starts: NDArray[np.int64], gram: int) -> NDArray[np.float32]:
    """Weight of the grams that start there."""
    return weights[starts[:, None] + np.arange(gram)].sum(axis=1, dtype=np.float32)


def sums(weights: NDArray[np.float32], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight of every document."""
    total = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    return total[offsets[1:]] - total[offsets[:-1]]
