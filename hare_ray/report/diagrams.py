"""Charts of evenness: sizes of topics by rank, and how far probabilities can be believed."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from hare_ray.report.charts import figure, tag
from hare_ray.report.quality import Bin

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BASE = 640, 260, 56, 12, 14, 226
"""Of a chart, in pixels."""

MAX_POINTS = 200
"""Of a line: more topics than that are drawn at ranks in equal steps of their logarithm."""

SMALLEST, LARGEST = 3.0, 11.0
"""Radii of a bin with few examples and of the fullest one."""


def rank_sizes(before: NDArray[np.int64], after: NDArray[np.int64] | None) -> Markup:
    """Documents per topic, largest topic first, both axes logarithmic; sizes are above 0 and descend."""
    sides = [(before, "before")] + ([(after, "after")] if after is not None and len(after) else [])
    ranks, most = max(len(sizes) for sizes, _ in sides), max(int(sizes[0]) for sizes, _ in sides)
    wide, tall = math.log10(max(ranks, 2)), math.log10(max(most, 2))

    def x(rank: float) -> float:
        return LEFT + math.log10(rank) / wide * (WIDTH - LEFT - RIGHT)

    def y(rows: float) -> float:
        return BASE - math.log10(rows) / tall * (BASE - TOP)

    body = []
    for mark in _decades(most):
        body.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(mark), y2=y(mark), class_="grid"))
        body.append(tag("text", f"{mark:,}", x=LEFT - 8, y=y(mark) + 4, text_anchor="end", class_="tick"))
    for mark in _decades(ranks):
        body.append(tag("text", f"{mark:,}", x=x(mark), y=BASE + 20, text_anchor="middle", class_="tick"))
    for sizes, class_ in sides:
        drawn = _drawn(len(sizes))
        points = " ".join(f"{x(rank):.1f},{y(sizes[rank - 1]):.1f}" for rank in drawn)
        label = tag(
            "title", f"{class_}: {int(sizes[0]):,} documents in the largest topic, {int(sizes[-1]):,} in the smallest"
        )
        body.append(tag("polyline", label, points=points, class_=f"ranked {class_}"))
        body.append(tag("circle", cx=x(drawn[-1]), cy=y(sizes[-1]), r=4, class_=class_))
    body.append(tag("text", "topics, largest first", x=WIDTH - RIGHT, y=BASE + 20, text_anchor="end", class_="tick"))
    return figure(WIDTH, HEIGHT, "Documents per topic before and after selection, by rank", body)


def _decades(most: int) -> list[int]:
    return [10**power for power in range(math.floor(math.log10(max(most, 1))) + 1)]


def _drawn(count: int) -> list[int]:
    """Ranks of the points of a line, from 1."""
    if count <= MAX_POINTS:
        return list(range(1, count + 1))
    return np.unique(np.rint(np.geomspace(1, count, MAX_POINTS)).astype(int)).tolist()


def reliability(bins: list[Bin]) -> Markup:
    """What share of examples was good, against the probability given; a dot's area is its number of examples."""
    most = max(one.rows for one in bins)
    side = BASE - TOP

    def x(value: float) -> float:
        return LEFT + value * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return BASE - value * side

    body = []
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        body.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(mark), y2=y(mark), class_="grid"))
        body.append(tag("text", f"{mark:.2f}", x=LEFT - 8, y=y(mark) + 4, text_anchor="end", class_="tick"))
        anchor = "end" if mark == 1 else "middle"
        body.append(tag("text", f"{mark:.2f}", x=x(mark), y=BASE + 20, text_anchor=anchor, class_="tick"))
    body.append(tag("line", x1=x(0), x2=x(1), y1=y(0), y2=y(1), class_="ideal"))
    points = " ".join(f"{x(one.mean_predicted):.1f},{y(one.share_good):.1f}" for one in bins)
    body.append(tag("polyline", points=points, class_="ranked after"))
    for one in bins:
        text = f"said {one.mean_predicted:.2f}, good were {one.share_good:.2f} of {one.rows:,}"
        radius = max(SMALLEST, LARGEST * math.sqrt(one.rows / most))
        inside = tag("title", text)
        body.append(tag("circle", inside, cx=x(one.mean_predicted), cy=y(one.share_good), r=radius, class_="after"))
    return figure(WIDTH, HEIGHT, "Share of good examples against the probability that the committee gave", body)
