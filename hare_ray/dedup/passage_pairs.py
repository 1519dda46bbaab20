"""From passages sorted by hash to pairs of documents that share some, and from these to who contains whom.

Pure functions of packed records. In a run of equal hashes documents stand in order of id; each but the first is paired
with the first and with the `BEFORE` before it, which is linear where all pairs would be quadratic: of passages that at
most five documents have, and these tell most, no pair is missed.

A notice that every page of a crawl has is one such run. Passages that are too many at once come in pieces by id,
smallest first, and what a later piece may be paired with is carried on: of every run the first document and the last
`BEFORE`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hare_ray.dedup.runs import sorted_order, starts

PASSAGE = np.dtype([("hash", "u8"), ("id", "u8"), ("row", "u4"), ("place", "u4"), ("words", "u4"), ("weight", "u4")])
"""`id`: the first half, which as a hash is unique enough: if two documents with one passage met in it, both would keep
theirs. `row`: within the group of parts; `place`: number of the passage in its document; `words`: of the document;
`weight`: words of the passage."""

_OWN = ("row", "place", "weight", "words")

PLACE = np.dtype([(name, PASSAGE[name]) for name in _OWN])
"""A passage that goes."""

PAIR = np.dtype(
    [
        ("id", "u8"),
        ("other_id", "u8"),
        *((name, "u4") for name in (*_OWN, "other_group", "other_row", "other_words")),
        ("goes", "u4"),
    ]
)
"""A passage's place, and another document that holds the passage."""

CONTAINED = np.dtype(
    [("other_id", "u8"), *((name, "u4") for name in ("group", "row", "words", "shared", "other_group", "other_row"))]
)
"""A document of `words` words, and another one that holds `shared` of them."""

Holders = tuple[NDArray[np.uint64], NDArray[np.int64]]
"""Hashes of passages, and how many documents have each."""

Groups = NDArray[np.uint32]
"""Numbers of groups of parts."""

BEFORE = 3
"""Holders of a passage before a document, in order of id, that it is paired with, beside the first."""

BYTES_PER_PASSAGE = 3 * PASSAGE.itemsize + 2 * (1 + BEFORE) * PAIR.itemsize
"""As read, joined and sorted, and, where all are shared, the pairs and their sorted copy."""


def places_only(records: NDArray) -> NDArray:
    """Records as PLACE."""
    places = np.empty(len(records), PLACE)
    for name in _OWN:
        places[name] = records[name]
    return places


def holders_of(records: NDArray) -> Holders:
    """How many documents have each passage, those of one document first."""
    order, hashes = sorted_order(records["hash"])
    same = np.diff(hashes) == 0
    many = np.zeros(len(order), bool)
    many[1:] |= same
    many[:-1] |= same
    ids, found = records["id"][order[many]], hashes[many]
    by_id = np.lexsort((ids, found))
    found, counts = np.unique(found[starts(found[by_id], ids[by_id])], return_counts=True)
    alone = hashes[~many]
    return np.concatenate([alone, found]), np.concatenate([np.ones(len(alone), np.int64), counts])


def shared_of(found: Iterable[Holders]) -> Holders:
    """The passages that several documents have, by hash; the pieces have no document in common."""
    hashes, counts = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order, hashes = sorted_order(hashes)
    begins = np.flatnonzero(starts(hashes))
    if len(begins) == 0:
        return hashes, counts
    counts = np.add.reduceat(counts[order], begins)
    return hashes[begins][counts > 1], counts[counts > 1]


@dataclass(frozen=True)
class Shared:
    """Records of shared passages, by hash, id, group and row."""

    records: NDArray
    groups: Groups
    holders: NDArray[np.int64]
    """How many documents have the passage."""
    fresh: NDArray[np.bool_]
    """Not carried on from an earlier piece."""

    def __len__(self) -> int:
        return len(self.records)


