"""What the page says of leakage: plain values for the templates.

A function gives an empty answer where its stages have not run; `hare_ray.report.page` names those stages.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hare_ray.report.funnel import Funnel
from hare_ray.report.reading import Run

METHODS = ("ngram", "short_exact", "joined")
"""How an item can be checked, as coverage.json counts them."""

UNCHECKED_LISTED = 200
"""Benchmark items listed of those that nothing checks."""


@dataclass(frozen=True)
class Benchmark:
    """How the items of one benchmark are checked, and what was found."""

    name: str
    items: int
    ngram: int
    short_exact: int
    joined: int
    unchecked: int
    found: int
    documents: int


def benchmarks(run: Run, funnel: Funnel) -> list[Benchmark]:
    """Coverage of every split of every benchmark, from coverage.json and the ledgers."""
    lines = []
    for name, counts in sorted(splits(run, "leak_index").items()):
        methods = {key: counts.get(key, 0) for key in ("items", *METHODS, "unchecked")}
        found = len(funnel.ledgers.items.get(name, ()))
        lines.append(Benchmark(name, **methods, found=found, documents=funnel.ledgers.leaked.get(name, 0)))
    return lines


def splits(run: Run, index: str) -> dict[str, dict[str, int]]:
    """Items by method of `benchmark/split`, as an index has them."""
    coverage = run.json(index, "coverage.json") or {}
    return {f"{name}/{split}": counts for name, found in coverage.items() for split, counts in found.items()}


def unable(run: Run) -> str | None:
    """Why the leak check could find nothing, in words; None where it could, or where there is no index."""
    coverage = splits(run, "leak_index")
    known = run.json("leak_index", "coverage.json") is not None
    if not known or any(counts.get(method) for counts in coverage.values() for method in METHODS):
        return None
    items = sum(counts.get("items", 0) for counts in coverage.values())
    return f"none of its {items:,} items can be checked" if items else "the leak index has no items"


@dataclass(frozen=True)
class Certified:
    """What a certificate says, in a line."""

    stage: str
    corpora: str
    rows: int
    leaks: int
    page: str


def certificates(run: Run) -> list[Certified]:
    """Of every certificate: what was read last, and what leaks were left in it."""
    found = []
    for name in run.of_class("Certificate"):
        told = run.json(name, "certificate.json")
        if told is not None:
            final = told["final"]
            page = f"{name}/{run.manifests[name]['fingerprint'][:12]}/certificate.html"
            found.append(Certified(name, ", ".join(final["corpora"]), final["rows"], final["leaks"], page))
    return found


def unchecked(run: Run) -> list[dict[str, Any]]:
    """The first of the items that nothing checks."""
    data = run.file("leak_index", "unchecked.jsonl") or b""
    return [json.loads(line) for line in data.splitlines()[:UNCHECKED_LISTED]]
