"""Which copy stays: clusters of texts become verdicts on rows.

    partition of texts  -> the texts of every group that are in a cluster, with its label
    group               -> the best row of every cluster it has rows of, how many they are, and their smallest id
    partition of labels -> the best of these best rows, sent to the groups that asked
    group               -> a verdict per row

Of two rows the one of an earlier crawl is better; then the one with the larger value in each preferred column in turn
(nothing is less than any number); then the smaller id; then the first by (file, offset). As every group sends one row
of a cluster, one with ten million copies takes no more memory than another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.dedup.components import NO_KIND, labels_layout
from hare_ray.dedup.plan import Work
from hare_ray.dedup.runs import binary, column, cut, fixed_bytes, pack, unpack
from hare_ray.dedup.texts import OWN, RANKS
from hare_ray.stage import Table

NO_WORDS = "no_words"
SAME_RECORD = "same_record"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"

DOC_COLUMNS = ("id", "url", "file", "offset")
MAX_COPIES = (1 << 31) - 1
"""What `duplicates` can say."""


def cluster_members(work: Work, partition: int) -> list[int]:
    """Write which texts of every group are in a cluster, with its labels; how many texts each group has here."""
    plan = work.plan
    tables = [unpack(work.get(f"rank-{partition}-{group}"), RANKS) for group in range(len(plan.groups))]
    ranks, copies = (np.concatenate(columns) for columns in zip(*tables, strict=True))
    start, end = plan.starts[partition], plan.starts[partition + 1]
    clustered = np.bincount(ranks, copies, end - start) > 1
    label = np.arange(start, end).astype(plan.number)
    core, kind = label.copy(), np.full(len(label), NO_KIND, np.uint8)
    to, by, rank, kinds = unpack(work.get(f"label-{partition}"), labels_layout(work))
    label[rank], core[rank], kind[rank], clustered[rank] = to, by, kinds, True
    for group, (rank, _) in enumerate(tables):
        here = np.flatnonzero(clustered[rank])
        rank = rank[here]
        work.put(f"member-{partition}-{group}", pack(label[rank], core[rank], here.astype(np.uint32), kind[rank]))
    return [len(rank) for rank, _ in tables]


def members_of(work: Work, group: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Rows of a group that are in a cluster, in order; its label, the label by own evidence, kind of other evidence."""
    tables, before = [], 0
    for partition in range(work.plan.partitions):
        label, core, place, kind = unpack(work.get(f"member-{partition}-{group}"), labels_layout(work))
        tables.append((label, core, place.astype(np.int64) + before, kind))
        before += work.result("cluster_members", partition)[group]
    label, core, place, kind = (np.concatenate(columns) for columns in zip(*tables, strict=True))
    found = np.full(before, -1, np.int64)
    found[place] = np.arange(len(place))
    rows, local = unpack(work.get(f"own-{group}"), OWN)
    at = found[local]
    rows, at = rows[at >= 0], at[at >= 0]
    return rows, label[at], core[at], kind[at]


def best_of_group(work: Work, group: int) -> None:
    """Write the best row of every cluster that a group has rows of, cut by label."""
    rows, label, core, _ = members_of(work, group)
    found = []
    for part, offset, some in _by_part(work, group, rows):
        at = pa.array(rows[some] - np.uint32(offset))
        here = {name: column(work.desk.read(work.docs, part, [name]).take(at), name) for name in DOC_COLUMNS}
        signed = work.desk.read(work.signatures, part, ["exact", "sketch"]).take(at)
        here |= {name: column(signed, name) for name in signed.column_names}
        for number, (table, name) in enumerate(work.prefer):
            here[f"prefer_{number}"] = column(work.desk.read(table, part, [name]).take(at), name)
        here |= {"label": label[some].astype(np.uint64), "core": core[some].astype(np.uint64), "row": rows[some]}
        here |= {"ours": np.ones(len(at), np.uint8), "group": np.full(len(at), group, np.uint32)}
        here |= {"copies": np.ones(len(at), np.int64), "smallest": here["id"]}
        found.append(reduced(pa.table(here, schema=_schema(work))))
    _write_best(work, group, found)


