"""What is said of a document that was searched for benchmark items, and by which rule it is dropped.

    text  ->  leak_benchmark, leak_split, leak_item   the item found, null where none
              leak_method                             ngram, short_exact or reworded
              leak_overlap float32                    n-grams of the document that are in the index / its n-grams
              leak_snippet                            the document around the place
              reason, detail                          null, or why it is dropped; "benchmark/split/item id"

    leaked_ngram        at least `min_hits` n-grams in common, where max_overlap is 0. Web text: n = 13 and
                        min_hits = 1, GPT-3's rule (Brown et al. 2020, appendix C)
    leaked_overlap      the same, and more than max_overlap of the document's n-grams: HARE's rule for synthetic text,
                        max_overlap = 0.5
    leaked_short_item   an item shorter than n words stands there whole, in a form of its own
    leaked_reworded     `reworded_share` of the weight of a question stands there in order

HARE's rule leaves points open; here the rate is the share of the text's n-grams, since it is texts that are dropped. It
is against the whole index and all its splits, because the paper says "all benchmark samples", and a text patched
together from many items is no better than a copy of one. Of its range of n the smallest decides, where a recipe wants
the whole range: an n-gram in common holds all shorter ones, so that the rate falls as n grows, and whatever passes at
the smallest passes at all. The item named is the one with most n-grams, the first of equals; short forms come before
reworded questions, and of these the one with the largest share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.schema import DETAIL, REASON

if TYPE_CHECKING:
    from hare_ray.leakage.scan import Found, Index
    from hare_ray.text import Words

LEAKED_NGRAM = "leaked_ngram"
LEAKED_OVERLAP = "leaked_overlap"
LEAKED_SHORT_ITEM = "leaked_short_item"
LEAKED_REWORDED = "leaked_reworded"

METHODS = ("ngram", "short_exact", "reworded")

SNIPPET_CHARS = 200

NO_ITEM = -1

LEAKS = pa.schema(
    [
        pa.field("leak_benchmark", pa.string()),
        pa.field("leak_split", pa.string()),
        pa.field("leak_item", pa.string()),
        pa.field("leak_method", pa.string()),
        pa.field("leak_overlap", pa.float32(), nullable=False),
        pa.field("leak_snippet", pa.string()),
        REASON,
        DETAIL,
    ]
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a document is dropped."""

    min_hits: int
    """N-grams in common, at least."""
    max_overlap: float
    """Share of the document's n-grams in common that is still kept."""
    reworded_share: float | None
    """Of the weight of a question, at least; None: reworded questions are not looked for."""

    def __post_init__(self) -> None:
        """Refuse thresholds under which nothing, or everything, would be dropped."""
        share = self.reworded_share
        if self.min_hits < 1 or not 0 <= self.max_overlap < 1 or not (share is None or 0 < share <= 1):
            raise ValueError(
                f"given min_hits={self.min_hits}, max_overlap={self.max_overlap}, reworded_share={share}; expected "
                "min_hits of at least 1, max_overlap from 0 to less than 1, and reworded_share above 0 up to 1, or None"
            )


@dataclass
class _Verdicts:
    """Per document the item found, by which method and where."""

    item: NDArray[np.int64]
    method: NDArray[np.int64]
    first: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def none(cls, documents: int) -> _Verdicts:
        return cls(*(np.full(documents, value, np.int64) for value in (NO_ITEM, NO_ITEM, 0, 0)))

    def name(self, found: Found, chosen: NDArray[np.int64], method: int, where: NDArray[np.bool_]) -> None:
        """Take over the chosen rows of `found` for their documents, where wanted."""
        chosen = chosen[where[found.documents[chosen]]]
        documents = found.documents[chosen]
        self.item[documents], self.method[documents] = found.items[chosen], method
        self.first[documents], self.length[documents] = found.firsts[chosen], found.lengths[chosen]


