"""What each topic is about: its words and its most typical documents.

    text, cluster, similarity -> labels.json
        [{"cluster", "label", "words", "rows", "urls", "titles"}], largest cluster first

Words by class-based TF-IDF: all documents of a cluster count as one.

    score(word, cluster) = share of its documents with the word * log(1 + clusters / sum of these shares)

Counted is in how many documents a word stands, not how often: one book must not name its topic after its
hero. Read are the `documents_per_cluster` documents nearest to each centroid: the middle of a topic names
it best, and memory is bounded by that many vocabularies (and 24 bytes per row of the table to find them).
Of equal scores the first in the alphabet wins. A topic without words, all numbers or empty pages, is called
"topic 7". Counting is Arrow's: no Python object per word.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.cluster.kmeans import check_one_base, edges_of, take
from hare_ray.stage import Make, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

LABELS = "labels.json"

CHARACTERS_READ = 8_000
"""Of a document: more says nothing new about its topic."""

ENDINGS = "['\u2019]\\p{L}*"
"""What follows an apostrophe: the s of possessives, the t of negations."""

BETWEEN_WORDS = r"\P{L}+"
"""Words are runs of letters: numbers name nothing."""

MIN_LETTERS = 3

MIN_DOCUMENTS = 2
"""A word of one document is not a topic's word, where more documents than that were read."""


