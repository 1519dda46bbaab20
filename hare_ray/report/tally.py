"""One pass over the opinions on the documents before selection: rows and quality per topic, before and after.

    assign.cluster, score.quality, score.disagreement, d1.base_row, d1.weight  ->  counts, sums and histograms

The tables speak of the same base, so their parts join by position. Kept in memory are some numbers per topic and one
per bin. "After" are the rows of D1, which point back to that base; as long as there is no D1, those that `select` gave
no reason to drop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.report.reading import FINAL, Run

BINS = 40
"""Of the histogram of quality: narrow enough to see two humps, wide enough to be smooth for some thousand rows."""


REPEATS = 1e-6
"""Share of all rows by which weights may miss a topic's rows before they count as repeats: they were rounded."""

DISAGREE = 0.25
"""Standard deviation of the members' votes from which they disagree: half of them near 0.25, half near 0.75, say."""


@dataclass(frozen=True)
class Rows:
    """What is known of some documents."""

    cluster: NDArray[np.int64]
    quality: NDArray[np.float64] | None
    disagreement: NDArray[np.float64] | None
    weight: NDArray[np.float64] | None = None

    def take(self, rows: NDArray[np.int64], weight: NDArray[np.float64] | None) -> Rows:
        """Some of them, with how often they are repeated."""
        quality, disagreement = (None if v is None else v[rows] for v in (self.quality, self.disagreement))
        return Rows(self.cluster[rows], quality, disagreement, weight)


@dataclass
class Side:
    """Sums over a set of rows: all of them, or those selected."""

    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """By topic."""
    quality: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Sum by topic."""
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Sum of its square by topic."""
    weight: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Sum by topic of how often its documents are repeated per epoch."""
    disagreeing: int = 0
    """Rows on which the members disagree."""
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, rows: Rows, edges: NDArray[np.float64]) -> None:
        """Count one part's rows in."""
        cluster, topics = rows.cluster, max(len(self.rows), int(rows.cluster.max(initial=-1)) + 1)
        self.grow(topics)
        self.rows += np.bincount(cluster, minlength=topics)
        self.weight += np.bincount(cluster, rows.weight, topics)
        if rows.quality is not None:
            self.quality += np.bincount(cluster, rows.quality, topics)
            self.squares += np.bincount(cluster, rows.quality**2, topics)
            self.histogram += np.histogram(rows.quality, edges)[0]
        if rows.disagreement is not None:
            self.disagreeing += int(np.count_nonzero(rows.disagreement > DISAGREE))

    def grow(self, topics: int) -> None:
        """Make room for so many topics."""
        for name in ("rows", "quality", "squares", "weight"):
            values = getattr(self, name)
            setattr(self, name, np.pad(values, (0, max(0, topics - len(values)))))

    @property
    def total(self) -> int:
        """Rows."""
        return int(self.rows.sum())

    @property
    def mean(self) -> float:
        """Mean quality of all rows."""
        return float(self.quality.sum() / max(self.total, 1))

    def topic_means(self) -> NDArray[np.float64]:
        """Mean quality by topic, NaN where a topic has no rows."""
        return np.divide(self.quality, self.rows, out=np.full(len(self.rows), np.nan), where=self.rows > 0)

    @property
    def spread(self) -> float:
        """Standard deviation between the topics' means: how uneven quality is over topics."""
        means = self.topic_means()
        return float(np.nanstd(means)) if np.isfinite(means).any() else 0.0

    @property
    def within(self) -> float:
        """Standard deviation of documents around the mean of their topic."""
        there = self.rows > 0
        around = self.squares[there].sum() - (self.quality[there] ** 2 / self.rows[there]).sum()
        return float(np.sqrt(max(around, 0.0) / max(self.total, 1)))

    @property
    def repeated(self) -> bool:
        """Whether any topic's documents are repeated more or less than once per epoch."""
        return bool(np.abs(self.weight - self.rows).max(initial=0) > REPEATS * max(self.total, 1))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of the topics that have any, largest first."""
        return np.sort(self.rows[self.rows > 0])[::-1]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of what is read, by topic: a document counts as often as it is repeated."""
        return self.weight / (self.weight.sum() or 1)

    @property
    def entropy(self) -> float:
        """Of the distribution of what is read over topics, in bits."""
        shares = self.shares[self.shares > 0]
        return float(-(shares * np.log2(shares)).sum()) + 0.0

    @property
    def topics(self) -> int:
        """Topics with a row."""
        return int((self.rows > 0).sum())


