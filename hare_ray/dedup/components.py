"""Connected components of texts under "is a copy of", by union-find over arrays.

    parent integer[texts], edges (a, b)  ->  label of a text = smallest number of its component

Union points the larger root to the smaller one and finding halves paths, so the label does not depend on the order of
the edges, and edges may come in any number of batches. One integer per text is held, 4 bytes below 2^32 texts and 8
above, and a byte while labels are written, in one process; a billion texts take 5 GB, or 14 with other evidence.
A distributed algorithm (alternating stars) would need a dozen shuffles of all edges instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hare_ray.dedup.door import door_edges
from hare_ray.dedup.plan import Work
from hare_ray.dedup.runs import Layout, pack, unpack
from hare_ray.dedup.texts import same_texts
from hare_ray.kernel import njit

Parents = NDArray[np.uint32 | np.int64]

NO_KIND = 255
"""Of a text that no other evidence speaks of."""


def singletons(rows: int) -> Parents:
    """Every row a component of its own."""
    return np.arange(rows, dtype=np.uint32 if rows < 1 << 32 else np.int64)


@njit
def _root(parent: Parents, row: np.int64) -> np.int64:
    while np.int64(parent[row]) != row:
        parent[row] = parent[np.int64(parent[row])]
        row = np.int64(parent[row])
    return row


@njit
def join(parent: Parents, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
    """Unite first[i] and second[i] for every i, in place."""
    for i in range(len(first)):
        a, b = _root(parent, np.int64(first[i])), _root(parent, np.int64(second[i]))
        if a < b:
            parent[b] = a
        else:
            parent[a] = b


@njit
def flatten(parent: Parents) -> None:
    """Give every row the smallest row of its component, in place: no parent is larger than its child."""
    for row in range(len(parent)):
        parent[row] = parent[np.int64(parent[row])]


@njit
def strongest(
    best: NDArray[np.float32],
    kinds: NDArray[np.uint8],
    labels: NDArray[np.int64],
    similarity: NDArray[np.float32],
    kind: NDArray[np.uint8],
) -> None:
    """Note for every label its largest similarity and the kind of evidence; of equal ones the smaller kind."""
    for i in range(len(labels)):
        label, value = labels[i], similarity[i]
        old = kinds[label]
        if old == NO_KIND or value > best[label] or (value == best[label] and kind[i] < old):
            best[label], kinds[label] = value, kind[i]


def labels_layout(work: Work) -> Layout:
    """Label by all evidence, label by our own, rank in its place, strongest kind of other evidence."""
    return ((work.plan.number, 1), (work.plan.number, 1), ("u4", 1), ("u1", 1))


def own_edges(work: Work) -> Iterator[tuple[NDArray, NDArray]]:
    """Edges by exact hash, id and sketch, in batches."""
    number = work.plan.number
    for partition in range(work.plan.partitions):
        yield same_texts(work, partition)
        for kind in ("id_edge", "edge"):
            first, second = unpack(work.get(f"{kind}-{partition}"), ((number, 1), (number, 1)))
            yield first, second


def connect(work: Work) -> None:
    """Join all edges and write, per place, the texts in components of two and more with their labels."""
    core = singletons(work.plan.starts[-1])
    for first, second in own_edges(work):
        join(core, first, second)
    flatten(core)
    label, kinds = core, np.empty(0, np.uint8)
    if work.edges:
        label, kinds = core.copy(), np.full(len(core), NO_KIND, np.uint8)
        best = np.zeros(len(core), np.float32)
        for group in range(len(work.plan.groups)):
            first, second, similarity, kind = door_edges(work, group)
            one, two = core[first].astype(np.int64), core[second].astype(np.int64)
            similarity = np.nan_to_num(similarity, nan=-np.inf)
            join(label, one, two)
            for side in (one, two):
                strongest(best, kinds, side, similarity, kind)
        flatten(label)
    _write_labels(work, label, core, kinds)


def _write_labels(work: Work, label: Parents, core: Parents, kinds: NDArray[np.uint8]) -> None:
    starts = work.plan.starts
    heads = np.zeros(len(label), bool)
    for start, end in pairwise(starts):
        here = label[start:end]
        heads[here[here != np.arange(start, end)]] = True
    for place, (start, end) in enumerate(pairwise(starts)):
        ranks = np.flatnonzero((label[start:end] != np.arange(start, end)) | heads[start:end])
        texts = ranks + start
        kind = kinds[core[texts]] if work.edges else np.full(len(texts), NO_KIND, np.uint8)
        number = work.plan.number
        data = pack(label[texts].astype(number), core[texts].astype(number), ranks.astype(np.uint32), kind)
        work.put(f"label-{place}", data)