def _schema(work: Work) -> pa.Schema:
    preferred = {f"prefer_{i}": table.schema().field(name).type for i, (table, name) in enumerate(work.prefer)}
    types: dict[str, pa.DataType] = {
        "label": pa.uint64(), "ours": pa.uint8(), **preferred, "id": pa.binary(16), "file": pa.string(),
        "offset": pa.int64(), "group": pa.uint32(), "row": pa.uint32(), "url": pa.string(), "exact": pa.binary(16),
        "sketch": pa.binary(work.signatures.sketch_bytes), "core": pa.uint64(), "copies": pa.int64(),
        "smallest": pa.binary(16),
    }  # fmt: skip
    return pa.schema(list(types.items()))


def best_of_known(work: Work, number: int) -> None:
    """Write the best text of every cluster that a file of an index has texts of, cut by label."""
    plan = work.plan
    index, file = plan.known_files[number]
    label, core, rank, _ = unpack(work.get(f"label-{plan.partitions + number}"), labels_layout(work))
    mine = label < plan.ours  # what only ties known texts is of no concern
    label, core, rank = label[mine], core[mine], rank[mine]
    records = index.records(work.desk, file).take(pa.array(rank))
    exact, sketch = index.text_file(work.desk, file)
    count = len(rank)
    here: dict[str, Any] = {name: pa.nulls(count, kind) for name, kind in _preferred(work)}
    here |= {name: column(records, name) for name in ("id", "url")}
    here |= {"exact": binary(exact[rank].view(np.uint8)), "sketch": binary(sketch[rank])}
    here |= {"label": label.astype(np.uint64), "core": core.astype(np.uint64), "row": rank}
    here |= {"file": pa.array([""] * count, pa.string()), "offset": np.zeros(count, np.int64)}
    here |= {"ours": np.zeros(count, np.uint8), "group": np.full(count, len(plan.groups) + number, np.uint32)}
    here |= {"copies": np.ones(count, np.int64), "smallest": here["id"]}
    _write_best(work, len(plan.groups) + number, [reduced(pa.table(here, schema=_schema(work)))])


def _preferred(work: Work) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in _schema(work) if field.name.startswith("prefer_")]


def _write_best(work: Work, source: int, found: list[pa.Table]) -> None:
    table = reduced(pa.concat_tables(found)) if found else _schema(work).empty_table()
    places = work.plan.places(table.column("label").to_numpy().astype(work.plan.number))
    for partition, chosen in cut(places, work.plan.partitions):
        work.put(f"best-{source}-{partition}", _stream(table.take(pa.array(chosen))))


def reduced(rows: pa.Table) -> pa.Table:
    """The best row of every label, sorted by label, with the number of all its rows and their smallest id."""
    if len(rows) == 0:
        return rows
    preferred = [(name, "descending") for name in rows.column_names if name.startswith("prefer_")]
    tie = [(name, "ascending") for name in ("id", "file", "offset", "group", "row")]
    keys = [("label", "ascending"), ("ours", "ascending"), *preferred, *tie]
    rows = rows.take(pc.sort_indices(rows, keys)).combine_chunks()
    label = rows.column("label").to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], label[1:] != label[:-1]]))
    copies = np.add.reduceat(rows.column("copies").to_numpy(), starts)
    smallest = _least(fixed_bytes(column(rows, "smallest")), starts)
    best = rows.take(pa.array(starts))
    best = best.set_column(best.schema.get_field_index("copies"), "copies", pa.array(copies))
    return best.set_column(best.schema.get_field_index("smallest"), "smallest", smallest)


def _least(ids: NDArray[np.uint8], starts: NDArray[np.int64]) -> pa.Array:
    """The smallest 16 bytes of every run."""
    both = ids.view(">u8").astype(np.uint64)
    lengths = np.diff(np.append(starts, len(ids)))
    high = np.minimum.reduceat(both[:, 0], starts)
    rest = np.where(both[:, 0] == np.repeat(high, lengths), both[:, 1], np.uint64(0xFFFFFFFFFFFFFFFF))
    low = np.minimum.reduceat(rest, starts)
    return binary(np.stack([high, low], axis=1).astype(">u8").view(np.uint8))