class LabelClusters(Make):
    """Words, examples and size of every topic that has documents."""

    docs: Table
    clusters: Table
    """An Assign."""
    words_per_label: int
    nearest: int
    """Documents shown per topic."""
    documents_per_cluster: int
    """Documents read per topic."""

    imports: ClassVar[tuple[str, ...]] = ("sklearn",)

    def __post_init__(self) -> None:
        """Refuse tables that do not belong together and numbers that mean nothing."""
        check_one_base(self, self.docs, self.clusters)
        for name in ("words_per_label", "nearest", "documents_per_cluster"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")

    def make(self, desk: Desk) -> dict[str, int]:
        """Find the documents nearest to each centroid, count their words, write the labels."""
        parts = desk.map(partial(_assigned, desk, self.clusters), range(desk.parts(self.clusters)))
        cluster = np.concatenate([np.empty(0, np.int32), *(part[0] for part in parts)])
        similarity = np.concatenate([np.empty(0, np.float32), *(part[1] for part in parts)])
        rows, rank = nearest_first(cluster, similarity)
        read = np.sort(rows[rank < self.documents_per_cluster])
        edges = edges_of(desk, self.docs)
        cuts = np.searchsorted(read, edges)
        chunks = [read[start:stop] for start, stop in pairwise(cuts)]
        items = [(part, at - edges[part], cluster[at]) for part, at in enumerate(chunks) if len(at)]
        counts = pa.concat_tables([_NO_WORDS.empty_table(), *desk.map(partial(_count, desk, self.docs), items)])
        words = top_words(counts, np.bincount(cluster[read]), self.words_per_label)
        shown = rows[rank < self.nearest]
        seen = take(desk, self.docs, np.sort(shown), ("url", "title"))
        seen = seen.take(pa.array(np.argsort(np.argsort(shown))))  # back to cluster by cluster, nearest first
        labels = _labels(cluster, cluster[shown], words, seen)
        (desk.folder / LABELS).write_text(json.dumps(labels, indent=1) + "\n")
        return {"rows": len(cluster), "read": len(read)}


def _labels(
    cluster: NDArray[np.int32], of_shown: NDArray[np.int32], words: dict[int, list[str]], seen: pa.Table
) -> list[dict[str, object]]:
    names, sizes = np.unique(cluster, return_counts=True)
    starts = np.searchsorted(of_shown, names, side="left")
    stops = np.searchsorted(of_shown, names, side="right")
    labels = []
    for at in np.lexsort((names, -sizes)):
        name = int(names[at])
        mine = words.get(name, [])
        examples = seen.slice(int(starts[at]), int(stops[at] - starts[at]))
        labels.append(
            {
                "cluster": name,
                "label": ", ".join(mine) or f"topic {name}",
                "words": mine,
                "rows": int(sizes[at]),
                "urls": examples.column("url").to_pylist(),
                "titles": examples.column("title").to_pylist(),
            }
        )
    return labels


def _assigned(desk: Desk, stage: Table, part: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    table = desk.read(stage, part, ("cluster", "similarity"))
    return table.column("cluster").to_numpy(), table.column("similarity").to_numpy()


def nearest_first(
    cluster: NDArray[np.int32], similarity: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All rows, cluster by cluster, nearest first (ties in order), and the rank of each in its cluster."""
    rows = np.lexsort((-similarity, cluster))
    ordered = cluster[rows]
    return rows, np.arange(len(rows)) - np.searchsorted(ordered, ordered)


_NO_WORDS = pa.schema([("cluster", pa.int32()), ("word", pa.large_string()), ("documents", pa.int64())])


def _count(desk: Desk, docs: Table, item: tuple[int, NDArray[np.int64], NDArray[np.int32]]) -> pa.Table:
    part, rows, clusters = item
    return count_words(desk.read(docs, part, ("text",)).column("text").take(pa.array(rows)), clusters)


def count_words(texts: pa.ChunkedArray, clusters: NDArray[np.int32]) -> pa.Table:
    """Per cluster and word, the number of documents that have the word."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    head = pc.utf8_slice_codeunits(pc.fill_null(texts.cast(pa.large_string()), ""), 0, CHARACTERS_READ)
    plain = pc.replace_substring_regex(pc.utf8_lower(head), ENDINGS, " ")
    lists = pc.split_pattern_regex(plain, BETWEEN_WORDS).combine_chunks()
    words = pa.table({"document": pc.list_parent_indices(lists), "word": pc.list_flatten(lists)})
    stop = pa.array(sorted(ENGLISH_STOP_WORDS), pa.large_string())
    short = pc.less(pc.utf8_length(words.column("word")), MIN_LETTERS)
    words = words.filter(pc.invert(pc.or_(short, pc.is_in(words.column("word"), stop))))
    once = words.group_by(["document", "word"], use_threads=False).aggregate([])
    of_word = pa.array(clusters[once.column("document").to_numpy()], pa.int32())
    grouped = pa.table({"cluster": of_word, "word": once.column("word")}).group_by(
        ["cluster", "word"], use_threads=False
    )
    return grouped.aggregate([([], "count_all")]).rename_columns(_NO_WORDS.names).cast(_NO_WORDS)


def top_words(counts: pa.Table, documents_read: NDArray[np.int64], wanted: int) -> dict[int, list[str]]:
    """Per cluster its words of highest score, best first; `counts` may hold a word several times."""
    summed = counts.group_by(["cluster", "word"], use_threads=False).aggregate([("documents", "sum")])
    cluster = summed.column("cluster").to_numpy()
    documents = summed.column("documents_sum").to_numpy()
    word = summed.column("word").combine_chunks().dictionary_encode()
    codes = word.indices.to_numpy()
    share = documents / documents_read[cluster]
    everywhere = np.bincount(codes, weights=share)[codes]
    score = share * np.log1p(np.count_nonzero(documents_read) / everywhere)
    enough = (documents >= MIN_DOCUMENTS) | (documents_read[cluster] <= MIN_DOCUMENTS)
    alphabet = pc.rank(word.dictionary, tiebreaker="dense").to_numpy()
    order = np.lexsort((alphabet[codes], -score, cluster))
    order = order[enough[order]]
    ordered = cluster[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    best = order[rank < wanted]
    texts = word.dictionary.take(pa.array(codes[best])).to_pylist()
    found: dict[int, list[str]] = {}
    for name, text in zip(cluster[best].tolist(), texts, strict=True):
        found.setdefault(name, []).append(text)
    return found
