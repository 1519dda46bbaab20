"""From passages sorted by hash to pairs of documents that share some, and from these to who contains whom.

Pure functions of packed records. In a run of equal hashes documents stand in order of id; each but the first is paired
with the first and with the `BEFORE` before it, which is linear where all pairs would be quadratic: of passages that at
most five documents have, and these tell most, no pair is missed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.dedup.runs import sorted_order
from hare_ray.dedup.spills import starts

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


def shared_only(records: NDArray, groups: Groups) -> tuple[NDArray, Groups]:
    """Passages whose hash comes more than once, by hash, id, group and row."""
    order, hashes = sorted_order(records["hash"])
    same = np.diff(hashes) == 0
    shared = np.zeros(len(order), bool)
    shared[1:] |= same
    shared[:-1] |= same
    records, groups = records[order[shared]], groups[order[shared]]
    order = np.lexsort((records["id"], records["hash"]))  # stable: group and row are in order already
    return records[order], groups[order]


def pairs_of(
    records: NDArray, groups: NDArray[np.uint32], max_documents: int
) -> tuple[NDArray, NDArray[np.uint32], int]:
    """Pairs, the group of each one's place, and the number of passages that several documents have."""
    records, groups = shared_only(records, groups)
    if len(records) == 0:
        return np.empty(0, PAIR), groups, 0
    begins, document_begins = starts(records["hash"]), starts(records["hash"], records["id"])
    run, document = np.cumsum(begins) - 1, np.cumsum(document_begins) - 1
    first_document = document[begins]
    holders = np.diff(np.append(first_document, document[-1] + 1))
    heads = np.flatnonzero(document_begins)  # of rows with one id, the first speaks for the document
    later = np.flatnonzero(document > first_document[run])
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
    pairs["goes"][: len(later)] = holders[run[later]] > max_documents
    return pairs, groups[mine], int(np.count_nonzero(holders > 1))


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
