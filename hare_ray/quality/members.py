"""What the members of the quality committee read in a text; one pass over its first page serves them all.

    ngrams    hashed words and marks, pairs of them       which words, and how sentences are punctuated
              hashed pairs and triples of classes         how words are put together, whatever they are about
    words     hashed words; pairs and triples of classes  the same by log counts: how varied, not how frequent
    shape     shares of characters and words              how it looks: digits, capitals, punctuation, repetition
    tokens    classes of words in order                   for the language model of `hare_ray.quality.fluency`

An n-gram counts by the share that it has of its kind in the text, as in fastText: frequent words and marks rule, and
those carry over to other sources. On ten groups of texts, none of them in tests/bench/quality.py, each left out once,
one seed: AUC 0.87; with 1 + ln(count) brought to length 1 in place of shares 0.84, and that without marks 0.75; shares
without classes 0.85; without shuffled copies among the poor 0.85. A second head on 1 + ln(count) made the vote worse.
Classes (`hare_ray.quality.fluency_kernel`) hold marks, the most frequent words and endings of the others. Line breaks
are no marks, as they tell how a source wraps its lines.

Words come from the kernels of `hare_ray.text`; everything here is arithmetic on whole columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.quality.bag_kernel import bagged, marked, products
from hare_ray.quality.fluency import Tokens, tokens
from hare_ray.quality.fluency_kernel import class_ngrams
from hare_ray.text import Words, ngram_hashes, text_buffers, words_of

CHARACTERS_READ = 4_000
"""Of a document: the first page or two. Quality rarely changes within a document; time grows with this."""

BUCKETS = 1 << 17
"""Of the hashed n-grams of each kind: a thousand examples have about 100,000 different word pairs."""

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
    """Sparse rows: those of text i are values and columns [offsets[i]:offsets[i + 1]]."""

    values: NDArray[np.float32]
    columns: NDArray[np.int32]
    offsets: NDArray[np.int64]
    kinds: int
    """Of n-grams; each has `BUCKETS` columns."""

    @classmethod
    def of(cls, grams: list[tuple[NDArray[np.int64], NDArray[np.uint64]]], logs: bool) -> Bags:
        """Edges and hashes of every kind of n-gram."""
        values, columns, offsets = bagged([edges for edges, _ in grams], [some for _, some in grams], BUCKETS, logs)
        return cls(values, columns, offsets, len(grams))

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.kinds * BUCKETS

    def scores(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """The product with `weights`."""
        return products(self.values, self.columns, self.offsets, weights)

    def matrix(self) -> Any:
        """As the sparse matrix that scikit-learn learns from."""
        from scipy.sparse import csr_array

        offsets = self.offsets.astype(np.int32)  # scikit-learn takes no other
        return csr_array((self.values, self.columns, offsets), shape=(len(offsets) - 1, self.width))


@dataclass(frozen=True)
class Views:
    """What the members that read the text see of it."""

    ngrams: Bags
    words: Bags
    shape: NDArray[np.float32]
    tokens: Tokens
    lengths: NDArray[np.int64]
    """Number of words that were read."""


def _sums(values: NDArray[np.generic], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of every stretch values[offsets[i]:offsets[i + 1]]; exact for counts, to rounding for the rest."""
    running = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return running[offsets[1:]] - running[offsets[:-1]]


def _means(values: NDArray[np.generic], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return _sums(values, offsets) / np.maximum(np.diff(offsets), 1)


def first_pages(texts: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """The beginnings of texts; a null is an empty text."""
    filled = pc.fill_null(texts.cast(pa.large_string()), pa.scalar("", pa.large_string()))
    cut = pc.utf8_slice_codeunits(filled, 0, CHARACTERS_READ)
    return cut if isinstance(cut, pa.ChunkedArray) else pa.chunked_array([cut])


def views(texts: pa.Array | pa.ChunkedArray, frequent: NDArray[np.uint64]) -> Views:
    """Features of the beginnings of texts; `frequent`: sorted hashes of the words that are classes of their own."""
    head = first_pages(texts)
    words = words_of(head)
    read = tokens(head, words, frequent)
    both = _with_marks(head, words)
    classes = [class_ngrams(read.values, read.offsets, n) for n in (2, 3)]
    shares = Bags.of([(both.offsets, both.hashes), ngram_hashes(both, 2), *classes], logs=False)
    logs = Bags.of([(words.offsets, words.hashes), *classes], logs=True)
    return Views(shares, logs, _shape(head, words, ngram_hashes(words, 2)), read, words.lengths)


def _with_marks(head: pa.ChunkedArray, words: Words) -> Words:
    """Words and, where they stand, the bytes of marks; without places."""
    room = np.empty(sum(int((stops - begins).sum()) for _, begins, stops in text_buffers(head)), np.uint64)
    offsets = np.zeros(len(words) + 1, np.int64)
    first = written = 0
    for data, begins, stops in text_buffers(head):
        last = first + len(begins)
        until = offsets[first + 1 : last + 1]
        spans = (words.offsets[first : last + 1], words.hashes, words.starts, words.ends)
        count = marked(data, (begins, stops), spans, room[written:], until)
        until += written
        written += int(count)
        first = last
    nowhere = np.empty(0, np.int32)
    return Words(offsets, room[:written], nowhere, nowhere)


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
