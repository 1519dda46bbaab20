"""Notes of what the engines of the batch path are asking, so that one prompt that kills them is found.

    scratch/asked/<run>/<part>-<first row>-<last row>-<among|alone>-<id>    the rows of a batch that is being asked

Ray Data starts a dead engine again without end, and asks its batches again: one prompt that kills it would kill it
for ever. So before a batch is asked, a note of its rows is put on the root, and taken back when they are kept. A note
that the next attempt finds there is a death. Rows with SUSPECT_DEATHS of them are asked in groups of GROUP_ROWS while
the engine does nothing else; after one more death each alone; and a row with which the engine died ALONE_DEATHS times,
alone, gets the reason. A row that only stood beside it, or was in flight when a machine was taken away, is answered in
the end. Notes are one small object for a batch, which is seconds of work.

Each run of the driver has a folder of its own: a driver that is killed ends its engines in mid-work, and what they
leave noted looks like their death. Three interrupted runs must not blame the rows that come first in each.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.gather import Desk
from hare_ray.manifest import folder
from hare_ray.synth.prompt import ERROR

QUESTION = pa.schema(
    [
        pa.field("part", pa.int32()),
        pa.field("row", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("given", pa.bool_()),
        pa.field("prompt", pa.large_string()),
        pa.field("schema", pa.large_string()),
        pa.field("request", pa.binary(16)),
    ]
)
"""`given`: false for a prompt that is null; texts are empty instead of null, as blocks of nulls have no type."""

SUSPECT_DEATHS = 3
"""Of the engine while a row was in flight; fewer happen where machines are taken away."""

ALONE_DEATHS = 2
"""Of the engine while a row was asked alone: the second is no accident."""

GROUP_ROWS = 8
"""Suspects asked together first: with the hundreds in flight at a death, one at a time would take an hour."""

NOTE_FIELDS = 5

Said = tuple[int, str, str]
"""A row that ended with an error: its number, the error, the request in hexadecimal digits."""

KILLER = f"{ERROR}: the engine died each time it was asked"

_desks: dict[str, Desk] = {}
"""The desk this process works at. Ray Data unpickles its functions for every block; the desk is fetched once."""


def shared_desk(shared: Any) -> Desk:
    """The desk behind a reference of Ray."""
    import ray

    key = shared.hex()
    if key not in _desks:
        _desks.clear()
        _desks[key] = ray.get(shared)
    return _desks[key]


@dataclass(frozen=True)
class Told:
    """What an engine tells of its batch: numbers, and the errors, as the task that asks decides what they mean."""

    part: int
    rows: int
    """That are dealt with: all are in the journal but those of `errors`."""
    engine: str
    asked: int = 0
    """Of them now; the others were answered before, or there was nothing to ask."""
    tokens: int = 0
    retried: int = 0
    """Times that these rows were asked before, of engines that died."""
    in_flight: int = 0
    """Most that this engine has had."""
    errors: str = "[]"
    """JSON of Said: blocks of lists that are empty have no type."""


class Notes:
    """What is being asked, on the root; what is left of it after a death is found by the next attempt."""

    def __init__(self, desk: Desk, run: str) -> None:
        """Of the stage at this desk and of this run."""
        self.desk = desk
        self._folder = f"asked/{run}"
        self.place = f"{folder(desk.stage)}/scratch/{self._folder}"
        self._rows: dict[str, NDArray[np.int32]] = {}

    def begin(self, part: int, rows: NDArray[np.int32], alone: bool) -> str:
        """Note that the rows are being asked, `alone` where the engine does nothing else; the note's name."""
        kind = "alone" if alone else "among"
        name = f"{part:05d}-{rows.min():09d}-{rows.max():09d}-{kind}-{uuid.uuid4().hex}"
        self.desk.put(f"{self._folder}/{name}", rows.astype(np.int32).tobytes())
        return name

    def end(self, name: str) -> None:
        """The rows are kept."""
        self.desk.root.delete(f"{self.place}/{name}")

    def deaths(self, part: int, rows: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Deaths of the engine with each of the rows in flight, and those with it alone."""
        all_of, alone_of = np.zeros((2, len(rows)), np.int64)
        for name in self.desk.root.names(self.place):
            fields = name.split("-")
            if len(fields) != NOTE_FIELDS or int(fields[0]) != part:
                continue
            if int(fields[1]) > rows.max() or int(fields[2]) < rows.min():
                continue
            if name not in self._rows:
                self._rows[name] = np.frombuffer(self.desk.root.read(f"{self.place}/{name}"), np.int32)
            died = np.isin(rows, self._rows[name])
            all_of += died
            alone_of += died & (fields[3] == "alone")
        return all_of, alone_of

    def refuse(self, message: str) -> None:
        """Leave word of what ends the run."""
        self.desk.put(f"{self._folder}/refused", message.encode())

    def refused(self) -> str:
        """What ended the run; empty if nothing did."""
        if "refused" not in self.desk.root.names(self.place):
            return ""
        return self.desk.root.read(f"{self.place}/refused").decode()

    def begun(self) -> bool:
        """Whether an engine's process has noted anything yet."""
        return bool(self.desk.root.names(self.place))

    def starting(self, who: str) -> int:
        """Note a start of the engine of this actor; how many before it were not survived."""
        died = sum(name.startswith(f"start-{who}") for name in self.desk.root.names(self.place))
        self.desk.put(f"{self._folder}/start-{who}-{uuid.uuid4().hex}", b"")
        return died

    def started(self, who: str) -> None:
        """The engine runs."""
        for name in self.desk.root.names(self.place):
            if name.startswith(f"start-{who}"):
                self.desk.root.delete(f"{self.place}/{name}")


class Gate:
    """Many ask together, or one group alone."""

    def __init__(self) -> None:
        """Open."""
        self._door, self._empty, self._inside = asyncio.Lock(), asyncio.Event(), 0
        self._empty.set()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Inside with others; waits while somebody is or wants to be alone."""
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Inside with nobody else."""
        async with self._door:
            await self._empty.wait()
            yield


def suspect_groups(suspects: NDArray[np.int64], deaths: NDArray[np.int64]) -> Iterable[NDArray[np.int64]]:
    """Places of rows to ask together while nothing else is asked: few of those that died least, the others alone."""
    first = suspects[deaths[suspects] == SUSPECT_DEATHS]
    for at in range(0, len(first), GROUP_ROWS):
        yield first[at : at + GROUP_ROWS]
    for place in suspects[deaths[suspects] > SUSPECT_DEATHS]:
        yield np.array([place])
