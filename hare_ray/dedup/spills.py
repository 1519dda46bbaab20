"""Packed records of fixed size on their way between tasks, and how work that is larger than memory is cut.

A record is a numpy structure; an object is the bytes of some of them in a row. A task writes one object per target that
it has anything for and returns the targets, so nobody asks for objects that are not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hare_ray.gather import Desk

PARALLEL_TASKS = 8
"""Groups and ranges made at least, where there are as many parts: small runs use several cores too."""


@dataclass(frozen=True)
class Plan:
    """How the work is cut; never changes the result."""

    first_rows: tuple[int, ...]
    """Number of the first row of every part, and the number of all rows."""
    groups: tuple[tuple[int, ...], ...]
    """Parts that one task reads: neighbours."""
    ranges: int
    """Of hashes."""

    def group_row(self, group: int) -> int:
        """The first row of a group."""
        return self.first_rows[self.groups[group][0]]

    def cuts(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where the ranges begin in sorted hashes, and their end."""
        bounds = np.array([(number << 64) // self.ranges for number in range(1, self.ranges)], np.uint64)
        return np.concatenate([[0], np.searchsorted(hashes, bounds), [len(hashes)]])

    def located(self, groups: NDArray[np.uint32], rows: NDArray[np.uint32]) -> tuple[NDArray, NDArray]:
        """Part, and row in the part, of rows that count within their groups."""
        first = np.array([self.group_row(group) for group in range(len(self.groups))], np.int64)
        starts = np.array(self.first_rows, np.int64)
        numbers = first[groups] + rows
        parts = np.searchsorted(starts, numbers, side="right") - 1
        return parts, numbers - starts[parts]


def plan_of(rows: list[int], records: list[int], record_bytes: int, memory_bytes: int) -> Plan:
    """As many tasks as keep one of them under `memory_bytes`; a group is at least one part."""
    first_rows = [0, *np.cumsum(rows, dtype=np.int64).tolist()]
    before = [0, *np.cumsum(records, dtype=np.int64).tolist()]
    total = max(before[-1], 1)
    tasks = max(-(-total * record_bytes // memory_bytes), min(len(rows), PARALLEL_TASKS), 1)
    groups: dict[int, list[int]] = {}
    for part in range(len(rows)):
        groups.setdefault(min(before[part] * tasks // total, tasks - 1), []).append(part)
    return Plan(tuple(first_rows), tuple(tuple(parts) for parts in groups.values()), tasks)


def scatter(desk: Desk, name: str, records: NDArray, edges: NDArray[np.int64]) -> list[int]:
    """Write records [edges[k], edges[k + 1]) as object `name`-k, where there are any; returns these k."""
    filled = np.flatnonzero(np.diff(edges)).tolist()
    for target in filled:
        desk.put(f"{name}-{target}", records[edges[target] : edges[target + 1]].tobytes())
    return filled


def collect(desk: Desk, names: Iterable[str], kind: np.dtype) -> NDArray:
    """The records of some objects, one after another."""
    return np.concatenate([np.empty(0, kind), *(np.frombuffer(desk.get(name), kind) for name in names)])


def senders(targets: list[list[int]], count: int) -> list[list[int]]:
    """Who wrote for each of `count` targets, given the targets of each."""
    found: list[list[int]] = [[] for _ in range(count)]
    for sender, written in enumerate(targets):
        for target in written:
            found[target].append(sender)
    return found


def starts(*columns: NDArray) -> NDArray[np.bool_]:
    """Where a run of equal values begins."""
    begins = np.ones(len(columns[0]), bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return begins
