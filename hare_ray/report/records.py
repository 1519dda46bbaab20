"""The recipe of a run and what it took: every stage with its fields, rows, seconds and machine, from the manifests."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from hare_ray.manifest import Manifest
from hare_ray.report.reading import Run


@dataclass(frozen=True)
class Spent:
    """What one stage took."""

    name: str
    kind: str
    inside: str | None
    """The stage whose line has the seconds and the memory of their pass; None for that line itself."""
    rows_in: int | None
    rows_out: int | None
    characters: int | None
    seconds: float | None
    worker_seconds: float | None
    peak_mib: int | None


def spent(run: Run) -> list[Spent]:
    """One line per stage, inputs before users."""
    lines = []
    firsts = {unit: manifests[0]["name"] for unit, manifests in units(run).items()}
    for name in run.order:
        manifest, books, owner = run.known[name], run.books(name), run.owner(name)
        first = firsts[_unit(owner)]
        own = first == name
        rows_in = books["in"] + books["made"] if "in" in books else books.get("rows")
        took = owner["run"]
        lines.append(
            Spent(
                name,
                manifest["kind"],
                None if own else first,
                rows_in,
                run.rows(name),
                books.get("characters"),
                took["seconds"] if own else None,
                took["worker_seconds"].get(name),
                (took["peak_mib"] or None) if own else None,
            )
        )
    return lines


def units(run: Run) -> dict[tuple[str, str], list[Manifest]]:
    """What was run at a time: a pass with the tables it wrote, or a single stage; inputs before users."""
    found: dict[tuple[str, str], list[Manifest]] = defaultdict(list)
    for name in run.order:
        if name in run.manifests:
            found[_unit(run.manifests[name])].append(run.manifests[name])
    return found


def _unit(manifest: Manifest) -> tuple[str, str]:
    took = manifest["run"]
    return took["pass"] or manifest["name"], took["started"]


@dataclass(frozen=True)
class Machine:
    """Where and with what some stages ran."""

    machine: dict[str, Any]
    versions: dict[str, str]
    git: str | None
    stages: list[str] = field(default_factory=list)


def machines(run: Run) -> list[Machine]:
    """One entry per combination of machine, versions and commit; one, for an undisturbed run."""
    found: dict[str, Machine] = {}
    for name in run.order:
        if name in run.manifests:
            took = run.manifests[name]["run"]
            key = json.dumps([took["machine"], took["versions"], took["git"]], sort_keys=True)
            found.setdefault(key, Machine(took["machine"], took["versions"], took["git"])).stages.append(name)
    return list(found.values())


def wall_seconds(run: Run) -> float:
    """Time of all units of work; the time of a pass counts once, however many tables it wrote."""
    return sum(max(manifest["run"]["seconds"] for manifest in manifests) for manifests in units(run).values())


@dataclass(frozen=True)
class Entry:
    """One stage of the recipe."""

    name: str
    kind: str
    class_name: str
    fingerprint: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Input:
    """A field's value that is a stage."""

    name: str


def recipe(run: Run) -> list[Entry]:
    """Every stage with its fields; inputs by name."""
    names: dict[str, str] = {manifest["fingerprint"]: name for name, manifest in run.known.items()}
    entries = []
    for name in run.order:
        made = run.known[name]
        fields = {key: _named(value, names) for key, value in made["recipe"]["fields"].items()}
        entries.append(Entry(name, made["kind"], made["recipe"]["class"], made["fingerprint"][:12], fields))
    return entries


def _named(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict) and set(value) == {"stage"}:
        fingerprint: str = value["stage"]
        return Input(names.get(fingerprint, fingerprint[:12]))
    if isinstance(value, dict):
        return {key: _named(item, names) for key, item in value.items()}
    return [_named(item, names) for item in value] if isinstance(value, list) else value
