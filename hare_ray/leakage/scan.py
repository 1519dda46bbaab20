"""The search of documents for the items of a LeakIndex, from the hashes of their words.

    words -> n-grams in the index, whole short forms, reworded questions: document, first word, words, item, share

One pass looks for anchors at every word (`hare_ray.leakage.lookup`); all three methods only look around those. It is
lossless for n-grams: each of the index's holds an anchor, so around an anchor all n-grams are looked up, and what no
anchor lies in is in no item. The arrays of an index are mapped: workers of one machine share them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.leakage.lookup import BASE, KeySet, find_grams, load, mapped, may_hold, place_of, run_key
from hare_ray.leakage.reworded import FIRST_ROOM, Found, Questions, reworded_questions
from hare_ray.text import Words


class Shorts(NamedTuple):
    """Whole forms by anchor."""

    starts: NDArray[np.int32]
    keys: NDArray[np.uint64]
    lengths: NDArray[np.int32]
    offsets: NDArray[np.int32]
    items: NDArray[np.int32]


Hits = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]
"""First word, number of the anchor, and document."""


@njit
def known_runs(
    words: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    hits: Hits,
    n: int,
    gram: int,
    grams: KeySet,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """First word, document and key number of every run of n words around a hit that is in the set, each once."""
    room = len(hits[0]) * (n - gram + 1)
    firsts, documents, places = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    drop = np.uint64(1)
    for _ in range(n - 1):
        drop *= BASE
    count, done = 0, np.int64(0)
    for hit in range(len(hits[0])):
        at, document = hits[0][hit], hits[2][hit]
        start = max(at - (n - gram), offsets[document], done)
        stop = min(at + 1, offsets[document + 1] - n + 1)
        if start >= stop:
            continue
        key = run_key(words, start, n)
        for first in range(start, stop):
            if may_hold(grams.cool, key):
                place = place_of(grams.keys, grams.starts, key)
                if place >= 0:
                    firsts[count], documents[count], places[count] = first, document, place
                    count += 1
            if first + 1 < stop:
                key = (key - words[first] * drop) * BASE + words[first + n]
        done = stop
    return firsts[:count], documents[:count], places[:count]


@njit
def whole_forms(words: NDArray[np.uint64], offsets: NDArray[np.int64], hits: Hits, shorts: Shorts) -> NDArray[np.int64]:
    """Document, first word, words and item of every form that stands around a hit."""
    rows, count = np.empty((FIRST_ROOM, 4), np.int64), 0
    for hit in range(len(hits[0])):
        at, anchor, document = hits[0][hit], hits[1][hit], hits[2][hit]
        for form in range(shorts.starts[anchor], shorts.starts[anchor + 1]):
            first, length = at - shorts.offsets[form], np.int64(shorts.lengths[form])
            inside = first >= offsets[document] and first + length <= offsets[document + 1]
            if inside and run_key(words, first, length) == shorts.keys[form]:
                if count == len(rows):
                    rows = np.concatenate((rows, rows))
                rows[count, 0], rows[count, 1] = document, first
                rows[count, 2], rows[count, 3] = length, shorts.items[form]
                count += 1
    return rows[:count]


@dataclass(frozen=True)
class Index:
    """A LeakIndex, mapped into memory."""

    settings: dict[str, Any]
    anchors: KeySet
    exact: NDArray[np.bool_]
    grams: KeySet
    owners: NDArray[np.int32]
    shorts: Shorts
    questions: Questions
    items: pa.Table

    @classmethod
    def of(cls, folder: Path) -> Index:
        """Map the files of a LeakIndex."""
        items = pq.read_table(folder / "items.parquet", columns=["benchmark", "split", "id"]).combine_chunks()
        shorts = [mapped(folder / f"short_{name}.npy") for name in Shorts._fields]
        questions = [
            mapped(folder / (f"{name}.npy" if name.startswith("posting") else f"question_{name}.npy"))
            for name in Questions._fields
        ]
        return cls(
            json.loads((folder / "settings.json").read_text()),
            load(folder, "anchor"),
            mapped(folder / "anchor_exact.npy"),
            load(folder, "gram"),
            mapped(folder / "gram_owners.npy"),
            Shorts(*shorts),
            Questions(*questions),
            items,
        )

    def hits(self, words: Words) -> Hits:
        """Every anchor that lies within one document."""
        gram = self.settings["anchor_words"]
        at, anchors = find_grams(words.hashes, gram, self.anchors)
        documents = np.searchsorted(words.offsets, at, side="right") - 1
        inside = at + gram <= words.offsets[documents + 1]
        return at[inside], anchors[inside], documents[inside]

    def ngrams(self, words: Words, hits: Hits) -> Found:
        """Every n-gram that is in the index."""
        n = self.settings["ngram"]
        exact = self.exact[hits[1]]
        some = (hits[0][exact], hits[1][exact], hits[2][exact])
        runs = known_runs(words.hashes, words.offsets, some, n, self.settings["anchor_words"], self.grams)
        firsts, documents, places = runs
        items = self.owners[places].astype(np.int64)
        return Found(documents, firsts, np.full(len(firsts), n), items, np.ones(len(firsts), np.float32))

    def short_forms(self, words: Words, hits: Hits) -> Found:
        """Every whole short form."""
        rows = whole_forms(words.hashes, words.offsets, hits, self.shorts)
        return Found(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], np.ones(len(rows), np.float32))

    def reworded(self, words: Words, hits: Hits, least: float) -> Found:
        """Every question of which `least` of its weight stands in a window, in order."""
        return reworded_questions(words.hashes, words.offsets, hits, self.questions, least)
