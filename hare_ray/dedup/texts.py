"""Distinct texts: every exact hash gets a number, and from here on texts are compared, not rows.

    group of parts  -> per partition of hashes: its distinct texts (exact, copies, sketch), sorted by hash
    partition       -> the distinct texts of all groups, numbered in the order of their hash; the keys of their bands
    group           -> (id, number of the text) per partition of ids
    partition       -> edges between texts that one id stands for

A number follows from the set of texts alone, not from files and their order, and so does all that is decided by it,
such as which texts of a crowded bucket are compared. Copies collapse before anything travels: ten million copies of a
text are one record of each group. Texts of earlier crawls keep the numbers of their index and follow after ours.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hare_ray.dedup.plan import Work
from hare_ray.dedup.runs import (
    WIDE,
    Layout,
    column,
    cut,
    distinct,
    fixed_bytes,
    halves,
    hashed,
    leading,
    pack,
    unique_pairs,
    unpack,
    unpacked,
)  # fmt: skip

RANKS: Layout = (("u4", 1), ("u4", 1))
"""Of the texts of a group in a partition: rank among all texts of the partition, rows of the group."""

OWN: Layout = (("u4", 1), ("u4", 1))
"""Of the rows of a group that have words: row, place among the distinct texts of the group."""


def text_layout(work: Work) -> Layout:
    """Exact hash, rows that have it, sketch."""
    return (WIDE, ("u4", 1), ("u1", work.signatures.sketch_bytes))


def spill_texts(work: Work, group: int) -> None:
    """Write the distinct texts of a group, cut by partition, and which rows have them."""
    rows, exact, sketch = [], [], []
    for part, offset in zip(work.plan.groups[group], work.plan.offsets(group), strict=True):
        signed = work.desk.read(work.signatures, part, ["exact", "sketch"])
        keys = column(signed, "exact")
        rows.append(np.flatnonzero(np.asarray(keys.is_valid())).astype(np.uint32) + np.uint32(offset))
        exact.append(halves(keys.drop_null()))
        sketch.append(fixed_bytes(column(signed, "sketch").drop_null()))
    wide, bytes_, row = np.concatenate(exact), np.concatenate(sketch), np.concatenate(rows)
    order, begins = distinct(wide)
    firsts = np.flatnonzero(begins)
    local = np.empty(len(wide), np.uint32)
    local[order] = np.cumsum(begins) - 1
    work.put(f"own-{group}", pack(row, local))
    copies = np.diff(np.append(firsts, len(wide))).astype(np.uint32)
    first = order[firsts]
    places = leading(hashed(wide[first]), work.plan.bits)
    ends = np.searchsorted(places, np.arange(work.plan.partitions + 1))
    for partition, (start, end) in enumerate(pairwise(ends)):
        chosen = first[start:end]
        data = pack(wide[chosen], copies[start:end], bytes_[chosen])
        work.put(f"text-{group}-{partition}", data)


def number_texts(work: Work, partition: int) -> int:
    """Number the texts of a partition, write their bands' keys and edges to equal known texts; how many they are."""
    plan, layout = work.plan, text_layout(work)
    tables = [unpack(work.get(f"text-{group}-{partition}"), layout) for group in range(len(plan.groups))]
    wide, copies, sketch = (np.concatenate(columns) for columns in zip(*tables, strict=True))
    sizes = [len(table[0]) for table in tables]
    del tables
    order, begins = distinct(wide, plan.bits)
    ranks = np.empty(len(wide), np.uint32)
    ranks[order] = np.cumsum(begins) - 1
    bounds = np.cumsum([0, *sizes])
    for group, (start, end) in enumerate(pairwise(bounds)):
        work.put(f"rank-{partition}-{group}", pack(ranks[start:end], copies[start:end]))
    where = order[begins]
    work.put(f"where-{partition}", pack(where.astype(np.uint32)))
    _known_texts(work, partition, wide[where])
    spill_bands(work, f"band-{partition}", sketch[where])
    return len(where)


