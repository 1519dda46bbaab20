"""Which documents are copies of which, over all parts of all sources: exact and near duplicates in one graph.

Three kinds of evidence tie two rows together: the same id (the same URL and payload, in one file or in
two), the same `exact` hash (the same folded words), and a shared MinHash band key. One connected-components
step over all of it gives the clusters; of each one copy is kept.

    docs id, url, file, offset; signatures exact, words, bands
    ->  reason               null for the kept copy; same_record, exact_duplicate or near_duplicate
        detail               URL of the kept copy, where there is a reason
        duplicate_cluster    smallest id in the cluster; the own id in a cluster of one
        duplicates int32     rows in the cluster, 1 = unique

Rule of the kept copy: most words, then smallest id, then first by (file, offset). Reasons speak of the row
and that copy: same_record, the row is not the first by (file, offset) of its id; exact_duplicate, its words
equal those of the kept copy; else near_duplicate, which by transitivity may reach the kept copy over third
documents. The result is a function of the set of rows: how they are cut into parts, their order, the memory
and the number of workers do not matter. Files matter only among rows with one id, which are one record: which
of them is kept.

Method: an external sort-and-join, so that memory is bounded and machines add up. Keys are cut by range into
as many partitions as one worker's memory asks for: every group of parts writes one object per partition,
every partition is sorted alone and gives edges (smallest row of a key, other row). Ray Data's group-by does
the same in ten times the time. Band candidates are not verified by their true Jaccard similarity: precision
is that of the bands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.schema import DETAIL, ID, REASON
from hare_ray.stage import Gather, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

SAME_RECORD = "same_record"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"

BYTES_PER_KEY = 48
"""Key and row as read (16), joined (16) and in sorted order (16)."""

PARALLEL_TASKS = 8
"""Groups and partitions made at least, where there are as many parts: small runs use several cores too."""

_S32 = np.uint64(32)


@dataclass(frozen=True)
class Plan:
    """How the work is cut; never changes the result."""

    first_rows: tuple[int, ...]
    """Number of the first row of every part, and the number of all rows."""
    groups: tuple[tuple[int, ...], ...]
    """Parts that one task reads: neighbours."""
    partitions: int

    def group_rows(self, group: int) -> tuple[int, int]:
        """The rows [first, last) of a group."""
        parts = self.groups[group]
        return self.first_rows[parts[0]], self.first_rows[parts[-1] + 1]


def plan_of(rows: list[int], keys_per_row: int, memory_bytes: int) -> Plan:
    """As many tasks as keep one of them under `memory_bytes`; a group is at least one part."""
    first_rows = [0, *np.cumsum(rows, dtype=np.int64).tolist()]
    total = max(first_rows[-1], 1)
    needed = -(-total * keys_per_row * BYTES_PER_KEY // memory_bytes)
    tasks = max(needed, min(len(rows), PARALLEL_TASKS))
    groups: dict[int, list[int]] = {}
    for part in range(len(rows)):
        groups.setdefault(first_rows[part] * tasks // total, []).append(part)
    return Plan(tuple(first_rows), tuple(tuple(parts) for parts in groups.values()), tasks)


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _unpacked(objects: Iterator[bytes]) -> pa.Table:
    return pa.concat_tables([pa.ipc.open_stream(data).read_all() for data in objects]).combine_chunks()


def _halves(values: pa.Array) -> NDArray[np.uint64]:
    """A binary(16) column without nulls as two numbers per row."""
    data = np.frombuffer(values.buffers()[1], np.uint8)[16 * values.offset : 16 * (values.offset + len(values))]
    return data.view(np.uint64).reshape(-1, 2)


def _chunk(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()


def _cut(columns: dict[str, NDArray], places: NDArray, partitions: int) -> Iterator[tuple[int, dict[str, NDArray]]]:
    """The rows of every partition; `places` tells each row's."""
    order = np.argsort(places, kind="stable")
    edges = np.searchsorted(places[order], np.arange(partitions + 1))
    for partition in range(partitions):
        chosen = order[edges[partition] : edges[partition + 1]]
        yield partition, {name: column[chosen] for name, column in columns.items()}


def _place(keys: NDArray[np.uint64], partitions: int) -> NDArray[np.int64]:
    """Partition of a key: its range, by the upper half of its bits."""
    return ((keys >> _S32) * np.uint64(partitions) >> _S32).astype(np.int64)


