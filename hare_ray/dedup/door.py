"""Other evidence on its way into the graph: from neighbours as part and row to numbers of texts.

    group  -> (text, row of the neighbour) of its rows' edges, cut by the neighbour's group
    group  -> edges (text, text, similarity, kind) to its rows; `kind` counts the stages of evidence

See `hare_ray.dedup.edges` for what such a stage gives. Rows without words have no text, and their edges are left out.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.dedup.edges import EDGES
from hare_ray.dedup.plan import Plan, Work
from hare_ray.dedup.runs import column, cut, pack, unpack, unpacked
from hare_ray.dedup.texts import texts_of
from hare_ray.stage import Table


def spill_edges(work: Work, group: int) -> None:
    """Write the edges of a group's rows as (number of the text, row of the neighbour), cut by the neighbour's group."""
    plan = work.plan
    numbers, rows, local = texts_of(work, group)
    parts = plan.groups[group]
    text = np.full(plan.first_rows[parts[-1] + 1] - plan.first_rows[parts[0]], -1, np.int64)
    text[rows] = numbers[local]
    found = []
    for kind, stage in enumerate(work.edges):
        for part, offset in zip(plan.groups[group], plan.offsets(group), strict=True):
            edges = _edges_of(stage, work.desk.read(stage, part, EDGES.names), text[offset:], kind)
            _check_neighbours(stage, plan, edges)
            found.append(edges)
    mine, parts, theirs, similar, kinds = (np.concatenate(columns) for columns in zip(*found, strict=True))
    groups = np.repeat(np.arange(len(plan.groups)), [len(parts) for parts in plan.groups])
    offsets = np.concatenate([plan.offsets(number) for number in range(len(plan.groups))])
    good = mine >= 0
    mine, parts, theirs, similar, kinds = (values[good] for values in (mine, parts, theirs, similar, kinds))
    for other, chosen in cut(groups[parts], len(plan.groups)):
        row = (theirs + offsets[parts])[chosen].astype(np.uint32)
        work.put(f"door-{group}-{other}", pack(mine[chosen], row, similar[chosen], kinds[chosen]))


def _check_neighbours(stage: Table, plan: Plan, edges: list[NDArray]) -> None:
    """Refuse neighbours that are not in the base."""
    parts, rows = edges[1:3]
    sizes = np.append(np.diff(plan.first_rows), 0)
    good = (parts >= 0) & (parts < len(sizes) - 1)
    good &= (rows >= 0) & (rows < sizes[np.where(good, parts, -1)])
    if not good.all():
        part, row = (int(values[~good][0]) for values in (parts, rows))
        held = f"a part of {sizes[part]} rows" if 0 <= part < len(sizes) - 1 else f"one of {len(sizes) - 1} parts"
        raise ValueError(
            f"{stage!r}: given an edge to row {row} of part {part}, expected {held}; make the edges of these documents"
        )


def _edges_of(stage: Table, table: pa.Table, text: NDArray[np.int64], kind: int) -> list[NDArray]:
    parts, rows, similar = (column(table, name) for name in EDGES.names)
    if not (
        parts.value_lengths().equals(rows.value_lengths()) and rows.value_lengths().equals(similar.value_lengths())
    ):
        raise ValueError(f"{stage!r}: given lists of different lengths in {EDGES.names}; give one entry per neighbour")
    lengths = np.asarray(parts.value_lengths())
    flat = [np.asarray(values.flatten()) for values in (parts, rows, similar)]
    kinds = np.full(len(flat[0]), kind, np.uint8)
    return [np.repeat(text[: len(table)], lengths), *(values.astype(np.int64) for values in flat[:2]), flat[2], kinds]


def attach_edges(work: Work, group: int) -> None:
    """Write the edges to a group's rows between numbers of texts."""
    objects = (work.get(f"door-{other}-{group}") for other in range(len(work.plan.groups)))
    theirs, row, similar, kind = unpacked(objects, (("u8", 1), ("u4", 1), ("f4", 1), ("u1", 1)))
    numbers, rows, local = texts_of(work, group)
    at = np.minimum(np.searchsorted(rows, row), max(len(rows) - 1, 0))
    good = rows[at] == row if len(rows) else np.zeros(len(row), bool)
    mine = numbers[local[at[good]]].astype(np.int64)
    work.put(f"door_edge-{group}", pack(theirs[good], mine, similar[good], kind[good]))


def door_edges(work: Work, group: int) -> list[NDArray]:
    """First and second text, similarity and kind of the edges to a group's rows."""
    return unpack(work.get(f"door_edge-{group}"), (("i8", 1), ("i8", 1), ("f4", 1), ("u1", 1)))
