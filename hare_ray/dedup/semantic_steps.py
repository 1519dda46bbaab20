"""The steps of `hare_ray.dedup.semantic` before and after the decision, each a function of one group of parts.

    count    group -> rows of every cluster
    spill    group -> for every range its rows with text: keys (cluster, preferred columns, id, URL, row) and vectors
    decide   range -> for every group its rows that go, see `hare_ray.dedup.semantic_range`
    write    group -> its parts

A range is neighbouring clusters that one task holds together, or one that is too large for that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.dedup.plan import PARALLEL_TASKS, TASK_ROWS, Steps
from hare_ray.dedup.runs import column, cut, pack, unpack
from hare_ray.dedup.semantic import SEMANTIC_DUPLICATE, SemanticDuplicates
from hare_ray.dedup.semantic_kernel import NOBODY

if TYPE_CHECKING:
    from hare_ray.stage import Table

BYTES_PER_KEY = 300
"""Of a row beside its vector: URL, id, preferred columns, read and joined (200), order and what is found (100)."""

EXPONENT = np.uint16(0x7C00)
"""Bits of a float16 that are all set where it is infinite or not a number."""

SIGNLESS = np.uint16(0x7FFF)
"""All bits of a float16 but its sign."""


def bytes_per_row(dimensions: int) -> int:
    """Of a row while its range is decided: its vector read (2), in order (2), and as it is computed with (4)."""
    return 8 * dimensions + BYTES_PER_KEY


@dataclass(frozen=True)
class SemanticWork(Steps):
    """What the steps work with."""

    stage: SemanticDuplicates
    prefer: tuple[tuple[Table, str], ...]
    """Columns that say which document is better, and the tables they are in."""
    dimensions: int
    edges: tuple[int, ...] = ()
    """First cluster of every range, and the number of clusters; known when they are counted."""
    costs: tuple[int, ...] = ()
    """Pairs of every range, at most."""

    @property
    def task_rows(self) -> int:
        """Rows that a task holds."""
        return max(self.memory_bytes // bytes_per_row(self.dimensions), 1)

    @property
    def ranges(self) -> list[int]:
        """Those with most work first, so that none is left over at the end."""
        return sorted(range(len(self.costs)), key=lambda number: -self.costs[number])


def count(work: SemanticWork, group: int) -> None:
    """Write how many rows of every cluster a group has."""
    clusters = [column(work.desk.read(work.stage.clusters, p, ["cluster"]), "cluster") for p in work.plan.groups[group]]
    work.put(f"sizes-{group}", pack(np.bincount(np.concatenate([np.empty(0, np.int32), *clusters]))))


def ranged(work: SemanticWork) -> SemanticWork:
    """With neighbouring clusters joined to ranges that a task holds."""
    sizes = np.zeros(0, np.int64)
    for group in range(len(work.plan.groups)):
        (here,) = unpack(work.get(f"sizes-{group}"), [("i8", 1)])
        sizes = np.pad(sizes, (0, max(len(here) - len(sizes), 0)))
        sizes[: len(here)] += here
    total = int(sizes.sum())
    most = min(work.task_rows, -(-total // min(PARALLEL_TASKS, 1 + total // TASK_ROWS)))
    edges, filled = [0], 0
    for cluster, size in enumerate(sizes.tolist()):
        if filled and filled + size > most:
            edges.append(cluster)
            filled = 0
        filled += size
    edges.append(len(sizes))
    squares = np.concatenate([[0], np.cumsum(sizes**2)])
    costs = np.diff(squares[np.array(edges)])
    return replace(work, edges=tuple(edges), costs=tuple(costs.tolist()))


def spill(work: SemanticWork, group: int) -> None:
    """Write keys and vectors of a group, cut by range."""
    parts, offsets = work.plan.groups[group], work.plan.offsets(group)
    read = [_part(work, part, offset) for part, offset in zip(parts, offsets, strict=True)]
    keys = pa.concat_tables([keys for keys, _ in read]).combine_chunks()
    vectors = np.concatenate([vectors for _, vectors in read])
    del read
    ranges = np.searchsorted(np.array(work.edges[1:-1]), keys.column("cluster").to_numpy(), side="right")
    for number, chosen in cut(ranges, len(work.costs)):
        work.put(f"keys-{number}-{group}", stream(keys.take(pa.array(chosen))))
        work.put(f"vectors-{number}-{group}", pack(vectors[chosen]))


def _part(work: SemanticWork, part: int, offset: int) -> tuple[pa.Table, NDArray[np.float16]]:
    """Keys and vectors of the rows with text."""
    desk, stage = work.desk, work.stage
    lists = column(desk.read(stage.embeddings, part, ["embedding"]), "embedding")
    bits = lists.flatten().to_numpy().view(np.uint16).reshape(-1, work.dimensions)
    bad = lists.null_count + np.count_nonzero(((bits & EXPONENT) == EXPONENT).any(axis=1))
    if bad:
        raise ValueError(
            f"{stage!r}: given {bad} of {len(lists)} rows with null, infinite or NaN vectors in part {part} of "
            f"{stage.embeddings!r}, expected vectors of length 1 (0 without text); find out what they are made of"
        )
    filled = np.flatnonzero((bits & SIGNLESS).any(axis=1))
    at = pa.array(filled)
    docs = desk.read(stage.docs, part, ["id", "url"]).take(at)
    keys = {"cluster": desk.read(stage.clusters, part, ["cluster"]).column("cluster").take(at)}
    for number, (table, name) in enumerate(work.prefer):
        keys[f"prefer_{number}"] = desk.read(table, part, [name]).column(name).take(at)
    keys |= {name: docs.column(name) for name in ("id", "url")}
    row = pa.array((filled + offset).astype(np.uint32))
    return pa.table({**keys, "row": row}), bits[filled].view(np.float16)


def write(work: SemanticWork, group: int) -> None:
    """Write the group's parts."""
    plan = work.plan
    gone = pa.concat_tables([unstream(work.get(f"gone-{number}-{group}")) for number in range(len(work.costs))])
    gone = gone.sort_by("row").combine_chunks()
    rows = gone.column("row").to_numpy()
    for part, offset in zip(plan.groups[group], plan.offsets(group), strict=True):
        ids = column(work.desk.read(work.stage.docs, part, ["id"]), "id")
        start, end = np.searchsorted(rows, [offset, offset + len(ids)])
        at = np.full(len(ids), NOBODY, np.int64)
        at[rows[start:end] - np.uint32(offset)] = np.arange(start, end)
        found = gone.take(pa.array(at, mask=at == NOBODY))
        goes = pa.array(at != NOBODY)
        columns = [
            pc.if_else(goes, pa.scalar(SEMANTIC_DUPLICATE), pa.scalar(None, pa.string())),
            found.column("detail"),
            found.column("similarity"),
            pc.if_else(goes, found.column("id"), ids),
        ]
        work.desk.write(part, pa.table(columns, schema=work.stage.writes))


def stream(table: pa.Table) -> bytes:
    """A table as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def unstream(data: bytes) -> pa.Table:
    """The table of `stream`."""
    return pa.ipc.open_stream(data).read_all()
