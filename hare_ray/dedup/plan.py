"""How the work of deduplication is cut, and where its steps find what earlier ones wrote.

    parts of documents     -> groups, neighbouring parts that one task reads
    distinct texts, ids    -> 2^bits partitions by the leading bits of their hash
    keys of bands          -> 2^band_bits partitions by their leading bits
    numbers of texts       -> places: our partitions, then the files of indexes of earlier crawls

The cut follows from the rows and from the memory of one task. It never changes the result. A step is a function of a
number (of a group, partition or place), its small result is kept as JSON when it is done, and a run that was killed
goes on with those that are not. Objects carry the plan in their name, so that other memory finds none of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hare_ray.dedup.index_files import IndexFiles
    from hare_ray.dedup.signature import Signature
    from hare_ray.gather import Desk
    from hare_ray.stage import Table

BYTES_PER_KEY = 64
"""Of a band's key while it is matched: read and joined (24), sorted (24), and the pairs it leads to (16)."""

PARALLEL_TASKS = 8
"""Groups and partitions made at least, where there are as many parts: smaller runs use several cores too."""

TASK_ROWS = 200_000
"""But no more than one for so many rows: every task writes a file for every other."""

MAX_BITS = 16
"""At most 65,536 partitions."""


def bytes_per_text(sketch_bytes: int) -> int:
    """Of a distinct text while it is numbered: its sketch read, joined and in order, its keys, and their order."""
    return 6 * sketch_bytes + 100


@dataclass(frozen=True)
class Plan:
    """How the work is cut."""

    first_rows: tuple[int, ...]
    """Number of the first row of every part, and the number of all rows."""
    groups: tuple[tuple[int, ...], ...]
    bits: int
    band_bits: int
    known: tuple[IndexFiles, ...] = ()
    starts: tuple[int, ...] = ()
    """Number of the first text of every place, and the number of all texts; known when texts are numbered."""

    @property
    def partitions(self) -> int:
        """Partitions of texts and ids."""
        return 1 << self.bits

    @property
    def known_files(self) -> list[tuple[IndexFiles, int]]:
        """The files of known texts: the places after our partitions."""
        return [(index, file) for index in self.known for file in range(len(index.texts))]

    @property
    def ours(self) -> int:
        """How many texts are ours; all later numbers are of known ones."""
        return self.starts[self.partitions]

    @property
    def number(self) -> str:
        """Type of the number of a text."""
        return "u4" if self.starts[-1] < 1 << 32 else "u8"

    def places(self, numbers: NDArray) -> NDArray[np.int64]:
        """The place of every text."""
        starts = np.array(self.starts[1:-1], numbers.dtype)
        return np.searchsorted(starts, numbers, side="right")

    def known_start(self, number: int) -> int:
        """Number of the first text of an index."""
        return self.starts[self.partitions + sum(len(index.texts) for index in self.known[:number])]

    def offsets(self, group: int) -> list[int]:
        """First row of every part of a group, counted from the group's first."""
        parts = self.groups[group]
        return [self.first_rows[part] - self.first_rows[parts[0]] for part in parts]


def _bits(tasks: int) -> int:
    return min((max(tasks, 1) - 1).bit_length(), MAX_BITS)


def plan_of(rows: list[int], shape: tuple[int, int], memory_bytes: int, known: tuple[IndexFiles, ...] = ()) -> Plan:
    """As many tasks as keep one of them under `memory_bytes`; `shape`: bands and bytes of a sketch."""
    bands, sketch_bytes = shape
    first_rows = [0, *np.cumsum(rows, dtype=np.int64).tolist()]
    total = max(first_rows[-1], 1)
    old = sum(sum(index.texts) for index in known)
    least = min(len(rows), PARALLEL_TASKS, 1 + total // TASK_ROWS)
    per_text = bytes_per_text(sketch_bytes)
    tasks = max(-(-total * per_text // memory_bytes), least)
    matching = max(-(-(total + old) * bands * BYTES_PER_KEY // memory_bytes), least)
    groups: dict[int, list[int]] = {}
    for part in range(len(rows)):
        groups.setdefault(first_rows[part] * tasks // total, []).append(part)
    cut = tuple(tuple(parts) for parts in groups.values())
    return Plan(tuple(first_rows), cut, _bits(tasks), _bits(matching), known)


@dataclass(frozen=True)
class Work:
    """What a step works with; travels to workers."""

    desk: Desk
    docs: Table
    signatures: Signature
    plan: Plan
    memory_bytes: int
    min_similarity: float = 0.0
    prefer: tuple[tuple[Table, str], ...] = ()
    """Columns that say which copy stays, and the tables they are in."""
    edges: tuple[Table, ...] = ()
    """Other evidence, see `hare_ray.dedup.edges`."""
    verdicts: Table | None = None
    """Which rows an index is made of: those without a reason."""

    @cached_property
    def tag(self) -> str:
        """Names the cut in the names of objects."""
        plan = self.plan
        cut = [plan.groups, plan.bits, plan.band_bits, self.memory_bytes]
        return hashlib.sha256(json.dumps(cut).encode()).hexdigest()[:8]

    def put(self, name: str, data: bytes) -> None:
        """Keep an object for later steps."""
        self.desk.put(f"{self.tag}-{name}", data)

    def get(self, name: str) -> bytes:
        """An object of an earlier step."""
        return self.desk.get(f"{self.tag}-{name}")

    def result(self, step: str, item: int) -> Any:
        """What a finished step returned."""
        return json.loads(self.get(f"{step}-done-{item}"))

    def run(self, function: Callable[[Work, int], Any], items: Iterable[int]) -> list[Any]:
        """Results of a step for every item, in parallel; those a killed run has finished are not done again."""
        step, items = function.__name__, list(items)
        kept = set(self.desk.kept())
        missing = [item for item in items if f"{self.tag}-{step}-done-{item}" not in kept]
        self.desk.map(partial(_recorded, self, function), missing)
        return [self.result(step, item) for item in items]


def _recorded(work: Work, function: Callable[[Work, int], Any], item: int) -> None:
    result = function(work, item)
    work.put(f"{function.__name__}-done-{item}", json.dumps(result).encode())
