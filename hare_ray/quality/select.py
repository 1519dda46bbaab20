"""Which documents the corpus keeps: the better part of every topic, and no topic too large.

    cluster, quality -> reason    'below_quality', 'over_topic_cap', or null: kept
                        weight float32    times a document is sampled per epoch: 1 kept, 0 dropped

Quality is compared within a topic. One threshold for the whole corpus would empty the topics whose style
the examples do not show (recipes, law, forum answers), and diversity is the other thing the corpus needs.

    1. A topic of n documents keeps its best ceil(keep_share * n) of at least min_quality.
    2. Topics larger than L lose their worst documents, where L is the largest number with
       L <= (topic_cap / topics) * sum over topics of min(kept, L): no topic holds more than `topic_cap` times
       its even share of what is kept. A plain share would be out of reach for a corpus with few topics.

Of equal quality, the earlier row stays. Memory: 8 bytes per row for topic and quality, about 40 while they
are sorted. A weight per topic, such as a temperature, can follow from counts later; it would be a second
prior on the same thing, so there is none here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.schema import REASON
from hare_ray.stage import Gather, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

BELOW_QUALITY = "below_quality"
OVER_TOPIC_CAP = "over_topic_cap"

_REASONS = pa.array([None, BELOW_QUALITY, OVER_TOPIC_CAP])
KEPT, BELOW, OVER = range(3)
"""Verdicts as numbers: places in `_REASONS`."""


class Select(Gather):
    """The better part of every topic, within a cap on its share."""

    clusters: Table
    """An Assign."""
    scores: Table
    """A Score."""
    keep_share: float
    """Of every topic, by rank of quality."""
    min_quality: float
    """Below this no rank helps."""
    topic_cap: float
    """How many times its even share (kept rows / topics) a topic may hold; at least 1, which makes all equal."""

    writes: ClassVar[pa.Schema] = pa.schema([REASON, pa.field("weight", pa.float32(), nullable=False)])

    def __post_init__(self) -> None:
        """Refuse tables that do not belong together and shares that are none."""
        if self.scores.base is not self.clusters.base:
            raise ValueError(
                f"{self!r} joins {self.clusters!r} on base {self.clusters.base!r} with {self.scores!r} on "
                f"base {self.scores.base!r}; rows join by position, so both must speak of one and the same "
                "base object"
            )
        if not 0 < self.keep_share <= 1:
            raise ValueError(f"{self!r}: given keep_share={self.keep_share}, expected more than 0, up to 1")
        if self.topic_cap < 1:
            raise ValueError(f"{self!r}: given topic_cap={self.topic_cap}, expected at least 1: the even share")
        if not 0 <= self.min_quality <= 1:
            raise ValueError(f"{self!r}: given min_quality={self.min_quality}, expected 0 to 1")

    def gather(self, desk: Desk) -> None:
        """Read topic and quality of all rows, decide, write the verdicts part by part."""
        parts = range(desk.parts(self.clusters))
        found = desk.map(partial(_read, desk, self.clusters, self.scores), parts)
        cluster = np.concatenate([np.empty(0, np.int32), *(part[0] for part in found)])
        quality = np.concatenate([np.empty(0, np.float32), *(part[1] for part in found)])
        verdict = verdicts(cluster, quality, self.keep_share, self.min_quality, self.topic_cap)
        edges = np.cumsum(desk.rows(self.clusters), dtype=np.int64)[:-1]
        desk.map(partial(_write, desk), list(zip(parts, np.split(verdict, edges), strict=True)))


def _read(desk: Desk, clusters: Table, scores: Table, part: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    cluster = desk.read(clusters, part, ("cluster",)).column("cluster").to_numpy()
    return cluster, desk.read(scores, part, ("quality",)).column("quality").to_numpy()


def _write(desk: Desk, item: tuple[int, NDArray[np.uint8]]) -> None:
    part, verdict = item
    weight = pa.array((verdict == KEPT).astype(np.float32))
    desk.write(part, pa.table([_REASONS.take(pa.array(verdict)), weight], schema=Select.writes))


def verdicts(
    cluster: NDArray[np.int32],
    quality: NDArray[np.float32],
    keep_share: float,
    min_quality: float,
    topic_cap: float,
) -> NDArray[np.uint8]:
    """KEPT, BELOW or OVER for every row."""
    order = np.lexsort((-quality, cluster))
    names, first, sizes = np.unique(cluster[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, sizes)
    places = np.ceil(np.round(keep_share * sizes, 9)).astype(np.int64)  # 0.1 * 30 is a little over 3
    kept = (rank < np.repeat(places, sizes)) & (quality[order] >= np.float32(min_quality))
    topic = np.repeat(np.arange(len(names)), sizes)
    counts = np.bincount(topic[kept], minlength=len(names))
    limit = largest_topic(counts, topic_cap / max(1, np.count_nonzero(counts)))
    verdict = np.empty(len(order), np.uint8)
    verdict[order] = np.where(kept, np.where(rank < limit, KEPT, OVER), BELOW)
    return verdict


def largest_topic(kept: NDArray[np.int64], share: float) -> int:
    """The largest L with L <= share * sum of min(kept, L), where L need not exceed the largest topic.

    The right side is concave in L and 0 at 0, so the condition holds up to some L and not beyond: bisection.
    `share` is at least 1 / topics, so L is at least the smallest topic.
    """
    low, high = 0, int(kept.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        fits = middle <= round(share * int(np.minimum(kept, middle).sum()), 6)
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
