"""The steps of `hare_ray.dedup.semantic` before and after the decision, each a function of one group of parts.

    count    group -> rows of every cluster
    spill    group -> for every range its rows with text: keys (cluster, preferred columns, id, URL, row) and vectors
    join     only of many groups: a run of them, spilled by span of ranges -> the same by range
    decide   range -> for every group, or run of groups, its rows that go, see `hare_ray.dedup.semantic_range`
    write    group -> its parts

A range is neighbouring clusters that one task holds together, or one that is too large for that. For spans and runs
see `hare_ray.dedup.semantic_spans`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.dedup import semantic_spans
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
    spans: semantic_spans.Spans | None = None
    """None: so few groups and ranges that every group writes every range its own piece."""

    @property
    def task_rows(self) -> int:
        """Rows that a task holds."""
        return max(self.memory_bytes // bytes_per_row(self.dimensions), 1)

    @property
    def ranges(self) -> list[int]:
        """Those with most work first, so that none is left over at the end."""
        return sorted(range(len(self.costs)), key=lambda number: -self.costs[number])

    def pieces(self, number: int) -> int:
        """In how many pieces the rows of a range are, in the order of the rows."""
        return len(self.plan.groups) if self.spans is None else len(self.spans.runs_of(number)) - 1

    def piece(self, number: int, group: int) -> int:
        """The piece of a range that the rows of a group are in."""
        if self.spans is None:
            return group
        return int(np.searchsorted(self.spans.runs_of(number), group, side="right")) - 1

    def ranges_of(self, keys: pa.Table) -> NDArray[np.int64]:
        """The range of every row."""
        return np.searchsorted(np.array(self.edges[1:-1]), keys.column("cluster").to_numpy(), side="right")

    def sizes(self, group: int) -> NDArray[np.int64]:
        """Rows of every cluster in a group, up to its last one; known when they are counted."""
        return unpack(self.get(f"sizes-{group}"), [("i8", 1)])[0]


def count(work: SemanticWork, group: int) -> None:
    """Write how many rows of every cluster a group has."""
    clusters = [column(work.desk.read(work.stage.clusters, p, ["cluster"]), "cluster") for p in work.plan.groups[group]]
    work.put(f"sizes-{group}", pack(np.bincount(np.concatenate([np.empty(0, np.int32), *clusters]))))


def ranged(work: SemanticWork) -> SemanticWork:
    """With neighbouring clusters joined to ranges that a task holds."""
    sizes = np.zeros(0, np.int64)
    for group in range(len(work.plan.groups)):
        here = work.sizes(group)
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
    work = replace(work, edges=tuple(edges), costs=tuple(costs.tolist()))
    if len(work.plan.groups) * len(costs) <= semantic_spans.MOST_PAIRS:
        return work
    first = semantic_spans.first_ranges(len(costs))
    starts = np.array(edges)[np.array(first)]  # clusters
    rows = np.zeros((len(work.plan.groups), len(starts) - 1), np.int64)
    for group in range(len(rows)):
        before = np.concatenate([[0], np.cumsum(work.sizes(group))])
        rows[group] = np.diff(before[np.minimum(starts, len(before) - 1)])
    return replace(work, spans=semantic_spans.spans_of(first, rows, work.task_rows))


def spill(work: SemanticWork, group: int) -> None:
    """Write keys and vectors of a group, cut by range, or by span."""
    read = [_part(work, part) for part in work.plan.groups[group]]
    keys = pa.concat_tables([keys for keys, _ in read]).combine_chunks()
    vectors = np.concatenate([vectors for _, vectors in read])
    del read
    ranges = work.ranges_of(keys)
    if work.spans is None:
        return _put(work, keys, vectors, cut(ranges, len(work.costs)), ("", group))
    spans = np.searchsorted(np.array(work.spans.first[1:-1]), ranges, side="right")
    return _put(work, keys, vectors, cut(spans, len(work.spans.runs)), ("span-", group))


def join(work: SemanticWork, item: int) -> None:
    """Write the rows of a span in a run of groups, cut by range."""
    assert work.spans is not None
    span, run = work.spans.items[item]
    first, end = work.spans.first[span : span + 2]
    groups = work.spans.groups(span, run)
    keys = pa.concat_tables([unstream(work.get(f"span-keys-{span}-{group}")) for group in groups]).combine_chunks()
    read = [np.frombuffer(work.get(f"span-vectors-{span}-{group}"), np.float16) for group in groups]
    vectors = np.concatenate(read).reshape(-1, work.dimensions)
    del read
    chosen = ((first + number, rows) for number, rows in cut(work.ranges_of(keys) - first, end - first))
    _put(work, keys, vectors, chosen, ("", run))


def _put(
    work: SemanticWork,
    keys: pa.Table,
    vectors: NDArray[np.float16],
    chosen: Iterable[tuple[int, NDArray[np.int64]]],
    name: tuple[str, int],
) -> None:
    """Write the rows chosen for every number; `name`: what their objects are called before and after it."""
    kind, piece = name
    for number, rows in chosen:
        work.put(f"{kind}keys-{number}-{piece}", stream(keys.take(pa.array(rows))))
        work.put(f"{kind}vectors-{number}-{piece}", pack(vectors[rows]))


def _part(work: SemanticWork, part: int) -> tuple[pa.Table, NDArray[np.float16]]:
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
    row = pa.array(filled + work.plan.first_rows[part])
    return pa.table({**keys, "row": row}), bits[filled].view(np.float16)


def write(work: SemanticWork, group: int) -> None:
    """Write the group's parts."""
    gone = pa.concat_tables([_gone(work, number, group) for number in range(len(work.costs))])
    gone = gone.sort_by("row").combine_chunks()
    rows = gone.column("row").to_numpy()
    for part in work.plan.groups[group]:
        ids = column(work.desk.read(work.stage.docs, part, ["id"]), "id")
        first = work.plan.first_rows[part]
        start, end = np.searchsorted(rows, [first, first + len(ids)])
        at = np.full(len(ids), NOBODY, np.int64)
        at[rows[start:end] - first] = np.arange(start, end)
        found = gone.take(pa.array(at, mask=at == NOBODY))
        goes = pa.array(at != NOBODY)
        columns = [
            pc.if_else(goes, pa.scalar(SEMANTIC_DUPLICATE), pa.scalar(None, pa.string())),
            found.column("detail"),
            found.column("similarity"),
            pc.if_else(goes, found.column("id"), ids),
        ]
        work.desk.write(part, pa.table(columns, schema=work.stage.writes))


def _gone(work: SemanticWork, number: int, group: int) -> pa.Table:
    """Rows of a group that a range has go."""
    table = unstream(work.get(f"gone-{number}-{work.piece(number, group)}"))
    parts, starts = work.plan.groups[group], work.plan.first_rows
    row = table.column("row").to_numpy()
    return table.filter(pa.array((row >= starts[parts[0]]) & (row < starts[parts[-1] + 1])))


def stream(table: pa.Table) -> bytes:
    """A table as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def unstream(data: bytes) -> pa.Table:
    """The table of `stream`."""
    return pa.ipc.open_stream(data).read_all()
