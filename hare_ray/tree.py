"""The plan as a tree a person reads top to bottom: passes and barriers in the order they run, their stages below.

After an edit the `Outlook` says what a run would do to a root: which stages differ in what, which would be made anew
because of it, which stay, and the flags to say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.tree import Tree

from hare_ray.earlier import recalls
from hare_ray.manifest import Manifest, kind, recorded, stale
from hare_ray.passes import Pass, plan, written
from hare_ray.stage import Source, Stage, Table, upstream

SHORT = 60
"""Characters of a value that fit a line."""

UNRECORDED = "(what it was before is not on record, as its rows were only passed on)"


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
        states: name -> done, reused, stale, redo or to do; nothing is marked for names that are missing.
    """
    order = upstream(*targets)
    keep = written(order, list(targets))

    def line(stage: Stage) -> str:
        colour = {"done": "green", "reused": "green", "stale": "red"}.get(states.get(stage.name, ""), "yellow")
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
    known = fingerprints(manifests)
    found = {}
    for stage in order:
        made = known.get(stage.name, set())
        found[stage.name] = "done" if stage.fingerprint in made else "stale" if made else "to do"
    return found


def fingerprints(manifests: dict[str, Manifest]) -> dict[str, set[str]]:
    """Of all stages that are on record by name; one that only passed rows on may be so in its users' recipes alone."""
    known = recorded(manifests)
    found: dict[str, set[str]] = {}
    for manifest in known.values():
        for field, names in manifest["inputs"].items():
            values = manifest["recipe"]["fields"][field]
            for name, value in zip(names, values if isinstance(values, list) else [values], strict=True):
                found.setdefault(name, set()).add(value["stage"])
    return {**found, **{name: {manifest["fingerprint"]} for name, manifest in known.items()}}


@dataclass(frozen=True)
class Outlook:
    """What a run would do to a root."""

    states: dict[str, str]
    """Name -> done; reused: of the other root; stale: another recipe made it, which a run refuses; anew: the other root
    has it of another recipe; redo: named by --redo or after one; to do: made nowhere yet."""
    edited: dict[str, str]
    """Name -> what is no longer as it was when the stage was made, inputs before users."""
    redo: tuple[str, ...]
    """What to name so that every stale stage is made anew."""
    asking: tuple[str, ...] = ()
    """What is to be asked again, and what not, by stages that take answers over."""

    def lines(self, root: str) -> list[str]:
        """For a person who edited something, or asks how far a run is."""
        told = [f"edited: {name} {what}" for name, what in self.edited.items()]
        anew, fresh = self._of("stale", "anew", "redo"), self._of("to do")
        stay = len(self.states) - len(anew) - len(fresh)
        if anew:
            told.append(f"{len(anew)} of {len(self.states)} stages would be made anew: {', '.join(anew)}; {stay} stay")
        elif stay:  # an edit of what this recipe does not read must not be met with silence
            told.append(f"nothing would be made anew: {stay} of {len(self.states)} stages stay as they are")
        if fresh and (stay or anew):
            told.append(f"{len(fresh)} of {len(self.states)} stages were not made yet: {', '.join(fresh)}")
        told += self.asking
        if self.redo:
            flags = " ".join(f"--redo {name}" for name in self.redo)
            told.append(f"say {flags} to make them anew here, or --root NEW --reuse {root} to keep this run as it is")
        return told

    def _of(self, *states: str) -> list[str]:
        return [name for name, state in self.states.items() if state in states]


def outlook(
    order: list[Stage], made: dict[str, Manifest], offered: dict[str, Manifest], redo: tuple[str, ...]
) -> Outlook:
    """What a run of these stages, inputs before users, would do.

    Args:
        order: all stages of the recipe.
        made: manifests of the root.
        offered: manifests of the root to reuse.
        redo: names to make anew, with all that follows them.
    """
    if unknown := sorted(set(redo) - {stage.name for stage in order}):
        raise ValueError(f"--redo {unknown}: no such stage; there are {[stage.name for stage in order]}")
    following = _followed(order, set(redo))
    kept = {name: manifest for name, manifest in made.items() if name not in following}
    own, on_record = states(order, made), fingerprints(kept)
    taken = {name: manifest for name, manifest in offered.items() if name not in kept.keys() | following}
    other, was = states(order, {**taken, **kept}), states(order, {**offered, **made})
    found = {}
    for stage in order:
        name = stage.name
        if name in following:
            found[name] = "redo" if was[name] != "to do" else "to do"
        elif own[name] == "done" or name in kept:
            found[name] = own[name]
        elif other[name] == "done":
            found[name] = "reused"
        elif own[name] == "stale":
            found[name] = "stale" if name in on_record else "redo"  # all that knew it by name is made anew
        else:
            found[name] = "anew" if other[name] == "stale" else "to do"
    return Outlook(
        found,
        _edited(order, {**offered, **made}, was),
        _covering(order, {name for name, state in found.items() if state == "stale"}),
        tuple(_asking(order, found, {**offered, **made}, redo)),
    )


def _asking(
    order: list[Stage], found: dict[str, str], manifests: dict[str, Manifest], redo: tuple[str, ...]
) -> Iterator[str]:
    """What manifests alone can tell of the rows that a stage would ask; which answers fit, only the run finds out."""
    for stage in order:
        if not recalls(stage) or found[stage.name] in ("done", "reused"):
            continue
        prompts = next(parent for parent in stage.parents if isinstance(parent, Table))
        made = found[prompts.name] in ("done", "reused") and prompts.name in manifests
        rows = f"{_rows(manifests[prompts.name]):,} rows" if made else "its rows, which are not made yet,"
        answers = _rows(manifests[stage.name]) if stage.name in manifests else 0
        if stage.name in redo:
            yield f"{stage.name} would ask {rows} anew"
        elif not answers:
            yield f"{stage.name} would ask {rows} less what a stopped run was answered"
        else:
            yield (
                f"{stage.name} would ask {rows} but not those whose model, prompt and parameters are as before: "
                f"their answers are taken over, of {answers:,} on record"
            )


def _rows(manifest: Manifest) -> int:
    return sum(part["rows"] for part in manifest["parts"])


def _edited(order: list[Stage], manifests: dict[str, Manifest], was: dict[str, str]) -> dict[str, str]:
    """What differs in stages that are stale by themselves, not only by what they are made of."""
    told, known = stale(order, manifests), recorded(manifests)
    for stage in order:
        changed = was[stage.name] == "stale" and not any(was[parent.name] == "stale" for parent in stage.parents)
        if changed and stage.name not in known:
            told[stage.name] = UNRECORDED
    return {stage.name: told[stage.name] for stage in order if told.get(stage.name)}


def _followed(order: list[Stage], names: set[str]) -> set[str]:
    """These stages and all that follow them."""
    found = set(names)
    for stage in order:
        if any(parent.name in found for parent in stage.parents):
            found.add(stage.name)
    return found


def _covering(order: list[Stage], wanted: set[str]) -> tuple[str, ...]:
    """The fewest of the wanted stages that all others of them follow."""
    first: list[str] = []
    for stage in order:
        if stage.name in wanted - _followed(order, set(first)):
            first.append(stage.name)
    return tuple(first)
