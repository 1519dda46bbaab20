"""What the page says of topics: their names, sizes, sources and quality, the map, and what selection did to coverage.

A function gives an empty answer where its stages have not run; `hare_ray.report.page` names those stages. Files of
older runs may lack what is told today, and then that is left out.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hare_ray.report.funnel import Funnel
from hare_ray.report.reading import Run
from hare_ray.report.tally import Side, Tally

DOTS = 4_000
"""Drawn on the map: more hide each other and make the page heavy."""

MAP_UNITS = 10_000
"""Resolution of the map's coordinates; finer than any screen."""

LISTED = 500
"""Topics in the table and beside the map, largest first: beyond that nobody reads, and the page grows heavy."""

SHARES = 10_000
"""Parts of the corpus that the books of a balance count in."""

REASONS = {
    "semantic_duplicate": "went as semantic duplicates",
    "below_quality": "below the quality asked for",
    "over_topic_share": "over the share of their topic",
    "over_topic_cap": "over the cap on their topic",
}
"""Why selection drops a document, in words."""


@dataclass(frozen=True)
class Topic:
    """One cluster in words."""

    number: int
    label: str
    """Its title where an LLM gave it one, else its words."""
    rows: int
    words: str = ""
    """Its words, where the label is a title."""
    sources: tuple[tuple[str, int], ...] = ()
    """Largest sources and their rows."""
    examples: tuple[str, ...] = ()
    """Titles of typical documents."""


@dataclass(frozen=True)
class TopicRow:
    """One line of the topics' table."""

    topic: Topic
    before: int
    after: int | None
    share_before: float
    """Of what is read, from 0 to 1."""
    share_after: float | None
    quality_before: float | None
    quality_after: float | None
    deviation_before: float | None
    deviation_after: float | None
    repeats: float | None
    """Times that a document of the topic is seen per epoch."""


def topic_names(run: Run, found: Tally | None) -> list[Topic]:
    """Topics by size: from labels.json, or by number where nobody has named them."""
    titled = next((name for name in run.of_class("Titles") if name in run.manifests), "label_clusters")
    labels = run.json(titled, "labels.json") or run.json("label_clusters", "labels.json")
    if labels is not None:
        return [_topic(label) for label in labels]
    rows = found.before.rows.tolist() if found and found.clustered else []
    topics = [Topic(number, f"topic {number}", count) for number, count in enumerate(rows) if count]
    return sorted(topics, key=lambda topic: (-topic.rows, topic.number))


def _topic(label: dict[str, Any]) -> Topic:
    title = label.get("title")
    sources = tuple((one["source"], one["rows"]) for one in label.get("sources", ()))
    examples = tuple(title or opening for title, opening in _shown(label) if title or opening)
    words = label["label"] if title else ""
    return Topic(label["cluster"], title or label["label"], label["rows"], words, sources, examples)


def _shown(label: dict[str, Any]) -> list[tuple[str | None, str]]:
    titles = label.get("titles", [])
    return list(zip(titles, label.get("openings") or [""] * len(titles), strict=True))


def topic_table(topics: list[Topic], found: Tally | None) -> list[TopicRow]:
    """Rows, quality and repeats of every topic before and after selection."""
    if found is None or not found.clustered:
        return []
    before, after = found.before, found.after
    quality = _qualities(before) if found.scored else {}
    left = _qualities(after) if found.scored and after else {}
    repeated = after is not None and after.repeated
    shares_before, shares_after = before.shares, None if after is None else after.shares
    lines = []
    for topic in topics[:LISTED]:
        n = topic.number
        if n >= len(before.rows):
            continue
        kept = None if after is None else int(after.rows[n])
        mean, deviation = quality.get(n, (None, None))
        mean_left, deviation_left = left.get(n, (None, None))
        repeats = float(after.weight[n] / after.rows[n]) if after is not None and repeated and kept else None
        share, share_left = (None if shares is None else float(shares[n]) for shares in (shares_before, shares_after))
        lines.append(
            TopicRow(
                topic, int(before.rows[n]), kept, share or 0.0, share_left, mean, mean_left, deviation, deviation_left,
                repeats,
            )
        )  # fmt: skip
    return lines


