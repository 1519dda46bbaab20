"""From a graph of stages to what is run: passes of part-wise stages, and barriers between them.

A pass takes every part once through all its stages, in one go where their needs allow. Part-wise stages share a pass
when they share a rail (the same numbering of parts, which Map, Keep and Annotate pass on) and a level:

    level(part-wise) = max over inputs of (the input's level, plus 1 where the input is a barrier)
    level(barrier)   = max over inputs of the input's level

so nothing in a pass waits for a barrier that waits for the same pass. Only what is needed outside its pass, or asked
for, is written. Where passes are cut never changes a fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hare_ray.stage import Keep, Map, PartWise, Rebalance, Stage


@dataclass
class Pass:
    """Part-wise stages run together, in order, and those of them that are written."""

    rail: Stage
    level: int
    members: list[PartWise] = field(default_factory=list)
    outputs: list[PartWise] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Named by its members."""
        return "+".join(stage.name for stage in self.members)


Unit = Pass | Stage
"""What is run at a time."""


def rail(stage: Stage) -> Stage:
    """The stage whose numbering of parts `stage` follows."""
    while True:
        if isinstance(stage, Map):
            stage = stage.origin
        elif isinstance(stage, Keep):
            stage = stage.docs
        elif isinstance(stage, Rebalance) or stage.base is stage:
            return stage
        else:
            stage = stage.base


def levels(order: list[Stage]) -> dict[str, int]:
    """Level of every stage, by name."""
    found: dict[str, int] = {}
    for stage in order:
        step = 1 if stage.partwise else 0
        found[stage.name] = max((found[p.name] + (0 if p.partwise else step) for p in stage.parents), default=0)
    return found


def written(order: list[Stage], targets: list[Stage]) -> set[str]:
    """Names of the stages that are written: barriers, targets, and whatever another pass reads."""
    level = levels(order)
    keep = {stage.name for stage in order if not stage.partwise} | {stage.name for stage in targets}
    for stage in order:
        for parent in stage.parents:
            if parent.partwise and not (stage.partwise and level[stage.name] == level[parent.name]):
                keep.add(parent.name)
    # An opinion that is written needs its base beside it: rows to align with, and the ledger of what was dropped.
    keep |= {stage.base.name for stage in order if stage.name in keep}
    return keep


def turns(order: list[Stage], level: dict[str, int]) -> dict[str, tuple[int, int]]:
    """When a stage's turn comes: a pass before the barriers of its level, a barrier as late as its users allow.

    What can fail on bad input then comes before what only takes time.
    """
    found: dict[str, tuple[int, int]] = {}
    for stage in reversed(order):
        if stage.partwise:
            found[stage.name] = (level[stage.name], 0)
            continue
        users = [user for user in order if any(parent is stage for parent in user.parents)]
        latest = [(level[u.name] - 1, 1) if u.partwise else found[u.name] for u in users]
        found[stage.name] = max((level[stage.name], 1), min(latest)) if latest else (level[stage.name], 1)
    return found


def plan(order: list[Stage], targets: list[Stage], done: set[str]) -> list[Unit]:
    """The units to run, in an order that works, given the names of finished stages."""
    keep, level = written(order, targets), levels(order)
    needed: dict[str, Stage] = {}
    stack = [stage for stage in targets if stage.name not in done]
    while stack:
        stage = stack.pop()
        if stage.name not in needed:
            needed[stage.name] = stage
            stack.extend(p for p in stage.parents if p.name not in done)
    passes: dict[tuple[str, int], Pass] = {}
    units: list[tuple[tuple[int, int, int], Unit]] = []
    turn = turns(order, level)
    for position, stage in enumerate(order):
        if stage.name not in needed:
            continue
        if isinstance(stage, PartWise):
            key = (rail(stage).name, level[stage.name])
            if key not in passes:
                passes[key] = Pass(rail(stage), level[stage.name])
                units.append(((*turn[stage.name], position), passes[key]))
            passes[key].members.append(stage)
            if stage.name in keep:
                passes[key].outputs.append(stage)
        else:
            units.append(((*turn[stage.name], position), stage))
    return [unit for _, unit in sorted(units, key=lambda item: item[0])]