def spill_bands(work: Work, name: str, sketch: NDArray[np.uint8]) -> None:
    """Write the keys of the bands of sketches, with the rank of each, cut by partition."""
    from hare_ray.dedup.minhash import band_keys

    bands = work.signatures.bands
    keys = band_keys(sketch, bands, work.signatures.rows).reshape(-1)
    places = leading(keys, work.plan.band_bits)
    for band, chosen in cut(places, 1 << work.plan.band_bits):
        work.put(f"{name}-{band}", pack(keys[chosen], (chosen // bands).astype(np.uint32)))


def _known_texts(work: Work, partition: int, wide: NDArray[np.uint64]) -> None:
    """Write which texts of a partition an index holds: rank, number of the index, rank in it."""
    found = []
    for number, index in enumerate(work.plan.known):
        known, ranks = index.exact(work.desk, partition, work.plan.bits)
        both = np.concatenate([wide, known])
        order, begins = distinct(both, work.plan.bits)
        # Sorting is stable, so a text of ours is the first of its run. An index of rows that were not compared with
        # each other may hold a text twice.
        heads = np.flatnonzero(begins)[np.cumsum(begins) - 1]
        again = np.flatnonzero(~begins & (order[heads] < len(wide)))
        first, second = order[heads[again]], order[again]
        filled = np.full(len(again), number, np.uint32)
        found.append((first.astype(np.uint32), filled, ranks[second - len(wide)]))
    data = [np.concatenate(columns) for columns in zip(*found, strict=True)] if found else []
    work.put(f"same-{partition}", pack(*data))


def same_texts(work: Work, partition: int) -> tuple[NDArray, NDArray]:
    """Edges between texts of ours and equal ones of an index."""
    plan = work.plan
    rank, index, known = unpack(work.get(f"same-{partition}"), (("u4", 1),) * 3)
    starts = np.array([plan.known_start(number) for number in range(len(plan.known))] or [0], np.int64)
    return rank.astype(np.int64) + plan.starts[partition], starts[index] + known


def texts_of(work: Work, group: int) -> tuple[NDArray, NDArray[np.uint32], NDArray[np.uint32]]:
    """Number of every distinct text of a group, the rows that have words, and the place of each one's text."""
    plan, numbers = work.plan, []
    for partition in range(plan.partitions):
        ranks, _ = unpack(work.get(f"rank-{partition}-{group}"), RANKS)
        numbers.append(ranks.astype(plan.number) + np.dtype(plan.number).type(plan.starts[partition]))
    rows, local = unpack(work.get(f"own-{group}"), OWN)
    return np.concatenate(numbers), rows, local


def sketches(work: Work, place: int) -> NDArray[np.uint8]:
    """The sketches of the texts of a place, by rank."""
    plan = work.plan
    if place >= plan.partitions:
        index, file = plan.known_files[place - plan.partitions]
        return index.text_file(work.desk, file)[1]
    objects = (work.get(f"text-{group}-{place}") for group in range(len(plan.groups)))
    sketch = np.concatenate([unpack(data, text_layout(work))[2] for data in objects])
    return sketch[unpack(work.get(f"where-{place}"), (("u4", 1),))[0]]


def spill_ids(work: Work, group: int) -> None:
    """Write the ids of a group with the number of their text, each once, cut by partition of ids."""
    plan = work.plan
    numbers, rows, local = texts_of(work, group)
    parts = [column(work.desk.read(work.docs, part, ["id"]), "id") for part in plan.groups[group]]
    wide, number = np.concatenate([halves(ids) for ids in parts])[rows], numbers[local]
    order, begins = distinct(wide)
    again = np.flatnonzero(~begins)
    begins[again] = number[order[again]] != number[order[again - 1]]
    order = order[begins]
    ends = np.searchsorted(leading(hashed(wide[order]), plan.bits), np.arange(plan.partitions + 1))
    for partition, (start, end) in enumerate(pairwise(ends)):
        chosen = order[start:end]
        work.put(f"id-{group}-{partition}", pack(wide[chosen], number[chosen]))


def match_ids(work: Work, partition: int) -> None:
    """Write the edges between texts that one id stands for: the same record, read in two ways."""
    plan = work.plan
    objects = (work.get(f"id-{group}-{partition}") for group in range(len(plan.groups)))
    ids, numbers = unpacked(objects, (WIDE, (plan.number, 1)))
    known = [index.ids(work.desk, partition, plan.bits) for index in plan.known]
    wide = np.concatenate([ids, *(keys for keys, _ in known)])
    starts = [plan.known_start(number) for number in range(len(known))]
    old = [
        ranks.astype(plan.number) + np.dtype(plan.number).type(at) for at, (_, ranks) in zip(starts, known, strict=True)
    ]
    number = np.concatenate([numbers, *old])
    order, begins = distinct(wide, plan.bits)
    heads = order[np.flatnonzero(begins)[np.cumsum(begins) - 1]] if len(order) else order
    first, second = number[heads], number[order]
    other = (first != second) & (first < plan.ours)
    work.put(f"id_edge-{partition}", pack(*unique_pairs(first[other], second[other])))
