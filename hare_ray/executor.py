"""Where work runs: the interface, and the plain loop in this process.

`hare_ray.on_ray` has the other one. The plain loop runs the very same functions; it serves tests and is the yardstick
for what the engine costs.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from hare_ray.gather import Mapper
from hare_ray.stage import Needs, PartWise
from hare_ray.work import PassWork


class WorkerDiedError(RuntimeError):
    """The process of a whole stage was lost, again and again."""


@dataclass(frozen=True)
class Outcome:
    """What became of one part: rows of each output, or the error that stopped it."""

    part: int
    rows: dict[str, int] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Operator:
    """Members of a pass that run in one worker, one after the other."""

    members: list[PartWise]
    needs: Needs


class Executor(Protocol):
    """Runs parts and whole stages."""

    @property
    def mapper(self) -> Mapper:
        """Applies a function to items in parallel."""
        ...

    def parts(self, work: PassWork, parts: list[int], operators: list[Operator]) -> Iterator[Outcome]:
        """Take the parts through the operators; outcomes as they come."""
        ...

    def call(self, function: Callable[[], Any], needs: Needs) -> Any:
        """Run a whole stage somewhere that has what it needs."""
        ...


def operators(members: list[PartWise], needs: dict[str, Needs]) -> list[Operator]:
    """Stateless neighbours share an operator; a stage with GPUs or long-lived workers has one of its own."""
    found: list[Operator] = []
    for stage in members:
        need = needs[stage.name]
        alone = need.gpus > 0 or need.actors is not None
        last = found[-1] if found else None
        if last and not alone and last.needs.gpus == 0 and last.needs.actors is None:
            memory = max(need.memory_bytes or 0, last.needs.memory_bytes or 0) or None
            joint = Needs(cpus=max(need.cpus, last.needs.cpus), memory_bytes=memory)
            found[-1] = Operator([*last.members, stage], joint)
        else:
            found.append(Operator([stage], need))
    return found


def attempt(part: int, function: Callable[[], dict[str, int]]) -> Outcome:
    """The outcome of one part. An exception ends that part alone; the engine raises it when the rest is done.

    A ValueError speaks to the user and stands alone; anything else is a fault of ours and says where.
    """
    try:
        return Outcome(part, function())
    except ValueError as error:
        return Outcome(part, error=f"{type(error).__name__}: {error}")
    except Exception as error:  # collected: every other part still commits, then the run fails with all of them
        where = traceback.format_exc(limit=-6)
        return Outcome(part, error=f"{type(error).__name__}: {error}\n{where}")


def plain_map(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """In order, in this process."""
    return [function(item) for item in items]


class Plain:
    """Everything in this process, one part after the other."""

    @property
    def mapper(self) -> Mapper:
        """In order."""
        return plain_map

    def parts(self, work: PassWork, parts: list[int], operators: list[Operator]) -> Iterator[Outcome]:
        """Whole parts, in order."""
        for part in parts:
            yield attempt(part, lambda part=part: work.whole(part))

    def call(self, function: Callable[[], Any], needs: Needs) -> Any:
        """Here and now."""
        return function()
