"""The steps of `hare_ray.dedup.repeated_passages`, each a function of one part, group of parts or range of hashes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.dedup.passage_pairs import (
    BYTES_PER_PASSAGE,
    CONTAINED,
    PAIR,
    PASSAGE,
    PLACE,
    Groups,
    best,
    carried_of,
    contained_of,
    holders_of,
    pairs_of,
    places_only,
    shared_of,
    shared_only,
)
from hare_ray.dedup.plan import Steps
from hare_ray.dedup.runs import column, cut, fixed_bytes, leading, sorted_order, starts

if TYPE_CHECKING:
    from hare_ray.dedup.repeated_passages import RepeatedPassages


@dataclass(frozen=True)
class PassageWork(Steps):
    """What the steps work with."""

    stage: RepeatedPassages
    records: tuple[int, ...] = ()
    """Of every range of hashes; known when they are spilled."""

    def collect(self, names: list[str], kind: np.dtype) -> NDArray:
        """The records of some objects, one after another."""
        return np.concatenate([np.empty(0, kind), *(np.frombuffer(self.get(name), kind) for name in names)])

    def pieces(self, number: int) -> int:
        """In how many pieces a range is matched."""
        return max(-(-self.records[number] * BYTES_PER_PASSAGE // self.memory_bytes), 1)


def count(work: PassageWork, part: int) -> int:
    """Passages of one part that are compared."""
    lists = column(work.desk.read(work.stage.passages, part, ["passages"]), "passages")
    return int(np.count_nonzero(lists.flatten().to_numpy()))


def _records(work: PassageWork, part: int) -> NDArray:
    """The passages of one part that are compared; rows count within the part."""
    table = work.desk.read(work.stage.passages, part, ["passages", "passage_words"])
    lists = column(table, "passages")
    offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy(), dtype=np.int64)])
    hashes = lists.flatten().to_numpy()
    weights = column(table, "passage_words").flatten().to_numpy()
    total = np.diff(np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])[offsets])
    ids = column(work.desk.read(work.stage.docs, part, ["id"]), "id")
    halves = fixed_bytes(ids).view(">u8")[:, 0]
    compared = np.flatnonzero(hashes)
    rows = np.repeat(np.arange(len(lists)), np.diff(offsets))[compared]
    records = np.empty(len(compared), PASSAGE)
    records["hash"], records["weight"] = hashes[compared], weights[compared]
    records["row"], records["place"] = rows, compared - offsets[rows]
    records["id"], records["words"] = halves[rows], total[rows]
    return records


def spill(work: PassageWork, group: int) -> list[int]:
    """Write a group's passages by hash, cut by range, and places repeated within a document; passages per range."""
    found = []
    for part, offset in zip(work.plan.groups[group], work.plan.offsets(group), strict=True):
        found.append(_records(work, part))
        found[-1]["row"] += np.uint32(offset)
    records = np.concatenate(found)
    records = records[sorted_order(records["hash"])[0]]  # stable: by row and place within a hash
    fresh = starts(records["hash"], records["row"])
    work.put(f"again-{group}", places_only(records[~fresh]).tobytes())
    records = records[fresh]
    ends = np.searchsorted(leading(records["hash"], work.plan.bits), np.arange(work.plan.partitions + 1))
    for number, (start, end) in enumerate(pairwise(ends)):
        work.put(f"run-{group}-{number}", records[start:end].tobytes())
    return np.diff(ends).tolist()


def _pieces(work: PassageWork, number: int) -> Iterator[tuple[NDArray, Groups]]:
    """The passages of a range by group, hash and row, and their groups: all, or in pieces by id, smallest first."""
    pieces = work.pieces(number)
    for piece in range(pieces):
        runs = []
        for group in range(len(work.plan.groups)):
            run = np.frombuffer(work.get(f"run-{group}-{number}"), PASSAGE)
            if pieces > 1:
                run = run[(run["id"] >> np.uint64(32)) * np.uint64(pieces) >> np.uint64(32) == piece]
            runs.append(run)
        groups = np.repeat(np.arange(len(runs), dtype=np.uint32), [len(run) for run in runs])
        yield np.concatenate(runs), groups


def match(work: PassageWork, number: int) -> int:
    """Write the pairs that one range of hashes gives, by piece and group; how many passages repeat."""
    shared = shared_of([holders_of(records) for records, _ in _pieces(work, number)])
    old, old_groups = np.empty(0, PASSAGE), np.empty(0, np.uint32)
    for piece, (records, groups) in enumerate(_pieces(work, number)):
        records, groups = np.concatenate([old, records]), np.concatenate([old_groups, groups])
        some = shared_only(records, groups, len(old), shared)
        del records, groups
        pairs, groups = pairs_of(some, work.stage.max_documents)
        old, old_groups = carried_of(some)
        for group, chosen in cut(groups, len(work.plan.groups)):
            work.put(f"pairs-{number}-{piece}-{group}", pairs[chosen].tobytes())
    return len(shared[0])


def contain(work: PassageWork, group: int) -> None:
    """Write the places that go, and, by its group, who is contained in whom."""
    ranges = range(work.plan.partitions)
    names = [f"pairs-{number}-{piece}-{group}" for number in ranges for piece in range(work.pieces(number))]
    pairs = work.collect(names, PAIR)
    work.put(f"goes-{group}", places_only(pairs[pairs["goes"] > 0]).tobytes())
    found = contained_of(pairs, group, work.stage.min_share)
    for other, chosen in cut(found["group"], len(work.plan.groups)):
        work.put(f"in-{group}-{other}", found[chosen].tobytes())


def write(work: PassageWork, group: int) -> None:
    """Write the group's parts."""
    plan = work.plan
    places = work.collect([f"again-{group}", f"goes-{group}"], PLACE)
    places = places[np.lexsort((places["place"], places["row"]))]
    inside = best(work.collect([f"in-{source}-{group}" for source in range(len(plan.groups))], CONTAINED))
    parts, rows = plan.located(inside["other_group"], inside["other_row"])
    shares = (inside["shared"] / inside["words"]).astype(np.float32)
    for part, offset in zip(plan.groups[group], plan.offsets(group), strict=True):
        edges = np.arange(offset, offset + plan.first_rows[part + 1] - plan.first_rows[part] + 1)
        at = np.searchsorted(places["row"], edges)
        here = places[at[0] : at[-1]]
        share = np.zeros(len(edges) - 1, np.float32)
        heads = np.flatnonzero(np.diff(at))
        if len(heads):
            weights = np.add.reduceat(here["weight"], at[heads] - at[0], dtype=np.int64)
            share[heads] = weights / places["words"][at[heads]]
        to = np.searchsorted(inside["row"], edges)
        columns = [
            _lists(at, here["place"].astype(np.int32)),
            pa.array(share),
            *(_lists(to, values[to[0] : to[-1]]) for values in (parts.astype(np.int32), rows.astype(np.int32), shares)),
        ]
        work.desk.write(part, pa.table(columns, schema=work.stage.writes))


def _lists(edges: NDArray[np.int64], values: NDArray) -> pa.ListArray:
    """List k holds the values [edges[k], edges[k + 1]), counted from edges[0]."""
    return pa.ListArray.from_arrays(pa.array((edges - edges[0]).astype(np.int32)), pa.array(values))
