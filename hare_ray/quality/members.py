"""What the members of the quality committee look at, and the linear model that each of them is.

    meaning   the sentence vector                      what a text is about, and in what register
    words     hashed words and word pairs              which words it uses: a bag of n-grams, as in fastText
    shape     shares of characters and words           how it looks: digits, capitals, punctuation, repetition

Each is a logistic regression, p = 1 / (1 + exp(-(w.x + b))): three different views and one simple model
make errors that are little correlated, can be trained on a hundred examples, and score thousands of
documents a second. None of the features grows with the length of a text, for the examples are shorter than
the documents that are scored. Words come from the kernels of `hare_ray.text`; everything here is arithmetic
on whole columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.text import Words, ngram_hashes, text_buffers, words_of

CHARACTERS_READ = 4_000
"""Of a document: the first page or two. Quality rarely changes within a document; time grows with this."""

BUCKETS = 1 << 16
"""Of the hashed words and pairs: examples have about 10,000 different ones, so few meet by accident."""

NGRAM = 2
"""Longest n-gram of words."""

BAG_SCALE = 12.0
"""Factor on the mean over a bag: about the root of the n-grams in an example, so vectors are about 1 long."""

WINDOW_WORDS = 50
"""Repetition is counted among so many words at the start: the longer a text, the more words return anyway."""

FUNCTION_WORDS = (
    "a about after all also an and any are as at be because been but by can could did do even for from had "
    "has have he her him his how if in into is it its like many may more most much no not of on one only or "
    "other our out over she should since so some such than that the their them then there these they this "
    "those through to too under until up was we were what when where which while who will with would you your"
)
"""The glue of English sentences; lists, menus and tables have little of it."""

LONG_WORD_BYTES = 7
MAX_WORDS_PER_SENTENCE = 60
"""More say the same: there are no sentences."""

_LETTER, _CAPITAL, _DIGIT, _SPACE, _END, _COMMA, _MARK = range(7)


def _byte_classes() -> NDArray[np.uint8]:
    classes = np.full(256, _MARK, np.uint8)
    classes[128:] = _LETTER  # UTF-8 beyond ASCII: nearly always letters
    classes[[ord(c) for c in "abcdefghijklmnopqrstuvwxyz"]] = _LETTER
    classes[[ord(c) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]] = _CAPITAL
    classes[[ord(c) for c in "0123456789"]] = _DIGIT
    classes[[ord(c) for c in " \t\r\n"]] = _SPACE
    classes[[ord(c) for c in ".!?"]] = _END
    classes[[ord(c) for c in ",;"]] = _COMMA
    return classes


@dataclass(frozen=True)
class Bags:
    """Hashed n-grams of every text: those of text i are buckets[offsets[i]:offsets[i + 1]]."""

    offsets: NDArray[np.int64]
    buckets: NDArray[np.int64]

    @property
    def width(self) -> int:
        """Number of buckets."""
        return BUCKETS

    def entries(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Values, columns and row starts of the sparse matrix the member learns from."""
        counts = np.diff(self.offsets)
        values = np.repeat(BAG_SCALE / np.maximum(counts, 1), counts).astype(np.float32)
        return values, self.buckets, self.offsets

    def scores(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """The product of that matrix with `weights`, without building it."""
        return BAG_SCALE * _means(weights[self.buckets], self.offsets)


@dataclass(frozen=True)
class Views:
    """What the two members that read the text see of it."""

    bags: Bags
    shape: NDArray[np.float32]


def _sums(values: NDArray[np.generic], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of every stretch values[offsets[i]:offsets[i + 1]]; exact for counts, to rounding for the rest."""
    running = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return running[offsets[1:]] - running[offsets[:-1]]


def _means(values: NDArray[np.generic], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return _sums(values, offsets) / np.maximum(np.diff(offsets), 1)


def views(texts: pa.Array | pa.ChunkedArray) -> Views:
    """Features of the beginnings of texts; a null is an empty text."""
    filled = pc.fill_null(texts.cast(pa.large_string()), pa.scalar("", pa.large_string()))
    head = pc.utf8_slice_codeunits(filled, 0, CHARACTERS_READ)
    words = words_of(head)
    grams = [ngram_hashes(words, n) for n in range(1, NGRAM + 1)]
    return Views(_bags(grams), _shape(head, words, grams[1]))


def _bags(grams: list[tuple[NDArray[np.int64], NDArray[np.uint64]]]) -> Bags:
    offsets = np.sum([part for part, _ in grams], axis=0)
    owner = np.concatenate([np.repeat(np.arange(len(part) - 1), np.diff(part)) for part, _ in grams])
    buckets = np.concatenate([hashes for _, hashes in grams]) % np.uint64(BUCKETS)
    return Bags(offsets, buckets.astype(np.int64)[np.argsort(owner, kind="stable")])


def _shape(
    head: pa.ChunkedArray, words: Words, pairs: tuple[NDArray[np.int64], NDArray[np.uint64]]
) -> NDArray[np.float32]:
    kinds = _kinds(head)
    size = np.maximum(kinds.sum(axis=1), 1)
    count = words.lengths
    some = np.maximum(count, 1)
    lengths = (words.ends - words.starts).astype(np.int64)
    function = np.isin(words.hashes, words_of(pa.array([FUNCTION_WORDS])).hashes)
    per_sentence = np.minimum(count / np.maximum(kinds[:, _END], 1), MAX_WORDS_PER_SENTENCE)
    features = [
        kinds[:, _LETTER] / size,
        kinds[:, _DIGIT] / size,
        kinds[:, _CAPITAL] / size,
        kinds[:, _SPACE] / size,
        kinds[:, _END] / some,
        kinds[:, _COMMA] / some,
        kinds[:, _MARK] / size,
        per_sentence / MAX_WORDS_PER_SENTENCE,
        _means(lengths, words.offsets) / 10,
        _means(lengths >= LONG_WORD_BYTES, words.offsets),
        _means(function, words.offsets),
        _different(words.offsets, words.hashes),
        1 - _different(*pairs),
    ]
    return np.stack(features, axis=1).astype(np.float32)


def _kinds(head: pa.ChunkedArray) -> NDArray[np.float64]:
    """Bytes of each class in every text."""
    classes = _byte_classes()
    found = []
    for data, begins, stops in text_buffers(head):
        if not len(begins):
            continue
        edges = np.append(begins, stops[-1:])
        kinds = classes[data[edges[0] : edges[-1]]]
        found.append(np.stack([_sums(kinds == kind, edges - edges[0]) for kind in range(_MARK + 1)], axis=1))
    return np.concatenate([np.empty((0, _MARK + 1)), *found])


def _different(offsets: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Share of different hashes among the first `WINDOW_WORDS` of every text; 1 where there are none."""
    lengths = np.minimum(np.diff(offsets), WINDOW_WORDS)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    window = hashes[np.repeat(offsets[:-1], lengths) + place]
    order = np.lexsort((window, owner))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(owner[order]) != 0) | (window[order][1:] != window[order][:-1])
    different = np.bincount(owner[order], weights=first, minlength=len(lengths))
    return np.where(lengths > 0, different / np.maximum(lengths, 1), 1.0)


def probability(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """The logistic function."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(scores, np.float64), -30, 30)))
