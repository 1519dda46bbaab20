"""The step of `hare_ray.dedup.semantic` that decides: a range of clusters -> who goes, and who speaks for them.

A range that fits into memory is one block of rows, ordered by cluster and, within it, the better first. One that does
not is a single cluster: its vectors are taken out of what was spilled a block at a time, and compared with the rows of
earlier blocks that stay, out of the same objects, before they are decided. Only its keys are held whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.dedup import semantic_kernel as kernel
from hare_ray.dedup.runs import cut
from hare_ray.dedup.semantic_steps import SemanticWork, stream, unstream


@dataclass(frozen=True)
class Range:
    """The rows of a range, piece by piece, and what is known of them; places count in `order`."""

    work: SemanticWork
    number: int
    keys: pa.Table
    edges: NDArray[np.int64]
    """First row of every piece, and the number of rows."""
    order: NDArray[np.int64]
    """By cluster, the better first."""
    places: NDArray[np.int64]
    """The other way round: the place of every row."""
    heads: NDArray[np.int64]
    """Place of the first row of every cluster."""
    found: kernel.Found
    """By place."""
    stays: NDArray[np.bool_]
    """By place."""

    def vectors(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Places and vectors of some places, piece by piece."""
        for piece, start in enumerate(self.edges[:-1]):
            places = self.places[start : self.edges[piece + 1]]
            some = np.flatnonzero(chosen[places])
            if len(some):
                data = np.frombuffer(self.work.get(f"vectors-{self.number}-{piece}"), np.float16)
                yield places[some], data.reshape(len(places), -1)[some]


def decide(work: SemanticWork, number: int) -> dict[str, int]:
    """Write who goes, cut by piece; how much was compared."""
    from threadpoolctl import ThreadpoolController

    this = _read(work, number)
    count = len(this.order)
    with ThreadpoolController().limit(limits=1):  # the workers are the parallelism
        for start in range(0, count, work.task_rows):
            _decide_block(this, start, min(start + work.task_rows, count))
    _write_gone(this)
    sizes = np.diff(this.heads, append=count)
    before = np.cumsum(this.stays) - this.stays  # rows that stay, of the range and of earlier clusters
    pairs = before - np.repeat(before[this.heads], sizes)
    largest = int(sizes.max(initial=0))
    return {"rows": count, "clusters": len(sizes), "largest": largest, "pairs": int(pairs.sum())}


def _read(work: SemanticWork, number: int) -> Range:
    """The keys of a range, in order."""
    tables = [unstream(work.get(f"keys-{number}-{piece}")) for piece in range(work.pieces(number))]
    edges = np.concatenate([[0], np.cumsum([len(table) for table in tables])])
    keys = pa.concat_tables(tables).combine_chunks()
    del tables
    preferred = [(name, "descending") for name in keys.column_names if name.startswith("prefer_")]
    by = [("cluster", "ascending"), *preferred, ("id", "ascending")]
    order = pc.sort_indices(keys, by).to_numpy().astype(np.int64)  # stable: of equal ids the earlier row
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    clusters = keys.column("cluster").to_numpy()[order]
    heads = np.flatnonzero(np.diff(clusters, prepend=-1))
    found, stays = kernel.nothing_found(len(order)), np.zeros(len(order), np.bool_)
    return Range(work, number, keys, edges, order, places, heads, found, stays)


def _decide_block(this: Range, start: int, end: int) -> None:
    """Decide the rows at some places, when all before are."""
    dimensions = this.work.dimensions
    bounds = kernel.bounds_of(this.work.stage.min_similarity, dimensions)
    vectors, found = np.empty((end - start, dimensions), np.float16), this.found.part(start, end)
    chosen = np.zeros(len(this.order), np.bool_)
    chosen[start:end] = True
    for places, some in this.vectors(chosen):
        vectors[places - start] = some
    chosen = this.stays.copy()
    for places, some in this.vectors(chosen):  # none before the second block of a cluster that has several
        kernel.compare(vectors, found, kernel.rows_of(some, places), bounds)
    heads = this.heads[(this.heads > start) & (this.heads < end)]
    for first, last in zip([start, *heads.tolist()], [*heads.tolist(), end], strict=True):
        some = slice(first - start, last - start)
        this.stays[first:last] = kernel.decide(vectors[some], found.part(some.start, some.stop), first, bounds)


def _write_gone(this: Range) -> None:
    """Write the rows that go, each with what stays for it, cut by piece."""
    gone = np.flatnonzero(this.found.speaker != kernel.NOBODY)
    rows, speakers = this.order[gone], this.order[this.found.speaker[gone]]
    url, ident = (this.keys.column(name).take(pa.array(speakers)) for name in ("url", "id"))
    row = this.keys.column("row").take(pa.array(rows))
    columns = {"row": row, "detail": url, "similarity": this.found.similarity[gone].astype(np.float32), "id": ident}
    table = pa.table(columns)
    pieces = np.searchsorted(this.edges[1:], rows, side="right")
    for piece, chosen in cut(pieces, len(this.edges) - 1):
        this.work.put(f"gone-{this.number}-{piece}", stream(table.take(pa.array(chosen))))
