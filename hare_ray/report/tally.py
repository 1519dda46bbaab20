"""One pass over the opinions on the documents before selection: rows and quality per topic, before and after.

    assign.cluster, score.quality, select.reason  ->  counts, sums and histograms

The three tables speak of the same base, so their parts join by position. Kept in memory are one number per topic and
one per bin. "After" are the rows that `select` gave no reason to drop; they are the rows of D1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.report.reading import Run

BINS = 40
"""Of the histogram of quality: narrow enough to see two humps, wide enough to be smooth for some thousand rows."""


@dataclass
class Side:
    """Sums over a set of rows: all of them, or those selected."""

    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """By topic."""
    quality: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Sum by topic."""
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, cluster: NDArray[np.int64], quality: NDArray[np.float64] | None, edges: NDArray[np.float64]) -> None:
        """Count one part's rows in."""
        topics = max(len(self.rows), int(cluster.max(initial=-1)) + 1)
        self.rows = _grown(self.rows, topics) + np.bincount(cluster, minlength=topics)
        if quality is not None:
            self.quality = _grown(self.quality, topics) + np.bincount(cluster, quality, topics).astype(np.float64)
            self.histogram += np.histogram(quality, edges)[0]

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
    def entropy(self) -> float:
        """Of the distribution over topics, in bits."""
        shares = self.rows[self.rows > 0] / max(self.total, 1)
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


def tally(run: Run) -> Tally | None:
    """Read the opinions that are there; None where neither topics nor quality are."""
    clustered, scored, selected = (run.parts(name) > 0 for name in ("assign", "score", "select"))
    if not clustered and not scored:
        return None
    used = [n for n, there in (("assign", clustered), ("score", scored), ("select", selected)) if there]
    bases = {run.manifests[name]["base"][:12] for name in used}
    if len(bases) > 1:
        raise ValueError(
            f"given {used} of {run.root.url} on bases {sorted(bases)}, expected one base; bring the run up to date"
        )
    edges = np.linspace(*_range(run), BINS + 1) if scored else np.linspace(0, 1, BINS + 1)
    found = Tally(edges, Side(), Side() if selected else None, scored, clustered)
    for part in range(run.parts(used[0])):
        _add(run, part, found)
    if found.after is not None:
        topics = len(found.before.rows)
        found.after.rows, found.after.quality = _grown(found.after.rows, topics), _grown(found.after.quality, topics)
    return found


def _add(run: Run, part: int, found: Tally) -> None:
    quality = cluster = None
    if found.scored:
        quality = run.read("score", part, ["quality"])["quality"].to_numpy().astype(np.float64)
    if found.clustered:
        cluster = run.read("assign", part, ["cluster"])["cluster"].to_numpy().astype(np.int64)
    elif quality is not None:
        cluster = np.zeros(len(quality), np.int64)
    assert cluster is not None
    found.before.add(cluster, quality, found.edges)
    if found.after is not None:
        kept = pc.is_null(run.read("select", part, ["reason"])["reason"]).to_numpy()
        found.after.add(cluster[kept], None if quality is None else quality[kept], found.edges)


def _range(run: Run) -> tuple[float, float]:
    """Scores are shares of a vote; the axis is 0 to 1 unless one lies outside."""
    low, high = 0.0, 1.0
    for part in range(run.parts("score")):
        values = pc.min_max(run.read("score", part, ["quality"])["quality"]).as_py()
        if values["min"] is not None:
            low, high = min(low, values["min"]), max(high, values["max"])
    return low, high


def _grown(values: NDArray, length: int) -> NDArray:
    return np.pad(values, (0, max(0, length - len(values))))
