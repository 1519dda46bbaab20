"""Words of a part that could be left out of a sentence, in order of how many documents of the part have them.

A candidate is of lower-case ASCII letters, at least MIN_LETTERS: neither a name nor a number nor mostly grammar. It
must occur so in MIN_DOCUMENTS documents of the part, or nobody could know it. Counting is one pass over the bytes and
two sorts of 64-bit hashes; words become strings only when an item shows them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.synth.task_forms import draw
from hare_ray.text import Words, text_buffers, words_of

MIN_LETTERS = 4
MIN_DOCUMENTS = 2

NEIGHBOURS = 50
"""Words looked at on either side of one in the order of frequency."""

SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""Odd, bits well mixed: makes one 64-bit key of a document's number and a word's hash."""


@njit
def _plain(data, begins, offsets, starts, ends, min_letters):  # noqa: ANN001, ANN202
    """Whether each word consists of enough letters a to z."""
    out = np.zeros(len(starts), np.bool_)
    for document in range(len(begins)):
        for word in range(offsets[document], offsets[document + 1]):
            good = ends[word] - starts[word] >= min_letters
            for at in range(begins[document] + starts[word], begins[document] + ends[word]):
                good = good and 97 <= data[at] <= 122
            out[word] = good
    return out


class PartWords:
    """The words of all documents of a part."""

    def __init__(self, text: pa.ChunkedArray, seed: int) -> None:
        column = text.combine_chunks()
        self._data, self._begins, _ = next(iter(text_buffers(column)))
        self.words: Words = words_of(column)
        self._seed = seed
        words = self.words
        self.plain: NDArray[np.bool_] = _plain(
            self._data, self._begins, words.offsets, words.starts, words.ends, MIN_LETTERS
        )
        self._rank()

    def _rank(self) -> None:
        """Candidates by the number of documents, by hash where it is equal."""
        words = self.words
        places = np.flatnonzero(self.plain)
        documents = np.repeat(np.arange(len(words)), words.lengths)[places].astype(np.uint64)
        _, first = np.unique(words.hashes[places] ^ (documents + np.uint64(1)) * SPREAD, return_index=True)
        places = places[first]
        hashes, first, counts = np.unique(words.hashes[places], return_index=True, return_counts=True)
        known = counts >= MIN_DOCUMENTS
        hashes, places, counts = hashes[known], places[first[known]], counts[known]
        order = np.lexsort((hashes, counts))
        self.ranked: NDArray[np.uint64] = hashes[order]
        self._places: NDArray[np.int64] = places[order]
        self.counts: NDArray[np.int64] = counts[order]
        self._sorted = hashes
        self._rank_of = np.empty(len(order), np.int64)
        self._rank_of[order] = np.arange(len(order))

    def ranks(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rank of each word, -1 for one that is no candidate."""
        if not len(self._sorted):
            return np.full(len(hashes), -1, np.int64)
        at = np.minimum(np.searchsorted(self._sorted, hashes), len(self._sorted) - 1)
        return np.where(self._sorted[at] == hashes, self._rank_of[at], -1)

    def within(self, document: int, begin: int, end: int) -> slice:
        """Numbers of the words in a byte span of a document."""
        low, high = self.words.offsets[document], self.words.offsets[document + 1]
        first, last = np.searchsorted(self.words.starts[low:high], (begin, end))
        return slice(int(low + first), int(low + last))

    def rarest(self, span: slice, shown: slice) -> int | None:
        """Number of the rarest candidate of a span that occurs once in what is shown."""
        ranks = np.where(self.plain[span], self.ranks(self.words.hashes[span]), -1)
        for at in np.argsort(ranks, kind="stable"):
            word = self.words.hashes[span.start + at]
            if ranks[at] >= 0 and np.count_nonzero(self.words.hashes[shown] == word) == 1:
                return span.start + int(at)
        return None

    def near(self, word: int, document: int, count: int, key: bytes) -> list[str]:
        """Words of about the same frequency, by hash of the key, none of which the document has; up to `count`."""
        rank = int(self.ranks(self.words.hashes[word : word + 1])[0])
        around = np.r_[max(0, rank - NEIGHBOURS) : rank, rank + 1 : min(len(self.ranked), rank + 1 + NEIGHBOURS)]
        own = self.words.hashes[self.words.offsets[document] : self.words.offsets[document + 1]]
        others = around[~np.isin(self.ranked[around], own)]
        mixed = (self.ranked[others] ^ np.uint64(draw(self._seed, key, "other"))) * SPREAD
        order = others[np.argsort(mixed ^ mixed >> np.uint64(32))]
        return [self.spelled(int(self._places[other])) for other in order[:count]]

    def spelled(self, word: int) -> str:
        """A word as it is written."""
        document = int(np.searchsorted(self.words.offsets, word, side="right")) - 1
        begin = int(self._begins[document])
        return self._data[begin + self.words.starts[word] : begin + self.words.ends[word]].tobytes().decode()