def leading(documents: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Per document with hits the first row of the item with most of them, the smallest number of equals."""
    _, first, hits = np.unique(documents << 32 | items, return_index=True, return_counts=True)
    order = np.lexsort((items[first], -hits, documents[first]))
    heads = documents[first][order]
    return first[order][np.concatenate([[True], heads[1:] != heads[:-1]])] if len(heads) else first


def best(found: Found) -> NDArray[np.int64]:
    """Per document with hits the row with the largest share, then the smallest item."""
    order = np.lexsort((found.firsts, found.items, -found.shares, found.documents))
    heads = found.documents[order]
    return order[np.concatenate([[True], heads[1:] != heads[:-1]])] if len(heads) else order


def _judged(index: Index, rule: Rule, words: Words) -> tuple[_Verdicts, NDArray[np.float64], NDArray]:
    """Verdicts, overlap and reason of every document; the reason is None where it stays."""
    hits = index.hits(words)
    count = len(words)
    verdicts = _Verdicts.none(count)
    reasons = np.full(count, None, object)
    ngrams = index.ngrams(words, hits)
    common = np.bincount(ngrams.documents, minlength=count)
    overlap = common / np.maximum(words.lengths - index.settings["ngram"] + 1, 1)
    dropped = (common >= rule.min_hits) & (overlap > rule.max_overlap)
    reasons[dropped] = LEAKED_OVERLAP if rule.max_overlap else LEAKED_NGRAM
    everywhere = np.ones(count, bool)
    verdicts.name(ngrams, leading(ngrams.documents, ngrams.items), 0, everywhere)
    later = [(index.short_forms(words, hits), LEAKED_SHORT_ITEM, 1)]
    if rule.reworded_share is not None:
        later.append((index.reworded(words, hits, rule.reworded_share), LEAKED_REWORDED, 2))
    for found, reason, method in later:
        here = np.zeros(count, bool)
        here[found.documents] = True
        here &= ~dropped
        verdicts.name(found, best(found), method, here)
        reasons[here] = reason
        dropped |= here
    return verdicts, overlap, reasons


def _snippets(text: pa.ChunkedArray, documents: NDArray[np.int64], verdicts: _Verdicts, words: Words) -> list[str]:
    """The text around the place, of these documents only."""
    from hare_ray.text import words_of

    some = text.take(pa.array(documents))
    places = words_of(some)
    first = verdicts.first[documents] - words.offsets[documents] + places.offsets[:-1]
    last = first + verdicts.length[documents] - 1
    found = []
    for body, begin, end in zip(some.to_pylist(), places.starts[first], places.ends[last], strict=True):
        data = body.encode()
        start = len(data[:begin].decode(errors="ignore"))
        stop = start + len(data[begin:end].decode(errors="ignore"))
        margin = max(0, SNIPPET_CHARS - (stop - start)) // 2
        found.append(body[max(0, start - margin) :][:SNIPPET_CHARS])
    return found


def checker(folder: Path, rule: Rule) -> Callable[[pa.Table], pa.Table]:
    """A function from documents with `text` to LEAKS, row for row, by the LeakIndex in `folder`."""
    from hare_ray.leakage.scan import Index
    from hare_ray.text import table_words

    index = Index.of(folder)
    items = [index.items.column(name).combine_chunks() for name in ("benchmark", "split", "id")]
    methods = pa.array(METHODS, pa.string())

    def check(docs: pa.Table) -> pa.Table:
        words = table_words(docs)
        verdicts, overlap, reasons = _judged(index, rule, words)
        none = verdicts.item == NO_ITEM
        item = pa.array(verdicts.item, mask=none)
        names = [column.take(item) for column in items]
        places = np.flatnonzero(~none)
        snippets = np.full(len(none), None, object)
        snippets[places] = _snippets(docs.column("text"), places, verdicts, words)
        details = np.full(len(none), None, object)
        for place in np.flatnonzero([reason is not None for reason in reasons]):
            details[place] = "/".join(str(column[int(place)]) for column in names)
        columns = [
            *names,
            methods.take(pa.array(verdicts.method, mask=none)),
            pa.array(overlap.astype(np.float32)),
            pa.array(snippets, pa.string()),
            pa.array(reasons, pa.string()),
            pa.array(details, pa.string()),
        ]
        return pa.table(columns, schema=LEAKS)

    return check