def decide(work: Work, partition: int) -> None:
    """Write the copies that stay of the clusters of one partition, for every group that has rows of them."""
    groups = len(work.plan.groups)
    sources = [_unstream(work.get(f"best-{n}-{partition}")) for n in range(groups + len(work.plan.known_files))]
    kept = reduced(pa.concat_tables(sources))
    labels = kept.column("label").to_numpy()
    for group in range(groups):
        asked = np.searchsorted(labels, sources[group].column("label").to_numpy())
        work.put(f"kept-{partition}-{group}", _stream(kept.take(pa.array(asked))))


def write_verdicts(work: Work, group: int) -> None:
    """Write the parts of a group."""
    stage, members = work.desk.stage, members_of(work, group)
    assert isinstance(stage, Table)
    partitions = range(work.plan.partitions)
    kept = pa.concat_tables([_unstream(work.get(f"kept-{partition}-{group}")) for partition in partitions])
    kept = kept.combine_chunks()
    for part, offset, some in _by_part(work, group, members[0]):
        here = [values[some] for values in members]
        own = column(work.desk.read(work.docs, part, ["id"]), "id")
        signed = work.desk.read(work.signatures, part, ["exact", "sketch"])
        at = np.full(len(own), -1, np.int64)
        rows = here[0] - np.uint32(offset)
        at[rows] = np.arange(len(rows))
        found = _verdicts(work, (group, kept), here, (own.take(pa.array(rows)), signed.take(pa.array(rows))))
        found = found.take(pa.array(at, mask=at < 0))
        empty = pc.and_(signed.column("exact").is_null(), pc.invert(found.column("reason").is_valid()))
        columns = [
            pc.if_else(empty, NO_WORDS, found.column("reason")),
            found.column("detail"),
            pc.coalesce(found.column("duplicate_cluster"), own),
            pc.fill_null(found.column("duplicates"), 1),
            found.column("similarity"),
        ]
        work.desk.write(part, pa.table(columns, schema=stage.schema()))


def _verdicts(
    work: Work, kept: tuple[int, pa.Table], members: list[NDArray], own: tuple[pa.Array, pa.Table]
) -> pa.Table:
    """Verdicts on rows in clusters; `kept`: their group, and the copies that stay."""
    from hare_ray.dedup.minhash import similarity

    rows, label, core, kind = members
    ids, signed = own
    best = kept[1].take(pa.array(np.searchsorted(kept[1].column("label").to_numpy(), label)))
    stays = (best.column("group").to_numpy() == kept[0]) & (best.column("row").to_numpy() == rows)
    count = work.signatures.bands * work.signatures.rows
    mine, theirs = fixed_bytes(column(signed, "sketch")), fixed_bytes(column(best, "sketch"))
    alike = similarity(mine, theirs, count)
    names = pa.array([NEAR_DUPLICATE, *(getattr(stage, "edge_reason", "") for stage in work.edges)])
    near = (best.column("core").to_numpy() == core) | (kind == NO_KIND)
    reason = names.take(pa.array(np.where(near, 0, kind.astype(np.int64) + 1)))
    reason = pc.if_else(pc.equal(signed.column("exact"), best.column("exact")), EXACT_DUPLICATE, reason)
    reason = pc.if_else(pc.equal(ids, best.column("id")), SAME_RECORD, reason)
    none = pa.scalar(None, pa.string())
    copies = np.minimum(best.column("copies").to_numpy(), MAX_COPIES).astype(np.int32)
    return pa.table(
        {
            "reason": pc.if_else(pa.array(stays), none, reason),
            "detail": pc.if_else(pa.array(stays), none, best.column("url")),
            "duplicate_cluster": best.column("smallest"),
            "duplicates": pa.array(copies),
            "similarity": pa.array(alike, mask=stays),
        }
    )


def _by_part(work: Work, group: int, rows: NDArray[np.uint32]) -> Iterator[tuple[int, int, slice]]:
    """Part, its first row in the group, and which of the sorted `rows` are in it."""
    parts, offsets = work.plan.groups[group], work.plan.offsets(group)
    total = work.plan.first_rows[parts[-1] + 1] - work.plan.first_rows[parts[0]]
    ends = np.searchsorted(rows, np.array([*offsets[1:], total], np.int64))
    start = 0
    for part, offset, end in zip(parts, offsets, ends, strict=True):
        yield part, offset, slice(start, int(end))
        start = int(end)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def _unstream(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()
