"""Which bases lead where: the one path from the crawl to D1, and the branches of synthetic text beside it.

A branch starts where prompts or items are made (`STARTS`, known by class; or whatever a model was asked with) and ends
at the last base that is not yet cut into tokens. Bases that come from one start are a track of their own; where tracks
are joined, those joined go on as one. What takes in documents that are no synthetic ones belongs to no branch.
"""

from __future__ import annotations

from dataclasses import dataclass

from hare_ray.inspect import BASES
from hare_ray.report.reading import FINAL, Run

PROMPTS = ("TextbookPrompts", "TaskPrompts")
"""Classes of the stages that make prompts for a model."""

STARTS = (*PROMPTS, "RuleItems", "Instructions")
"""Classes of the stages that a synthetic branch starts with."""

PACKED = "Pack"
"""Class of the stages behind which rows are sequences of tokens, no documents."""


def origins(run: Run, name: str) -> list[str]:
    """The bases that a base was made from, or else the files."""
    made = run.known[name]
    candidates = made["inputs"].get("docs") or run.parents(name)
    bases = [c for c in candidates if run.known.get(c, {}).get("kind") in BASES]
    found = bases or candidates
    return found if made["kind"] == "rebalance" else found[:1]  # a map reads its first table, only a rebalance joins


def origin(run: Run, name: str) -> str | None:
    """The first of them."""
    return next(iter(origins(run, name)), None)


def chain(run: Run) -> list[str]:
    """Names of the bases from the first to D1, or to the one furthest along where D1 is not there yet."""
    aside = set(descent(run))
    bases = [name for name in run.order if run.known[name]["kind"] in BASES and run.class_of(name) != PACKED]
    paths = {name: _back(run, name) for name in bases if name not in aside}
    if FINAL in paths:
        return paths[FINAL]
    return max(paths.values(), key=len, default=[])


def _back(run: Run, name: str) -> list[str]:
    path: list[str] = []
    at: str | None = name
    while at in run.known and run.known[at]["kind"] in BASES and at not in path:
        path.append(at)
        at = origin(run, at)
    return path[::-1]


def ledger_holders(run: Run, names: list[str]) -> list[str]:
    """The bases on disk whose ledgers have what these bases, a path, dropped.

    A base that ran inside a pass without being written has its drops in the ledgers of what the pass wrote.
    """
    found: list[str] = []
    for name in reversed(names):
        inside = {member["name"] for holder in found for member in run.manifests[holder].get("members", ())}
        if name not in inside:
            found.append(run.owner(name)["name"])
    return found[::-1]


def descent(run: Run) -> dict[str, frozenset[str]]:
    """Every synthetic base with the starts that it comes from."""
    found: dict[str, frozenset[str]] = {}
    for name in run.order:
        if run.known[name]["kind"] not in BASES or run.class_of(name) == PACKED:
            continue
        above = origins(run, name)
        inside = bool(above) and all(parent in found for parent in above)
        if run.class_of(name) in STARTS or (not inside and generates(run, name)):
            found[name] = frozenset({name})
        elif inside:
            found[name] = frozenset().union(*(found[parent] for parent in above))
    return found


@dataclass(frozen=True)
class Track:
    """Bases of a branch, in order, that come from the same starts."""

    starts: tuple[str, ...]
    bases: tuple[str, ...]


@dataclass(frozen=True)
class Branch:
    """A synthetic corpus: the base that ends it, and the tracks that lead there."""

    name: str
    tracks: tuple[Track, ...]


def branches(run: Run) -> list[Branch]:
    """All synthetic branches, by the order of their ends."""
    starts = descent(run)
    above = {name: [p for p in origins(run, name) if p in starts] for name in starts}
    used = {parent for name in starts if starts[name] != {name} for parent in above[name]}
    return [_branch(end, starts, above) for end in starts if end not in used]


def _branch(end: str, starts: dict[str, frozenset[str]], above: dict[str, list[str]]) -> Branch:
    inside, stack = set(), [end]
    while stack:
        name = stack.pop()
        inside.add(name)
        if starts[name] != {name}:
            stack += above[name]
    tracks: dict[frozenset[str], list[str]] = {}
    for name in starts:  # in the order of the run: inputs before users
        if name in inside:
            tracks.setdefault(starts[name], []).append(name)
    ordered = sorted(tracks.items(), key=lambda item: len(item[0]))
    return Branch(end, tuple(Track(tuple(s for s in starts if s in key), tuple(names)) for key, names in ordered))


def asks(run: Run, base: str) -> bool:
    """Whether the rows of a base are prompts."""
    return run.class_of(base) in PROMPTS or bool(generates(run, base))


def generates(run: Run, base: str) -> list[str]:
    """The stages that had a model answer the prompts that are the rows of a base."""
    return [name for name in _asked_on(run, base) if run.known[name]["inputs"].get("prompts") == [base]]


def generates_again(run: Run, base: str) -> dict[str, str]:
    """Stages that asked a model with an opinion on a base, each with the stage of `generates` that it asked about.

    Such prompts were made row by row from first answers, to check them, and lead to no texts of their own. About
    several at once, or none that is named: it goes with the first.
    """
    first = generates(run, base)
    found: dict[str, str] = {}
    for name in _asked_on(run, base) if first else ():
        if name not in first:
            above = _above(run, name)
            found[name] = next((one for one in first if one in above), first[0])
    return found


def _asked_on(run: Run, base: str) -> list[str]:
    """All stages that had a model answer one prompt for each row of a base."""
    return [name for name in run.of_class("Generate") if run.known[name].get("base") == run.known[base]["fingerprint"]]


def _above(run: Run, name: str) -> set[str]:
    """The recorded stages that a stage was made from, on whatever way."""
    found: set[str] = set()
    stack = [name]
    while stack:
        parents = [one for one in run.parents(stack.pop()) if one in run.known and one not in found]
        found.update(parents)
        stack += parents
    return found
