"""Which documents hold benchmark items, by the folded words they have in common.

    text  ->  leak_benchmark string   benchmark of the item found, null where none
              leak_overlap float32    n-grams of the document that are in the index / n-grams of the document
              reason, detail          leaked_ngram or leaked_short_item; "benchmark/item id"

leaked_ngram: at least `min_hits` n-grams are in the index and the overlap is above `max_overlap`. For web
text that is min_hits=1, max_overlap=0: any 13 words in a row in common with an item drop the page (GPT-3's
rule and n). The HARE paper's rule for synthetic text is n of 10 to 15 (or 4 to 8) and max_overlap=0.5.
leaked_short_item: a question shorter than n words occurs whole, in order. The item named is the one with
most hits, the first of equals.

Cost: one rolling hash and one bit per word and n-gram (`hare_ray.leakage.lookup`). Short items are looked
for by their first min_words words; only where these occur are the windows of all their lengths compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Annotate, Files, Make, PartFunction, Table

if TYPE_CHECKING:
    from hare_ray.leakage.lookup import KeySet
    from hare_ray.text import Words

LEAKED_NGRAM = "leaked_ngram"
LEAKED_SHORT_ITEM = "leaked_short_item"

NO_ITEM = -1


@dataclass(frozen=True)
class Loaded:
    """A leak index in memory."""

    ngram: int
    min_words: int
    grams: KeySet
    shorts: KeySet
    anchors: KeySet
    lengths: list[int]
    benchmarks: pa.Array
    names: pa.Array

    @classmethod
    def of(cls, folder: Path) -> Loaded:
        """Read the files of a LeakIndex."""
        from hare_ray.leakage.lookup import KeySet

        settings = json.loads((folder / "settings.json").read_text())
        items = pq.read_table(folder / "items.parquet", columns=["benchmark", "id"]).combine_chunks()
        benchmarks, ids = (items.column(name).combine_chunks() for name in ("benchmark", "id"))
        anchors = np.load(folder / "short_anchors.npy")
        names = [f"{one}/{two}" for one, two in zip(benchmarks.to_pylist(), ids.to_pylist(), strict=True)]
        return cls(
            settings["ngram"],
            settings["min_words"],
            KeySet.of(np.load(folder / "keys.npy"), np.load(folder / "owners.npy")),
            KeySet.of(np.load(folder / "short_keys.npy"), np.load(folder / "short_owners.npy")),
            KeySet.of(anchors, np.zeros(len(anchors), np.int32)),
            np.load(folder / "short_lengths.npy").tolist(),
            benchmarks,
            pa.array(names, pa.string()),
        )

    def ngram_hits(self, words: Words) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """Document and item of every n-gram found, and the number of n-grams per document."""
        from hare_ray.text import ngram_hashes

        offsets, hashes = ngram_hashes(words, self.ngram)
        at, items = self.grams.hits(hashes)
        return np.searchsorted(offsets, at, side="right") - 1, items, np.diff(offsets)

    def short_hits(self, words: Words) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Document and item of every short item found."""
        from hare_ray.text import Words, ngram_hashes

        if not self.lengths:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        offsets, hashes = ngram_hashes(words, self.min_words)
        at, _ = self.anchors.hits(hashes)
        document = np.searchsorted(offsets, at, side="right") - 1
        first = words.offsets[document] + at - offsets[document]
        documents, items = [], []
        for length in self.lengths:
            fits = first + length <= words.offsets[document + 1]
            windows = words.hashes[first[fits, None] + np.arange(length)]
            edges = np.arange(len(windows) + 1) * length
            none = np.empty(0, np.int32)
            found, owners = self.shorts.hits(ngram_hashes(Words(edges, windows.ravel(), none, none), length)[1])
            documents.append(document[fits][found])
            items.append(owners)
        return np.concatenate(documents), np.concatenate(items)


def leading(documents: NDArray[np.int64], items: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Per document the item with most hits, the smallest of equals; NO_ITEM without hits."""
    out = np.full(count, NO_ITEM, np.int64)
    pairs, hits = np.unique(documents << 32 | items, return_counts=True)
    order = np.lexsort((pairs, -hits))[::-1]  # Written in this order, the best of a document comes last.
    out[pairs[order] >> 32] = pairs[order] & 0xFFFFFFFF
    return out


class Decontaminate(Annotate):
    """Drops documents that hold benchmark items."""

    docs: Table
    index: Make
    """A LeakIndex."""
    min_hits: int
    """N-grams in common, at least, for a document to be dropped."""
    max_overlap: float
    """Share of the document's n-grams in common that is still kept."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    reads: ClassVar[tuple[str, ...] | None] = ("text",)
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("leak_benchmark", pa.string()),
            pa.field("leak_overlap", pa.float32(), nullable=False),
            REASON,
            DETAIL,
        ]
    )

    def __post_init__(self) -> None:
        """Refuse thresholds under which nothing, or everything, would be dropped."""
        super().__post_init__()
        if self.min_hits < 1 or not 0 <= self.max_overlap < 1:
            raise ValueError(
                f"{self!r}: given min_hits={self.min_hits}, max_overlap={self.max_overlap}, "
                "expected min_hits of at least 1 and max_overlap from 0 to less than 1"
            )

    def prepare(self, files: Files) -> PartFunction:
        """Load the index."""
        from hare_ray.text import words_of

        index = Loaded.of(files(self.index))

        def check(docs: pa.Table) -> pa.Table:
            words = words_of(docs.column("text"))
            documents, items, grams = index.ngram_hits(words)
            hits = np.bincount(documents, minlength=len(words))
            overlap = hits / np.maximum(grams, 1)
            by_ngram = (hits >= self.min_hits) & (overlap > self.max_overlap)
            item = leading(documents, items, len(words))
            short_item = leading(*index.short_hits(words), len(words))
            by_short = ~by_ngram & (short_item != NO_ITEM)
            item = np.where(by_short | (item == NO_ITEM), short_item, item)
            reason = np.where(by_ngram, LEAKED_NGRAM, LEAKED_SHORT_ITEM).astype(object)
            dropped = by_ngram | by_short
            columns = [
                index.benchmarks.take(pa.array(item, mask=item == NO_ITEM)),
                pa.array(overlap.astype(np.float32)),
                pa.array(reason, pa.string(), mask=~dropped),
                index.names.take(pa.array(item, mask=~dropped)),
            ]
            return pa.table(columns, schema=self.writes)

        return check
