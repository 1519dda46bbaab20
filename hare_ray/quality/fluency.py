"""The member that reads in order: a small language model of good texts against one of poor texts.

    tokens(texts, frequent)  -> classes of words and of what stands between them
    learned(tokens, ...)     -> tables over pairs of classes
    features(tokens, tables) -> float64[documents, 3], means over the pairs (c', c) of a text
                                  ln p_good(c | c') / p_poor(c | c')    which side would rather have written it
                                  ln p_good(c) / p_poor(c)              the same without order
                                  ln p_good(c | c') / p_good(c)         what order tells: 0 for shuffled words

A model over words would need a corpus of its own to learn from. A class n-gram model (Brown et al. 1992) learns from
some hundred texts: the most frequent words are a class each, other words are classed by last letter and capital,
figures and words in capitals apart (`hare_ray.quality.fluency_kernel`). It hardly sees what a text is about, so it
carries over to sources that it has not met. Counts of a side are the mean over its groups, so that a large group is
not the side's style; p(c | c') falls back to p(c) with the weight of `BACKOFF` pairs.

Perplexity under good text alone judges hardly better than chance on unseen sources, and prefers simple prose to
demanding; the ratio to poor text does not. Shuffled copies of the good texts are one more group of poor ones: word
salad has the words of a good text and must not pass for one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.quality.fluency_kernel import FIRST_FREQUENT, classes, means
from hare_ray.text import Words, text_buffers, words_of

FREQUENT_WORDS = 256
"""Words with a class of their own: the glue of any text; the next ones are about topics."""
BACKOFF = 20.0
PRIOR = 0.5
"""Added to the count of every class."""
PARTS = 4
"""Of the examples that the model learns from: the features of each part come from a model of the others."""


@dataclass(frozen=True)
class Tokens:
    """Classes of document i: values[offsets[i]:offsets[i + 1]]; the first is always END."""

    values: NDArray[np.int16]
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class Sides:
    """Which texts are good (1) or poor (0), where they come from, and which of them are learned from."""

    label: NDArray[np.int64]
    group: NDArray[np.int64]
    learn: NDArray[np.bool_]


def frequent_words(texts: pa.Array | pa.ChunkedArray) -> NDArray[np.uint64]:
    """Sorted hashes of the words that are in most texts."""
    words = words_of(texts, places=False)
    owner = np.repeat(np.arange(len(words)), words.lengths)
    known, which = np.unique(words.hashes, return_inverse=True)
    once = np.unique(which.astype(np.int64) * len(words) + owner)
    texts_with = np.bincount(once // max(len(words), 1), minlength=len(known))
    return np.sort(known[np.argsort(-texts_with, kind="stable")[:FREQUENT_WORDS]])


def tokens(texts: pa.Array | pa.ChunkedArray, words: Words, frequent: NDArray[np.uint64]) -> Tokens:
    """Classes of the words of `texts`, and of the marks between them."""
    values = np.empty(2 * len(words.hashes) + len(words), np.int16)  # END, then at most a mark and a word each
    offsets = np.zeros(len(words) + 1, np.int64)
    first = written = 0
    for data, begins, _ in text_buffers(texts):
        last = first + len(begins)
        places = words.offsets[first : last + 1]
        until = offsets[first + 1 : last + 1]
        spans = (places, words.hashes, words.starts, words.ends)
        classes(data, begins, spans, frequent, values[written:], until)
        until += written
        written = int(offsets[last])
        first = last
    return Tokens(values[:written], offsets)


def joined(one: Tokens, other: Tokens) -> Tokens:
    """The documents of both."""
    offsets = np.concatenate([one.offsets, one.offsets[-1] + other.offsets[1:]])
    return Tokens(np.concatenate([one.values, other.values]), offsets)


def features(seen: Tokens, tables: NDArray[np.float32]) -> NDArray[np.float64]:
    """The three means of every document; zeros for an empty one."""
    return means(seen.values, seen.offsets, tables)


def cross_fitted(
    seen: Tokens, frequent: NDArray[np.uint64], sides: Sides
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Tables of the texts that are learned from, and the features of all as from a model that has not seen them."""
    tables = learned(seen, frequent, sides)
    found = features(seen, tables)
    part = np.full(len(sides.learn), -1)
    part[sides.learn] = np.arange(np.count_nonzero(sides.learn)) % PARTS
    for n in range(PARTS):
        mine = part == n
        if mine.any():
            others = Sides(sides.label, sides.group, sides.learn & ~mine)
            found[mine] = features(seen, learned(seen, frequent, others))[mine]
    return tables, found


def learned(seen: Tokens, frequent: NDArray[np.uint64], sides: Sides) -> NDArray[np.float32]:
    """The features of every pair of classes, float32[classes, classes, 3]."""
    width = FIRST_FREQUENT + len(frequent)
    good_pair, good_one = _chances(seen, sides.group, sides.learn & (sides.label == 1), width)
    poor_pair, poor_one = _chances(seen, sides.group, sides.learn & (sides.label == 0), width)
    single = np.broadcast_to(good_one - poor_one, good_pair.shape)
    return np.stack([good_pair - poor_pair, single, good_pair - good_one], axis=-1).astype(np.float32)


def _chances(
    seen: Tokens, group: NDArray[np.int64], learn: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of p(c | c') and p(c) of texts; every group has the same say."""
    owner = np.repeat(np.arange(len(learn)), np.diff(seen.offsets))
    inside = (owner[1:] == owner[:-1]) & learn[owner[1:]]
    pairs = (seen.values[:-1].astype(np.int64) * width + seen.values[1:])[inside]
    groups = group[owner[1:]][inside]
    counts = np.zeros(width * width)
    names = np.unique(groups)
    for name in names:
        own = np.bincount(pairs[groups == name], minlength=width * width)
        counts += own * (len(pairs) / len(names) / max(own.sum(), 1))
    table = counts.reshape(width, width)
    one = table.sum(axis=0) + PRIOR
    one /= one.sum()
    pair = (table + BACKOFF * one) / (table.sum(axis=1, keepdims=True) + BACKOFF)
    return np.log(pair), np.log(one)


def shuffled(texts: list[str], seed: int) -> list[str]:
    """The words of every text in another order."""
    draw = np.random.default_rng(seed)
    return [" ".join(draw.permutation(text.split()).tolist()) for text in texts]
