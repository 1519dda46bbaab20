"""What the page says of topics, quality and leakage: plain values for the templates.

A function gives an empty answer where its stages have not run; `hare_ray.report.page` names those stages.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hare_ray.report.funnel import Funnel
from hare_ray.report.reading import Run
from hare_ray.report.tally import Tally

DOTS = 4_000
"""Drawn on the map: more hide each other and make the page heavy."""

MAP_UNITS = 10_000
"""Resolution of the map's coordinates; finer than any screen."""

METHODS = ("ngram", "short_exact", "joined")
"""How an item can be checked, as coverage.json counts them."""

UNCHECKED_LISTED = 200
"""Benchmark items listed of those that nothing checks."""


@dataclass(frozen=True)
class Topic:
    """One cluster in words."""

    number: int
    label: str
    rows: int


@dataclass(frozen=True)
class TopicRow:
    """One line of the topics' table."""

    topic: Topic
    before: int
    after: int | None
    quality_before: float | None
    quality_after: float | None


def topic_names(run: Run, found: Tally | None) -> list[Topic]:
    """Topics by size: from labels.json, or by number where nobody has named them."""
    labels = run.json("label_clusters", "labels.json")
    if labels is not None:
        return [Topic(label["cluster"], label["label"], label["rows"]) for label in labels]
    rows = found.before.rows.tolist() if found and found.clustered else []
    topics = [Topic(number, f"topic {number}", count) for number, count in enumerate(rows) if count]
    return sorted(topics, key=lambda topic: (-topic.rows, topic.number))


def topic_table(topics: list[Topic], found: Tally | None) -> list[TopicRow]:
    """Rows and mean quality of every topic before and after selection."""
    if found is None or not found.clustered:
        return []
    before, after = found.before, found.after
    means = before.topic_means() if found.scored else None
    means_after = after.topic_means() if found.scored and after else None
    lines = []
    for topic in topics:
        n = topic.number
        if n >= len(before.rows):
            continue
        quality = None if means is None else float(means[n])
        kept = None if after is None else int(after.rows[n])
        quality_after = None if means_after is None or not kept else float(means_after[n])
        lines.append(TopicRow(topic, int(before.rows[n]), kept, quality, quality_after))
    return lines


def map_data(run: Run, topics: list[Topic]) -> dict[str, Any] | None:
    """Dots of the map in columns, topics by their place in the legend; None without a map or with an empty one."""
    data = run.file("cluster_map", "map.parquet")
    if data is None:
        return None
    table = pq.read_table(io.BytesIO(data), columns=["url", "title", "cluster", "x", "y"])
    total = len(table)
    if not total:
        return None
    if total > DOTS:
        table = table.take(pa.array(np.linspace(0, total - 1, DOTS).astype(np.int64)))
    place = {topic.number: rank for rank, topic in enumerate(topics)}
    x, y = (_scaled(table[axis].to_numpy().astype(np.float64)) for axis in ("x", "y"))
    return {
        "x": x,
        "y": y,
        "topic": [place.get(number, -1) for number in table["cluster"].to_pylist()],
        "title": table["title"].to_pylist(),
        "url": table["url"].to_pylist(),
        "names": [topic.label for topic in topics],
        "drawn": len(table),
    }


def _scaled(values: np.ndarray) -> list[int]:
    """To 0..MAP_UNITS; the two axes apart, so the map fills its frame."""
    low, spread = float(values.min()), float(np.ptp(values)) or 1.0
    return np.rint((values - low) / spread * MAP_UNITS).astype(int).tolist()


@dataclass(frozen=True)
class Member:
    """One judge of the committee, or all of them voting."""

    name: str
    accuracy: float
    """In percent, as the area under the curve is."""
    auc: float
    weight: float | None


@dataclass(frozen=True)
class Committee:
    """How the judges did on the examples they had not seen."""

    members: list[Member]
    examples: dict[str, int]
    folds: int


def committee(run: Run) -> Committee | None:
    """From report.json; None where there is none."""
    report = run.json("committee", "report.json")
    if report is None:
        return None
    judged = {**report["members"], "all, voting": report["committee"]}
    members = [Member(name, m["accuracy"], m["auc"], m.get("weight")) for name, m in judged.items()]
    return Committee(members, report["examples"], report["folds"])


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