def _qualities(side: Side) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of the topics that have rows."""
    there = np.flatnonzero(side.rows)
    mean = side.quality[there] / side.rows[there]
    deviation = np.sqrt(np.maximum(side.squares[there] / side.rows[there] - mean**2, 0))
    return dict(zip(there.tolist(), zip(mean.tolist(), deviation.tolist(), strict=True), strict=True))


@dataclass(frozen=True)
class Coverage:
    """How the documents lie over the topics, on one side of selection."""

    entropy: float
    effective: float
    topics: int
    share_of_centroids: float
    median: float
    smallest: int
    largest: int


@dataclass(frozen=True)
class Target:
    """What a pattern of the prior on topics found and got."""

    pattern: str
    topics: int
    wanted: float
    """Share of what is read, from 0 to 1."""
    reached: float


@dataclass(frozen=True)
class Spread:
    """What selection did to diversity."""

    before: Coverage
    after: Coverage | None
    centroids: int
    dropped: list[tuple[str, int]]
    """What became of the documents that went, in words, and how many."""
    targets: list[Target]
    """Shares that a person wanted of topics."""


def coverage(run: Run, path: Funnel, found: Tally | None) -> Spread | None:
    """None where nobody has assigned topics."""
    if found is None or not found.clustered or not found.before.total:
        return None
    centroids = _centroids(run) or found.before.topics
    after = found.after if found.after and found.after.total else None
    counts = {
        reason: sum(drop.rows for step in path.steps for drop in step.drops if drop.reason == reason)
        for reason in REASONS
    }
    dropped = [(REASONS[reason], rows) for reason, rows in counts.items() if rows]
    left = _coverage(after, centroids) if after else None
    return Spread(_coverage(found.before, centroids), left, centroids, dropped, _targets(run))


def _targets(run: Run) -> list[Target]:
    """The targets of every balance whose books tell of them."""
    found = []
    for name in run.of_class("Balance"):
        books = run.books(name)
        for number, target in enumerate(run.given(name)["prior"]["targets"]):
            key = f"target_{number}_"
            if f"{key}reached" in books:
                wanted, reached = (books[key + what] / SHARES for what in ("wanted", "reached"))
                found.append(Target(target["pattern"], books[f"{key}topics"], wanted, reached))
    return found


def _coverage(side: Side, centroids: int) -> Coverage:
    sizes = side.sizes
    median, smallest, largest = float(np.median(sizes)), int(sizes[-1]), int(sizes[0])
    return Coverage(side.entropy, 2**side.entropy, side.topics, side.topics / centroids, median, smallest, largest)


def _centroids(run: Run) -> int | None:
    """Number of centroids that the topics were assigned by, also those that no document is nearest to."""
    for name in run.known["assign"]["inputs"].get("centroids", ()):
        data = run.file(name, "centroids.npy")
        if data is not None:
            return int(np.load(io.BytesIO(data)).shape[0])
    return None


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
    place = {topic.number: rank for rank, topic in enumerate(topics[:LISTED])}
    x, y = (_scaled(table[axis].to_numpy().astype(np.float64)) for axis in ("x", "y"))
    return {
        "x": x,
        "y": y,
        "topic": [place.get(number, -1) for number in table["cluster"].to_pylist()],
        "title": table["title"].to_pylist(),
        "url": table["url"].to_pylist(),
        "names": [topic.label for topic in topics[:LISTED]],
        "drawn": len(table),
    }


def _scaled(values: NDArray[np.float64]) -> list[int]:
    """To 0..MAP_UNITS; the two axes apart, so the map fills its frame."""
    low, spread = float(values.min()), float(np.ptp(values)) or 1.0
    return np.rint((values - low) / spread * MAP_UNITS).astype(int).tolist()


@dataclass(frozen=True)
class Fast:
    """A static embedding that stands in for a model, and how far it is from it."""

    name: str
    neighbours: int
    recall: float | None
    """Of so many nearest documents under the model, from 0 to 1; None: not measured."""
    cosine: float | None


def static_models(run: Run) -> list[Fast]:
    """Every static model that was distilled, with the figures of its report."""
    reports = [(name, run.json(name, "report.json")) for name in run.of_class("StaticModel")]
    return [
        Fast(name, told.get("neighbours", 0), told.get("recall"), told.get("cosine"))
        for name, told in reports
        if told is not None
    ]
