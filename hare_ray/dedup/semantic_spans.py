"""How rows get from groups of parts to ranges of clusters, without an object for every pair of the two.

Groups and ranges both grow with the corpus, so their pairs grow with its square: 3 objects each, of 1e8 rows at 1 GiB
0.3 million, of 1e9 rows 30 million. Up to `MOST_PAIRS` a group writes every range its own. Beyond, neighbouring ranges
are joined to sqrt(ranges) spans: a group writes an object per span, and a second step reads a run of groups that one
task can hold, one span at a time, and cuts it by range. Objects then grow as rows^1.5 (1e8 rows: 30,000; 1e9 rows: 0.9
million), for which keys and vectors are written and read once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_PAIRS = 10_000
"""Of groups and ranges: 100 of each, 32 million rows of 384 dimensions at 1 GiB."""


@dataclass(frozen=True)
class Spans:
    """Neighbouring ranges that travel together, and what of them is joined."""

    first: tuple[int, ...]
    """First range of every span, and the number of ranges."""
    runs: tuple[tuple[int, ...], ...]
    """Of every span: first group of every run, and the number of groups."""

    @property
    def items(self) -> list[tuple[int, int]]:
        """Every run of every span."""
        return [(span, run) for span, edges in enumerate(self.runs) for run in range(len(edges) - 1)]

    def runs_of(self, number: int) -> tuple[int, ...]:
        """First group of every piece of a range, and the number of groups."""
        return self.runs[int(np.searchsorted(self.first, number, side="right")) - 1]

    def groups(self, span: int, run: int) -> range:
        """Those of a run."""
        return range(*self.runs[span][run : run + 2])


def first_ranges(ranges: int) -> tuple[int, ...]:
    """First range of each of sqrt(ranges) spans of as many ranges, and the number of ranges."""
    spans = math.isqrt(max(ranges - 1, 0)) + 1
    return tuple(number * ranges // spans for number in range(spans + 1))


def spans_of(first: tuple[int, ...], rows: NDArray[np.int64], most: int) -> Spans:
    """Runs of groups with at most so many rows of a span, or of one group; `rows`: [groups, spans]."""
    runs = []
    for column in rows.T.tolist():
        edges, filled = [0], 0
        for group, here in enumerate(column):
            if filled and filled + here > most:
                edges.append(group)
                filled = 0
            filled += here
        runs.append((*edges, len(column)))
    return Spans(first, tuple(runs))
