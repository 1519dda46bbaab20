"""How the work of deduplication is cut, and where its steps find what earlier ones wrote.

    parts of documents     -> groups, neighbouring parts that one task reads
    distinct texts, ids    -> 2^bits partitions by the leading bits of their hash
    keys of bands          -> 2^band_bits partitions by their leading bits
    numbers of texts       -> places: our partitions, then the files of indexes of earlier crawls

The cut follows from the rows, the known texts and the memory of one task. It never changes the result. A step is a
function of a number (of a group, partition or place), its small result is kept as JSON when it is done, and a run that
was killed goes on with those that are not. Objects carry the plan in their name, so that other memory finds none of
them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hare_ray.dedup.index_files import IndexFiles
    from hare_ray.dedup.signature import Signature
    from hare_ray.gather import Desk
    from hare_ray.stage import Table

BYTES_PER_KEY = 80
"""Of a band's key while it is matched: read and joined (24), sorted (24), its weights (16), pairs it leads to (16)."""

BYTES_PER_KNOWN = 112
"""Of a known text or id while ours are looked up: read and joined (40), hash and order (40), number and match (32)."""

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
class Cut:
    """How parts and hashes are cut."""

    first_rows: tuple[int, ...]
    """Number of the first row of every part, and the number of all rows."""
    groups: tuple[tuple[int, ...], ...]
    bits: int

    @property
    def partitions(self) -> int:
        """Partitions of hashes."""
        return 1 << self.bits

    @property
    def shape(self) -> list[Any]:
        """What tells one cut from another."""
        return [self.groups, self.bits]

    def offsets(self, group: int) -> list[int]:
        """First row of every part of a group, counted from the group's first."""
        parts = self.groups[group]
        return [self.first_rows[part] - self.first_rows[parts[0]] for part in parts]

    def located(self, groups: NDArray[np.uint32], rows: NDArray[np.uint32]) -> tuple[NDArray, NDArray]:
        """Part, and row in the part, of rows that count within their groups."""
        first = np.array([self.first_rows[parts[0]] for parts in self.groups], np.int64)
        starts = np.array(self.first_rows, np.int64)
        numbers = first[groups] + rows
        parts = np.searchsorted(starts, numbers, side="right") - 1
        return parts, numbers - starts[parts]


@dataclass(frozen=True)
class Plan(Cut):
    """How texts, ids and the keys of bands are cut."""

    band_bits: int
    known: tuple[IndexFiles, ...] = ()
    starts: tuple[int, ...] = ()
    """Number of the first text of every place, and the number of all texts; known when texts are numbered."""

    @property
    def shape(self) -> list[Any]:
        """What tells one cut from another."""
        return [*super().shape, self.band_bits]

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


def bits_of(tasks: int) -> int:
    """Leading bits that make at least so many partitions."""
    return min((max(tasks, 1) - 1).bit_length(), MAX_BITS)


def _tasks(sizes: list[int], needed_bytes: int, memory_bytes: int) -> int:
    least = min(len(sizes), PARALLEL_TASKS, 1 + sum(sizes) // TASK_ROWS)
    return max(-(-needed_bytes // memory_bytes), least, 1)


def cut_of(rows: list[int], sizes: list[int], item_bytes: int, memory_bytes: int) -> Cut:
    """As many tasks as keep one of them under `memory_bytes`, but a group is at least a part; `sizes`: its items."""
    first_rows = [0, *np.cumsum(rows, dtype=np.int64).tolist()]
    before = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
    total = max(before[-1], 1)
    tasks = _tasks(sizes, total * item_bytes, memory_bytes)
    groups: dict[int, list[int]] = {}
    for part in range(len(rows)):
        groups.setdefault(min(before[part] * tasks // total, tasks - 1), []).append(part)
    return Cut(tuple(first_rows), tuple(tuple(parts) for parts in groups.values()), bits_of(tasks))


def plan_of(rows: list[int], shape: tuple[int, int], memory_bytes: int, known: tuple[IndexFiles, ...] = ()) -> Plan:
    """As many tasks as keep one of them under `memory_bytes`; `shape`: bands and bytes of a sketch.

    Beside what it counts a task reads single files of an index, of `known.FILE_BYTES` each.
    """
    bands, sketch_bytes = shape
    own = cut_of(rows, rows, bytes_per_text(sketch_bytes), memory_bytes)
    total = max(own.first_rows[-1], 1)
    old = sum(sum(index.texts) for index in known)
    texts = _tasks(rows, total * bytes_per_text(sketch_bytes) + old * BYTES_PER_KNOWN, memory_bytes)
    matching = _tasks(rows, (total + old) * bands * BYTES_PER_KEY, memory_bytes)
    return Plan(own.first_rows, own.groups, bits_of(texts), bits_of(matching), known)


@dataclass(frozen=True)
class Steps:
    """What steps work with, and how they are run; travels to workers."""

    desk: Desk
    plan: Cut
    memory_bytes: int

    @cached_property
    def tag(self) -> str:
        """Names the cut in the names of objects."""
        cut = [*self.plan.shape, self.memory_bytes]
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

    def run(self, function: Callable[[Self, int], Any], items: Iterable[int]) -> list[Any]:
        """Results of a step for every item, in parallel; those a killed run has finished are not done again."""
        step, items = function.__name__, list(items)
        kept = set(self.desk.kept())
        missing = [item for item in items if f"{self.tag}-{step}-done-{item}" not in kept]
        self.desk.map(partial(_recorded, self, function), missing)
        return [self.result(step, item) for item in items]


def _recorded(work: Steps, function: Callable[[Any, int], Any], item: int) -> None:
    result = function(work, item)
    work.put(f"{function.__name__}-done-{item}", json.dumps(result).encode())


@dataclass(frozen=True)
class Work(Steps):
    """What the steps of `Duplicates` and of its index work with."""

    plan: Plan
    docs: Table
    signatures: Signature
    min_similarity: float = 0.0
    prefer: tuple[tuple[Table, str], ...] = ()
    """Columns that say which copy stays, and the tables they are in."""
    edges: tuple[Table, ...] = ()
    """Other evidence, see `hare_ray.dedup.edges`."""
    verdicts: Table | None = None
    """Which rows an index is made of: those without a reason."""