def _spill_keys(desk: Desk, stage: Duplicates, plan: Plan, group: int) -> None:
    """Write the group's keys, cut by partition: 128-bit ones of records and words, 64-bit ones of bands."""
    wide, narrow = [], []
    for part in plan.groups[group]:
        ids = _chunk(desk.read(stage.docs, part, ["id"]), "id")
        signed = desk.read(stage.signatures, part, ["exact", "bands"])
        rows = np.arange(len(ids)) + plan.first_rows[part]
        exact, bands = _chunk(signed, "exact"), _chunk(signed, "bands")
        filled = rows[np.asarray(exact.is_valid())]
        wide += [(_halves(ids), rows), (_halves(exact.drop_null()), filled)]
        keys = np.asarray(bands.flatten())
        narrow.append((keys, np.repeat(filled, bands.type.list_size)))
    halves, rows = (np.concatenate(arrays) for arrays in zip(*wide, strict=True))
    columns = {"key": halves[:, 0], "rest": halves[:, 1], "row": rows}
    for partition, cut in _cut(columns, _place(halves[:, 0], plan.partitions), plan.partitions):
        desk.put(f"wide-{group}-{partition}", _packed(pa.table(cut)))
    keys, rows = (np.concatenate(arrays) for arrays in zip(*narrow, strict=True))
    for partition, cut in _cut({"key": keys, "row": rows}, _place(keys, plan.partitions), plan.partitions):
        desk.put(f"narrow-{group}-{partition}", _packed(pa.table(cut)))