def shared_only(records: NDArray, groups: Groups, carried: int, shared: Holders) -> Shared:
    """The records of shared passages; the first `carried` ones are of earlier pieces."""
    hashes, holders = shared
    at = np.searchsorted(hashes, records["hash"])
    chosen = np.flatnonzero(np.append(hashes, 0)[at] == records["hash"]) if len(hashes) else np.empty(0, np.int64)
    keys = records["id"][chosen], records["hash"][chosen]
    order = chosen[np.lexsort(keys)]  # stable: group and row are in order already
    return Shared(records[order], groups[order], holders[at[order]], order >= carried)


def pairs_of(shared: Shared, max_documents: int) -> tuple[NDArray, Groups]:
    """Pairs of what is fresh with what is before it, and the group of each one's place."""
    records, groups = shared.records, shared.groups
    if len(records) == 0:
        return np.empty(0, PAIR), groups
    begins, document_begins = starts(records["hash"]), starts(records["hash"], records["id"])
    run, document = np.cumsum(begins) - 1, np.cumsum(document_begins) - 1
    first_document = document[begins]
    heads = np.flatnonzero(document_begins)  # of rows with one id, the first speaks for the document
    later = np.flatnonzero((document > first_document[run]) & shared.fresh)
    first = first_document[run[later]]
    mine, others = [later], [first]
    for back in range(1, BEFORE + 1):
        between = document[later] - back > first
        mine.append(later[between])
        others.append(document[mine[-1]] - back)
    mine, theirs = np.concatenate(mine), heads[np.concatenate(others)]
    pairs = np.zeros(len(mine), PAIR)
    for name in (*_OWN, "id"):
        pairs[name] = records[name][mine]
    for name in ("id", "row", "words"):
        pairs[f"other_{name}"] = records[name][theirs]
    pairs["other_group"] = groups[theirs]
    pairs["goes"][: len(later)] = shared.holders[later] > max_documents
    return pairs, groups[mine]


def carried_of(shared: Shared) -> tuple[NDArray, Groups]:
    """What a later piece may be paired with, and its groups."""
    heads = np.flatnonzero(starts(shared.records["hash"], shared.records["id"]))
    begins = np.flatnonzero(starts(shared.records["hash"][heads]))
    lengths = np.diff(np.append(begins, len(heads)))
    after = np.repeat(begins + lengths, lengths) - np.arange(len(heads))
    kept = after <= BEFORE
    kept[begins] = True
    return shared.records[heads[kept]], shared.groups[heads[kept]]


def contained_of(pairs: NDArray, group: int, min_share: float) -> NDArray:
    """Of all pairs of one group's places: documents with `min_share` of their words in another, the best one each."""
    if len(pairs) == 0:
        return np.empty(0, CONTAINED)
    pairs = pairs[np.lexsort((pairs["other_id"], pairs["row"]))]
    heads = np.flatnonzero(starts(pairs["row"], pairs["other_id"]))
    shared = np.add.reduceat(pairs["weight"], heads, dtype=np.int64)
    pairs = pairs[heads]
    inner = shared >= min_share * pairs["words"]
    outer = shared >= min_share * pairs["other_words"]
    found = np.zeros(int(inner.sum() + outer.sum()), CONTAINED)
    mine, theirs = found[: inner.sum()], found[inner.sum() :]
    mine["group"], theirs["other_group"] = group, group
    mine["shared"], theirs["shared"] = shared[inner], shared[outer]
    for name in ("row", "words"):
        mine[name], theirs[name] = pairs[name][inner], pairs[f"other_{name}"][outer]
    for name in ("id", "row"):
        mine[f"other_{name}"], theirs[f"other_{name}"] = pairs[f"other_{name}"][inner], pairs[name][outer]
    mine["other_group"], theirs["group"] = pairs["other_group"][inner], pairs["other_group"][outer]
    return best(found)


def best(found: NDArray) -> NDArray:
    """Of every contained document the one that holds most of its words; of several, that of the smallest id."""
    order = np.lexsort((found["other_id"], -found["shared"].astype(np.int64), found["row"], found["group"]))
    found = found[order]
    return found[starts(found["group"], found["row"])]
