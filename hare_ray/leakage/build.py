"""The arrays of a leak index, gathered from one batch of items after another.

    grams       keys of all n-grams of all forms, and the item of each
    exact       anchors of these: rare grams, of which every run of n words holds one
    shorts      whole forms shorter than n words, each by its rarest gram
    postings    anchors of the questions that are looked for reworded, and where in which question they stand

Sorted by key, and rows of equal keys by item, so the files depend on the items and their order alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.leakage.anchors import Weights, gram_weights, spread_anchors, sums, window_anchors
from hare_ray.leakage.lookup import grams, key_set, run_key, run_keys, save
from hare_ray.leakage.phrasings import METHODS, UNCHECKED, Item, answered, in_context, joined, listed
from hare_ray.leakage.reworded import MAX_QUESTION_WORDS, PLAIN_WEIGHT
from hare_ray.text import Words, words_of

MAX_POSTINGS = 8
"""Questions that may share an anchor: a gram of more is a turn of phrase, and says little about either."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The fields of a LeakIndex that are numbers; they are documented there."""

    ngram: int
    min_words: int
    min_weight: float
    anchor_words: int
    anchors_per_question: int
    anchor_weight: float
    reworded_weight: float


@dataclass
class _Columns:
    """Rows that are gathered batch by batch, as equally long columns."""

    batches: list[tuple[NDArray, ...]] = field(default_factory=list)

    def add(self, *columns: NDArray) -> None:
        self.batches.append(columns)

    def joined(self, *types: type) -> list[NDArray]:
        """All rows; empty columns of these types where there are none."""
        if not self.batches:
            return [np.empty(0, kind) for kind in types]
        columns = zip(*self.batches, strict=True)
        return [np.concatenate(column).astype(kind) for column, kind in zip(columns, types, strict=True)]


def words_in(texts: list[str]) -> Words:
    """Their folded words."""
    return words_of(pa.array(texts, pa.large_string()), places=False)


