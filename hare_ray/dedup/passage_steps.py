"""The steps of `hare_ray.dedup.repeated_passages`, each a function of one part, group of parts or range of hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.dedup.passage_pairs import CONTAINED, PAIR, PASSAGE, PLACE, best, contained_of, pairs_of, places_only
from hare_ray.dedup.runs import fixed_bytes, sorted_order
from hare_ray.dedup.spills import Plan, collect, scatter, starts

if TYPE_CHECKING:
    from hare_ray.dedup.repeated_passages import RepeatedPassages
    from hare_ray.gather import Desk


def count(desk: Desk, stage: RepeatedPassages, part: int) -> int:
    """Passages of one part that are compared."""
    lists = desk.read(stage.passages, part, ["passages"]).column("passages").combine_chunks()
    return int(np.count_nonzero(lists.flatten().to_numpy()))


def _records(desk: Desk, stage: RepeatedPassages, part: int) -> NDArray:
    """The passages of one part that are compared; rows count within the part."""
    table = desk.read(stage.passages, part, ["passages", "passage_words"])
    lists = table.column("passages").combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy(), dtype=np.int64)])
    hashes = lists.flatten().to_numpy()
    weights = table.column("passage_words").combine_chunks().flatten().to_numpy()
    total = np.diff(np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])[offsets])
    ids = desk.read(stage.docs, part, ["id"]).column("id").combine_chunks()
    halves = fixed_bytes(ids).view(">u8")[:, 0]
    compared = np.flatnonzero(hashes)
    rows = np.repeat(np.arange(len(lists)), np.diff(offsets))[compared]
    records = np.empty(len(compared), PASSAGE)
    records["hash"], records["weight"] = hashes[compared], weights[compared]
    records["row"], records["place"] = rows, compared - offsets[rows]
    records["id"], records["words"] = halves[rows], total[rows]
    return records


def spill(desk: Desk, stage: RepeatedPassages, plan: Plan, group: int) -> list[int]:
    """Write the group's passages sorted by hash, cut by range, and the places repeated within their document."""
    found = []
    for part in plan.groups[group]:
        found.append(_records(desk, stage, part))
        found[-1]["row"] += np.uint32(plan.first_rows[part] - plan.group_row(group))
    records = np.concatenate(found)
    records = records[sorted_order(records["hash"])[0]]  # stable: by row and place within a hash
    fresh = starts(records["hash"], records["row"])
    desk.put(f"again-{group}", places_only(records[~fresh]).tobytes())
    records = records[fresh]
    return scatter(desk, f"run-{group}", records, plan.cuts(records["hash"]))


def match(desk: Desk, stage: RepeatedPassages, plan: Plan, item: tuple[int, list[int]]) -> tuple[list[int], int]:
    """Write the pairs that one range of hashes gives, by group; returns these groups and how many passages repeat."""
    number, sources = item
    runs = [collect(desk, [f"run-{group}-{number}"], PASSAGE) for group in sources]
    groups = np.repeat(np.array(sources, np.uint32), [len(run) for run in runs])
    records = np.concatenate([np.empty(0, PASSAGE), *runs])
    del runs
    pairs, groups, shared = pairs_of(records, groups, stage.max_documents)
    order = np.argsort(groups, kind="stable")
    edges = np.searchsorted(groups[order], np.arange(len(plan.groups) + 1))
    return scatter(desk, f"pairs-{number}", pairs[order], edges), shared


def contain(desk: Desk, stage: RepeatedPassages, plan: Plan, item: tuple[int, list[int]]) -> list[int]:
    """Write the places that go, and, by its group, who is contained in whom; returns these groups."""
    group, sources = item
    pairs = collect(desk, [f"pairs-{number}-{group}" for number in sources], PAIR)
    desk.put(f"goes-{group}", places_only(pairs[pairs["goes"] > 0]).tobytes())
    found = contained_of(pairs, group, stage.min_share)
    return scatter(desk, f"in-{group}", found, np.searchsorted(found["group"], np.arange(len(plan.groups) + 1)))


def write(desk: Desk, stage: RepeatedPassages, plan: Plan, item: tuple[int, list[int]]) -> None:
    """Write the group's parts."""
    group, sources = item
    places = collect(desk, [f"again-{group}", f"goes-{group}"], PLACE)
    places = places[np.lexsort((places["place"], places["row"]))]
    inside = best(collect(desk, [f"in-{source}-{group}" for source in sources], CONTAINED))
    parts, rows = plan.located(inside["other_group"], inside["other_row"])
    shares = (inside["shared"] / inside["words"]).astype(np.float32)
    for part in plan.groups[group]:
        edges = np.arange(plan.first_rows[part], plan.first_rows[part + 1] + 1) - plan.group_row(group)
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
        desk.write(part, pa.table(columns, schema=stage.writes))


def _lists(edges: NDArray[np.int64], values: NDArray) -> pa.ListArray:
    """List k holds the values [edges[k], edges[k + 1]), counted from edges[0]."""
    return pa.ListArray.from_arrays(pa.array((edges - edges[0]).astype(np.int32)), pa.array(values))
