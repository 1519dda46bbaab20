"""Processes of this machine without Ray: a small corpus is done before a cluster would have started.

The plain loop, in forked children: those of a pass have its work from being forked, so that nothing of it is pickled;
those of maps stay from one map to the next, so that what they compile or load is there already. A child that dies ends
the run with an error; it has left a note on disk, so the same command goes on, and after as many deaths as anywhere
finds the record that kills.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from hare_ray.executor import Operator, Outcome, Plain, WorkerDiedError, attempt, plain_map
from hare_ray.gather import Mapper
from hare_ray.work import PassWork

DIED = "the process died, or another one beside it; the same command goes on"

_inherited: list[PassWork] = []
"""The work of the pass whose children are being forked."""


def _whole(part: int) -> Outcome:
    return attempt(part, partial(_inherited[-1].whole, part))


class Forked(Plain):
    """Several parts at a time."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"given {workers} workers, expected at least 1")
        self.workers = workers
        self.children: ProcessPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For a child, which gets it with its desk: a map inside a map runs there and then."""
        return {"workers": 1, "children": None}

    @property
    def mapper(self) -> Mapper:
        """In children, results in order."""
        return self._map

    def _map(self, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        if self.workers == 1 or len(items) == 1:
            return plain_map(function, items)
        self.children = self.children or self._pool()
        try:
            return [future.result() for future in [self.children.submit(function, item) for item in items]]
        except BrokenProcessPool as error:
            raise WorkerDiedError(DIED) from error

    def parts(self, work: PassWork, parts: list[int], operators: list[Operator]) -> Iterator[Outcome]:
        """Whole parts, as they come."""
        if self.workers == 1:
            yield from super().parts(work, parts, operators)
            return
        _inherited.append(work)
        try:
            with self._pool() as pool:
                futures = {pool.submit(_whole, part): part for part in parts}
                for future in as_completed(futures):
                    died = isinstance(future.exception(), BrokenProcessPool)
                    yield Outcome(futures[future], error=DIED) if died else future.result()
        finally:
            _inherited.pop()

    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("fork"))
