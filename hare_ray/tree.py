"""The plan as a tree a person reads top to bottom: passes and barriers in the order they run, their stages below."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.markup import escape
from rich.tree import Tree

from hare_ray.manifest import Manifest, kind, recorded
from hare_ray.passes import Pass, plan, written
from hare_ray.stage import Source, Stage, upstream

SHORT = 60
"""Characters of a value that fit a line."""


def numbers(stage: Stage) -> str:
    """Fields that are not stages, short."""
    inputs = set(stage.inputs)
    values = [(name, value) for name, value in stage.fields() if name not in inputs and value != ()]
    if isinstance(stage, Source):
        here = f"{Path.cwd()}/"
        values.insert(0, ("location", stage.location.removeprefix(here)))
    return "  ".join(f"{name}={_value(value)}" for name, value in values)


def _value(value: object) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = (f"{field.name}={_value(getattr(value, field.name))}" for field in dataclasses.fields(value))
        return f"{type(value).__name__}({', '.join(told)})"
    if isinstance(value, tuple):
        if any(_has_numbers(item) for item in value):
            return f"({', '.join(map(_value, value))})"
        text = f"({', '.join(map(str, value))})"
        return text if len(text) <= SHORT else f"({len(value)} values)"
    return str(value) if len(str(value)) <= SHORT else f"{str(value)[: SHORT - 3]}..."


def _has_numbers(value: object) -> bool:
    """Whether it is a dataclass of numbers, which a plan must show; one with texts would only fill it."""
    if not dataclasses.is_dataclass(value):
        return False
    values = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return any(isinstance(v, int | float) for v in values) and not any(isinstance(v, str) for v in values)


def tree(title: str, targets: tuple[Stage, ...], states: dict[str, str]) -> Tree:
    """The whole plan.

    Args:
        title: first line.
        targets: last stages.
        states: name -> done, stale or to do; nothing is marked for names that are missing.
    """
    order = upstream(*targets)
    keep = written(order, list(targets))

    def line(stage: Stage) -> str:
        colour = {"done": "green", "stale": "red"}.get(states.get(stage.name, ""), "yellow")
        mark = f"[{colour}]{states[stage.name]}[/] " if stage.name in states else ""
        passing = "" if stage.name in keep else " [dim](passes on)[/]"
        inputs = ", ".join(parent.name for parent in stage.parents)
        told = f" [dim]<- {inputs}[/]" if inputs else ""
        return f"{mark}[bold]{stage.name}[/] [cyan]{kind(stage)}[/]{told}{passing}  {escape(numbers(stage))}".rstrip()

    top = Tree(f"[bold]{escape(title)}[/]")
    for unit in plan(order, list(targets), set()):
        if isinstance(unit, Pass):
            branch = top.add(f"[magenta]one pass over the parts of {unit.rail.name}[/]")
            for stage in unit.members:
                branch.add(line(stage))
        else:
            top.add(line(unit))
    return top


def states(order: list[Stage], manifests: dict[str, Manifest]) -> dict[str, str]:
    """done, stale or to do, by stage name."""
    known = recorded(manifests)
    found = {}
    for stage in order:
        same = stage.name in known and known[stage.name]["fingerprint"] == stage.fingerprint
        found[stage.name] = "done" if same else "stale" if stage.name in known else "to do"
    return found