@dataclass
class Tally:
    """Before and after selection."""

    edges: NDArray[np.float64]
    before: Side
    after: Side | None
    """None where nothing was selected yet."""
    scored: bool
    clustered: bool
    judged: bool
    """Whether it is known on which documents the members disagree."""


def tally(run: Run) -> Tally | None:
    """Read the opinions that are there; None where neither topics nor quality are."""
    clustered, scored = (run.parts(name) > 0 for name in ("assign", "score"))
    if not clustered and not scored:
        return None
    used = [name for name, there in (("assign", clustered), ("score", scored)) if there]
    ending = _ending(run, used[0])
    bases = {run.manifests[name]["base"][:12] for name in [*used, *([ending] if ending == "select" else [])]}
    if len(bases) > 1:
        raise ValueError(
            f"given {used} of {run.root.url} on bases {sorted(bases)}, expected one base; bring the run up to date"
        )
    edges = np.linspace(*_range(run), BINS + 1) if scored else np.linspace(0, 1, BINS + 1)
    judged = scored and "disagreement" in run.manifests["score"]["schema"]
    found = Tally(edges, Side(), Side() if ending else None, scored, clustered, judged)
    for part in range(run.parts(used[0])):
        rows = _rows(run, part, found)
        found.before.add(rows, edges)
        if found.after is not None:
            found.after.add(_left(run, part, rows, ending), edges)
    if found.after is not None:
        found.after.grow(len(found.before.rows))
    return found


def _ending(run: Run, opinion: str) -> str:
    """The table that says which rows are left: D1 where it was made of the rows judged, else `select`; '': none."""
    if run.parts(FINAL) and "base_row" in run.manifests[FINAL]["schema"]:
        above = [
            run.known[name]["fingerprint"] for name in run.known[FINAL]["inputs"].get("docs", ()) if name in run.known
        ]
        if above == [run.manifests[opinion]["base"]]:
            return FINAL
    return "select" if run.parts("select") else ""


def _rows(run: Run, part: int, found: Tally) -> Rows:
    quality = disagreement = None
    if found.scored:
        columns = ["quality", *(["disagreement"] if found.judged else [])]
        table = run.read("score", part, columns)
        quality, *rest = (table[name].to_numpy().astype(np.float64) for name in columns)
        disagreement = rest[0] if rest else None
    if found.clustered:
        cluster = run.read("assign", part, ["cluster"])["cluster"].to_numpy().astype(np.int64)
    else:
        assert quality is not None
        cluster = np.zeros(len(quality), np.int64)
    return Rows(cluster, quality, disagreement)


def _left(run: Run, part: int, rows: Rows, ending: str) -> Rows:
    weighted = "weight" in run.manifests[ending]["schema"]
    if ending == FINAL:
        table = run.read(FINAL, part, ["base_row", *(["weight"] if weighted else [])])
        left = table["base_row"].to_numpy().astype(np.int64)
        weight = table["weight"].to_numpy().astype(np.float64) if weighted else None
        return rows.take(left, weight)
    return rows.take(np.flatnonzero(pc.is_null(run.read(ending, part, ["reason"])["reason"])), None)


def _range(run: Run) -> tuple[float, float]:
    """Scores are shares of a vote; the axis is 0 to 1 unless one lies outside."""
    low, high = 0.0, 1.0
    for part in range(run.parts("score")):
        values = pc.min_max(run.read("score", part, ["quality"])["quality"]).as_py()
        if values["min"] is not None:
            low, high = min(low, values["min"]), max(high, values["max"])
    return low, high