def edges_of(
    keys: NDArray[np.uint64], rows: NDArray[np.int64], rest: NDArray[np.uint64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (smallest row with the key, another row with it); `rest`: further 64 bits of the keys."""
    if len(keys) == 0:
        return rows, rows
    order = np.argsort(keys)
    same = np.diff(keys[order]) == 0
    if rest is not None:
        agree = np.diff(rest[order]) == 0
        if np.any(same & ~agree):  # Two keys with equal first halves: sort by both.
            order = np.lexsort((rest, keys))
            same, agree = np.diff(keys[order]) == 0, np.diff(rest[order]) == 0
        same &= agree
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    rows = rows[order]
    first = np.repeat(np.minimum.reduceat(rows, starts), np.diff(np.append(starts, len(rows))))
    others = first != rows
    return first[others], rows[others]


def _match(desk: Desk, plan: Plan, partition: int) -> None:
    """Write the edges that the keys of one partition give, each pair once."""
    found = []
    for kind in ("wide", "narrow"):
        table = _unpacked(desk.get(f"{kind}-{group}-{partition}") for group in range(len(plan.groups)))
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        found.append(edges_of(columns["key"], columns["row"], columns.get("rest")))
    first, second = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    fresh = np.ones(len(first), bool)
    fresh[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
    desk.put(f"edges-{partition}", _packed(pa.table({"first": first[fresh], "second": second[fresh]})))


def _connect(desk: Desk, plan: Plan) -> None:
    """Join all edges and write, per group, the rows in clusters of two and more with their labels."""
    from hare_ray.dedup.components import flatten, join, singletons

    label = singletons(plan.first_rows[-1])
    for partition in range(plan.partitions):
        edges = _unpacked(iter([desk.get(f"edges-{partition}")]))
        join(label, edges.column("first").to_numpy(), edges.column("second").to_numpy())
    flatten(label)
    clustered = label != np.arange(len(label), dtype=label.dtype)
    clustered[label[clustered]] = True
    for group in range(len(plan.groups)):
        first, last = plan.group_rows(group)
        rows = np.flatnonzero(clustered[first:last]) + first
        desk.put(f"labels-{group}", _packed(pa.table({"row": rows, "label": label[rows].astype(np.int64)})))


def _spill_members(desk: Desk, stage: Duplicates, plan: Plan, group: int) -> None:
    """Write what the rule of the kept copy looks at, cut so that a cluster is in one partition."""
    labels = _unpacked(iter([desk.get(f"labels-{group}")]))
    rows, label = labels.column("row").to_numpy(), labels.column("label").to_numpy()
    members = []
    for part in plan.groups[group]:
        first, last = np.searchsorted(rows, plan.first_rows[part : part + 2])
        here = pa.array(rows[first:last] - plan.first_rows[part])
        docs = desk.read(stage.docs, part, ["id", "url", "file", "offset"]).take(here)
        signed = desk.read(stage.signatures, part, ["exact", "words"]).take(here)
        for name in signed.column_names:
            docs = docs.append_column(name, signed.column(name))
        members.append(docs)
    table = pa.concat_tables(members).append_column("row", pa.array(rows)).append_column("label", pa.array(label))
    for partition, cut in _cut({"at": np.arange(len(rows))}, label % plan.partitions, plan.partitions):
        desk.put(f"members-{group}-{partition}", _packed(table.take(pa.array(cut["at"]))))


def _starts(*columns: NDArray) -> NDArray[np.bool_]:
    """Where a run of equal values begins."""
    begins = np.ones(len(columns[0]), bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return begins


def verdicts_of(members: pa.Table) -> pa.Table:
    """Row, reason, detail, duplicate_cluster and duplicates of members of whole clusters."""
    up, down = "ascending", "descending"
    tie = [("id", up), ("file", up), ("offset", up), ("row", up)]
    members = members.sort_by([("label", up), *tie]).combine_chunks()
    label, ids = members.column("label").to_numpy(), _halves(_chunk(members, "id"))
    begins = _starts(label)
    cluster = np.cumsum(begins) - 1
    smallest = members.column("id").take(pa.array(np.flatnonzero(begins)[cluster]))
    members = members.append_column("duplicate_cluster", smallest)
    members = members.append_column("duplicates", pa.array(np.bincount(cluster)[cluster].astype(np.int32)))
    members = members.append_column("again", pa.array(~_starts(ids[:, 0], ids[:, 1])))

    members = members.sort_by([("label", up), ("words", down), *tie]).combine_chunks()
    kept = np.flatnonzero(begins)[cluster]  # Clusters lie where they lay; each now begins with its kept copy.
    url, exact = members.column("url").take(pa.array(kept)), members.column("exact")
    equal = pc.fill_null(pc.equal(exact, exact.take(pa.array(kept))), False)
    reason = pc.if_else(members.column("again"), SAME_RECORD, pc.if_else(equal, EXACT_DUPLICATE, NEAR_DUPLICATE))
    dropped = pa.array(~begins)
    none = pa.scalar(None, pa.string())
    return pa.table(
        {
            "row": members.column("row"),
            "reason": pc.if_else(dropped, reason, none),
            "detail": pc.if_else(dropped, url, none),
            "duplicate_cluster": members.column("duplicate_cluster"),
            "duplicates": members.column("duplicates"),
        }
    )


def _decide(desk: Desk, plan: Plan, partition: int) -> None:
    """Write the verdicts on the clusters of one partition, cut by group."""
    members = _unpacked(desk.get(f"members-{group}-{partition}") for group in range(len(plan.groups)))
    verdicts = verdicts_of(members)
    group_starts = np.array([plan.group_rows(group)[0] for group in range(len(plan.groups))])
    places = np.searchsorted(group_starts, verdicts.column("row").to_numpy(), side="right") - 1
    for group, cut in _cut({"at": np.arange(len(verdicts))}, places, len(plan.groups)):
        desk.put(f"verdicts-{partition}-{group}", _packed(verdicts.take(pa.array(cut["at"]))))


def _write(desk: Desk, stage: Duplicates, plan: Plan, group: int) -> None:
    """Write the group's parts: the verdicts found, and for all other rows that they are unique."""
    found = _unpacked(desk.get(f"verdicts-{partition}-{group}") for partition in range(plan.partitions))
    first, last = plan.group_rows(group)
    at = np.full(last - first, -1)
    at[found.column("row").to_numpy() - first] = np.arange(len(found))
    for part in plan.groups[group]:
        begin, end = (row - first for row in plan.first_rows[part : part + 2])
        verdicts = found.take(pa.array(at[begin:end], mask=at[begin:end] < 0))
        own = desk.read(stage.docs, part, ["id"]).column("id")
        columns = [
            verdicts.column("reason"),
            verdicts.column("detail"),
            pc.coalesce(verdicts.column("duplicate_cluster"), own),
            pc.fill_null(verdicts.column("duplicates"), 1),
        ]
        desk.write(part, pa.table(columns, schema=stage.schema()))


class Duplicates(Gather):
    """One verdict per row: kept, or a copy of what."""

    docs: Table
    signatures: Table
    memory_bytes: int = 1 << 30
    """What one task may hold."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "memory_bytes"})
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            REASON,
            DETAIL,
            ID.with_name("duplicate_cluster"),
            pa.field("duplicates", pa.int32(), nullable=False),
        ]
    )

    def __post_init__(self) -> None:
        """Refuse signatures of other documents."""
        if self.signatures.base is not self.docs.base:
            raise ValueError(
                f"{self!r} joins documents on base {self.docs.base!r} with signatures on base "
                f"{self.signatures.base!r}; make the signatures from these documents"
            )

    def gather(self, desk: Desk) -> None:
        """Keys to edges, edges to clusters, clusters to verdicts, each step over groups or partitions."""
        bands = self.signatures.schema().field("bands").type.list_size
        plan = plan_of(desk.rows(self.docs), bands + 2, self.memory_bytes)
        groups, partitions = range(len(plan.groups)), range(plan.partitions)
        if not plan.groups:
            return
        desk.map(partial(_spill_keys, desk, self, plan), groups)
        desk.map(partial(_match, desk, plan), partitions)
        _connect(desk, plan)
        desk.map(partial(_spill_members, desk, self, plan), groups)
        desk.map(partial(_decide, desk, plan), partitions)
        desk.map(partial(_write, desk, self, plan), groups)