def _chosen(
    words: NDArray[np.uint64], offsets: NDArray[np.int64], which: NDArray[np.bool_]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The words and offsets of some documents."""
    lengths = np.diff(offsets)
    return words[np.repeat(which, lengths)], np.concatenate([[0], np.cumsum(lengths[which])])


def _beginnings(words: Words, most: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """At most the first `most` words of every document, and offsets."""
    number = np.arange(len(words.hashes)) - np.repeat(words.offsets[:-1], words.lengths)
    return words.hashes[number < most], np.concatenate([[0], np.cumsum(np.minimum(words.lengths, most))])


class Builder:
    """Gathers the keys of one batch of items after another."""

    def __init__(self, settings: Settings, weights: Weights) -> None:
        self.settings, self.weights = settings, weights
        self.count = 0
        self.grams, self.exact, self.shorts = _Columns(), _Columns(), _Columns()
        self.postings, self.questions = _Columns(), _Columns()
        self.question_words, self.question_count = _Columns(), 0

    def add(self, items: list[Item]) -> tuple[list[str], NDArray[np.int32]]:
        """Hash the items; by which method each is searched for, and the words of its question."""
        numbers = np.arange(len(items)) + self.count
        self.count += len(items)
        question = words_in([item.question for item in items])
        whole = words_in([joined(item) for item in items])
        own = self._forms(question, numbers)
        long = question.lengths >= self.settings.ngram
        found = own | self._forms(whole, numbers)
        every = np.ones(len(items), bool)
        found |= self._many(items, numbers, answered, every)
        found |= self._many(items, numbers, in_context, every)
        found |= self._many(items, numbers, listed, ~long)
        self._reword((question, whole), numbers)
        self._reword((words_in([item.context or "" for item in items]),), numbers)
        method = np.select([long, own, found], METHODS[:3], UNCHECKED)
        return method.tolist(), question.lengths.astype(np.int32)

    def _many(
        self,
        items: list[Item],
        numbers: NDArray[np.int64],
        forms_of: Callable[[Item], list[str]],
        wanted: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Hash the forms of the wanted items; which items have one that is looked for."""
        forms = [forms_of(item) if wanted[i] else [] for i, item in enumerate(items)]
        rows = np.repeat(np.arange(len(items)), [len(some) for some in forms])
        found = self._forms(words_in([form for some in forms for form in some]), numbers[rows])
        return np.bincount(rows[found], minlength=len(items)) > 0

    def _forms(self, words: Words, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Hash one form per row; which of them are looked for."""
        settings, weights = self.settings, self.weights.of(words.hashes)
        keys, rows = run_keys(words.hashes, words.offsets, settings.ngram)
        self.grams.add(keys, items[rows])
        anchors = window_anchors(weights, words.offsets, settings.ngram, settings.anchor_words)
        self.exact.add(self._grams(words.hashes, anchors))
        lengths = words.lengths
        long = lengths >= settings.ngram
        short = ~long & (lengths >= settings.min_words) & (sums(weights, words.offsets) >= settings.min_weight)
        self._shorts(*_chosen(words.hashes, words.offsets, short), items[short])
        return long | short

    def _shorts(self, words: NDArray[np.uint64], offsets: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        starts, _ = spread_anchors(self.weights.of(words), offsets, 1, self.settings.anchor_words)
        lengths = np.diff(offsets)
        keys = [run_key(words, first, length) for first, length in zip(offsets[:-1], lengths, strict=True)]
        gram = self._grams(words, starts)
        self.shorts.add(gram, np.array(keys, np.uint64), lengths, starts - offsets[:-1], items)

    def _reword(self, forms: Iterable[Words], items: NDArray[np.int64]) -> None:
        """Add of every item the first form that has enough weight."""
        found = np.zeros(len(items), bool)
        for form in forms:
            words, offsets = _beginnings(form, MAX_QUESTION_WORDS)
            enough = sums(self.weights.of(words), offsets) >= self.settings.reworded_weight
            enough &= ~found & (form.lengths >= self.settings.anchor_words)
            self._questions(*_chosen(words, offsets, enough), items[enough])
            found |= enough

    def _questions(self, words: NDArray[np.uint64], offsets: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        settings, weights = self.settings, self.weights.of(words)
        starts, rows = spread_anchors(weights, offsets, settings.anchors_per_question, settings.anchor_words)
        heavy = gram_weights(weights, starts, settings.anchor_words) >= settings.anchor_weight
        starts, rows = starts[heavy], rows[heavy]
        self.postings.add(self._grams(words, starts), rows + self.question_count, starts - offsets[rows])
        self.questions.add(np.diff(offsets), items)
        self.question_words.add(words, weights + PLAIN_WEIGHT)
        self.question_count += len(items)

    def _grams(self, words: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Keys of the grams that start there."""
        room = max(0, len(words) - self.settings.anchor_words + 1)
        out = np.empty(room, np.uint64)
        grams(words, 0, room, self.settings.anchor_words, out)
        return out[starts]

    def save(self, folder: Path) -> NDArray[np.bool_]:
        """Write the arrays of the search; which items are looked for reworded, having an anchor that is rare enough."""
        keys, owners = self.grams.joined(np.uint64, np.int32)
        unique, first = np.unique(keys, return_index=True)
        save(key_set(unique), folder, "gram")
        np.save(folder / "gram_owners.npy", owners[first])

        (exact,) = self.exact.joined(np.uint64)
        shorts = self.shorts.joined(np.uint64, np.uint64, np.int32, np.int32, np.int32)
        postings = self.postings.joined(np.uint64, np.int32, np.int32)
        postings = [column[_rare(postings[0])] for column in postings]
        anchors = np.unique(np.concatenate([exact, shorts[0], postings[0]]))
        save(key_set(anchors), folder, "anchor")
        np.save(folder / "anchor_exact.npy", np.isin(anchors, exact))
        for name, columns, titles in (
            ("short", shorts, ("keys", "lengths", "offsets", "items")),
            ("posting", postings, ("questions", "offsets")),
        ):
            order = np.lexsort((*columns[:0:-1], columns[0]))
            starts = np.searchsorted(columns[0][order], anchors).astype(np.int32)
            np.save(folder / f"{name}_starts.npy", np.append(starts, np.int32(len(order))))
            for title, column in zip(titles, columns[1:], strict=True):
                np.save(folder / f"{name}_{title}.npy", column[order])
        reworded = np.zeros(self.count, bool)
        reworded[self._save_questions(folder)[postings[1]]] = True
        return reworded

    def _save_questions(self, folder: Path) -> NDArray[np.int32]:
        """Words in order, and different words with the heaviest first, of every question; their items."""
        lengths, items = self.questions.joined(np.int64, np.int32)
        words, weights = self.question_words.joined(np.uint64, np.float32)
        question = np.repeat(np.arange(len(items)), lengths)
        order = np.lexsort((words, question))
        new = np.ones(len(words), bool)
        new[1:] = (words[order][1:] != words[order][:-1]) | (question[order][1:] != question[order][:-1])
        group = np.cumsum(new) - 1
        different, owner = words[order][new], question[order][new]
        together = np.bincount(group, weights[order], len(different)).astype(np.float32)
        heaviest = np.lexsort((different, -together, owner))
        arrays = {
            "starts": np.concatenate([[0], np.cumsum(lengths)]),
            "words": words,
            "weights": weights,
            "bag_starts": np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(items)))]),
            "bag_words": different[heaviest],
            "bag_weights": together[heaviest],
            "totals": np.bincount(question, weights, len(items)).astype(np.float32),
            "items": items,
        }
        for name, values in arrays.items():
            np.save(folder / f"question_{name}.npy", values)
        return items


def _rare(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows have a key of at most MAX_POSTINGS rows."""
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[place] <= MAX_POSTINGS
