"""Which documents are good enough: one level of quality for the whole corpus, and a part of every topic.

    cluster, quality, id -> reason    'below_quality', or null: kept, or dropped by an earlier verdict

Of N documents, in topics of n_t, ceil(keep_share * N) stay:

    1. Every topic keeps its best ceil(min_topic_share * n_t).
    2. The places that are left go to the best of all others, whatever their topic.
    3. Below min_quality no rank helps.

A level alone (min_topic_share = 0) empties the topics whose style the raters do not know. A share alone
(min_topic_share = keep_share) keeps the worst of the poor topics and drops good documents of the good ones, so that
the means of the topics lie as far apart as before. Between the two, a person chooses how much evenness a topic's
existence is worth.

Another rule was tried: every topic keeps as many as leave its *mean* at a common level. It lost. On 8,600 texts of ten
sources in 80 topics, where as much was kept in as many topics (exp of the entropy), the means of its topics lay further
apart (3 % in the median of 20 comparisons, never less), quality varied more from document to document (4 %), as good
topics keep their worst, and was lower on the whole (1 %). With a crawl of 1,712 pages it was 11, 7 and 2 %.

Exact by `hare_ray.best`, so nothing that grows with the corpus is in one process; documents of equal quality are
ranked by a hash of their id, so that the result depends on neither order nor parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.best import Contest, Documents, Limits, best, check_tables, counted
from hare_ray.schema import REASON
from hare_ray.stage import Gather, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

BELOW_QUALITY = "below_quality"

ROUNDED_DIGITS = 9
"""Of a share times a number, before it is rounded up: 0.1 * 30 is a little over 3."""


class Select(Gather):
    """The best of every topic, then the best of all."""

    docs: Table
    """For the ids."""
    clusters: Table
    """An Assign."""
    scores: Table
    """A Score."""
    without: tuple[Table, ...] = ()
    """Verdicts: what they drop is neither judged nor counted here."""
    keep_share: float
    """Of all documents."""
    min_topic_share: float
    """Of every topic; up to keep_share, which keeps the same share of each."""
    min_quality: float
    """Below this no rank helps."""

    code: ClassVar[int] = 2
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def __post_init__(self) -> None:
        """Refuse tables that do not belong together and shares that are none."""
        check_tables(self, self.docs, (self.clusters, self.scores), self.without)
        if not 0 < self.keep_share <= 1:
            raise ValueError(f"{self!r}: given keep_share={self.keep_share}, expected more than 0, up to 1")
        if not 0 <= self.min_topic_share <= self.keep_share:
            raise ValueError(
                f"{self!r}: given min_topic_share={self.min_topic_share}, expected 0 to keep_share={self.keep_share}"
            )
        if not 0 <= self.min_quality <= 1:
            raise ValueError(f"{self!r}: given min_quality={self.min_quality}, expected 0 to 1")

    def gather(self, desk: Desk) -> None:
        """Find what every topic keeps, then what is kept of the others, and write the verdicts part by part."""
        parts = desk.parts(self.docs)
        rows = _Good(Documents(desk, self.docs, self.clusters, self.scores, self.without), self.min_quality)
        found = counted(desk.map, rows.split, parts)
        poor, good = np.append(found, np.zeros(len(found) % 2, np.int64)).reshape(-1, 2).T
        least = np.minimum(_share(self.min_topic_share, poor + good), good)
        of_topic = best(desk.map, rows, parts, least, good)
        places = _share(self.keep_share, np.array([(poor + good).sum()])) - least.sum()
        others = _Others(rows, of_topic)
        of_all = best(desk.map, others, parts, np.maximum(places, 0), np.array([good.sum() - least.sum()]))
        done = desk.done()
        desk.map(partial(_write, desk, others, of_all), [part for part in range(parts) if part not in done])


def _share(share: float, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.ceil(np.round(share * sizes, ROUNDED_DIGITS)).astype(np.int64)


@dataclass(frozen=True)
class _Good:
    """Documents of at least the least quality, by topic."""

    documents: Documents
    min_quality: float

    def split(self, part: int) -> Contest:
        """All documents: topic t is group 2 t for those below and 2 t + 1 for the others."""
        rows = self.documents(part)
        good = rows.quality >= np.float32(self.min_quality)
        return replace(rows, group=np.where(rows.group < 0, -1, 2 * rows.group + good))

    def __call__(self, part: int) -> Contest:
        return _upper(self.split(part))


def _upper(split: Contest) -> Contest:
    return replace(split, group=np.where(split.group & 1, split.group >> 1, -1))


@dataclass(frozen=True)
class _Others:
    """Of them, those that are not among the best of their topic; one group."""

    good: _Good
    of_topic: Limits

    def __call__(self, part: int) -> Contest:
        return self.of(self.good(part))

    def of(self, good: Contest) -> Contest:
        """The others of these rows."""
        return replace(good, group=np.where((good.group >= 0) & ~self.of_topic.admit(good), 0, -1))


def _write(desk: Desk, others: _Others, of_all: Limits, part: int) -> None:
    split = others.good.split(part)
    good = _upper(split)
    kept = others.of_topic.admit(good) | of_all.admit(others.of(good))
    places = np.where((split.group >= 0) & ~kept, 0, 1)
    desk.write(part, pa.table([pa.array([BELOW_QUALITY, None]).take(pa.array(places))], schema=Select.writes))
