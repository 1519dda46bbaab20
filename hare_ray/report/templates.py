"""The templates of a way of writing side by side, so that a bad prompt is seen at a glance.

A template is marked as below the others where both hold:

    upper(accepted, asked) < share of the others       Wilson's score interval (1927), 99 % over all templates at once
    share < CLEARLY * share of the others              with millions of rows any difference is beyond chance

The share of the others is that of all other templates' rows taken together. Wilson's interval is right for shares near
0 and 1 and for few rows, where the usual one (share +- z standard errors) is not; its level is divided by the number
of templates (Bonferroni), so that of many good templates none is marked by chance.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from hare_ray.report.samples import Sample, Samples
from hare_ray.report.ways import Count, Way

LEVEL = 0.99
"""Of the interval, for all templates together."""

CLEARLY = 0.9
"""Share of the others' accepted share from which a template does as well as they do."""

BETWEEN = " / "
"""What stands between the two parts of a variant: audience and style."""

REASONS_COLOURED = 7
"""Reasons with a colour of their own; the others share one."""

MOST_CELLS = 400
"""Cells of a matrix of variants that is still read at a glance."""


@dataclass(frozen=True)
class Line:
    """One template."""

    name: str
    task: str | None
    """What kind of text it asks for, where the recipe says it."""
    count: Count
    low: bool
    reasons: tuple[tuple[str, int, int], ...]
    """Reason, rows, number of its colour; most frequent first."""
    tokens_share: float
    """Of the tokens that were written for all templates: its share of the time, and so of the cost."""
    kept: list[Sample]
    refused: list[Sample]

    @property
    def mean_tokens(self) -> float | None:
        """Tokens of an answer."""
        return self.count.completion_tokens / self.count.asked if self.count.asked else None

    @property
    def tokens_each(self) -> float | None:
        """Tokens that were written for one text that was accepted."""
        return self.count.completion_tokens / self.count.accepted if self.count.accepted else None


@dataclass(frozen=True)
class Cell:
    """The prompts of one variant."""

    asked: int
    accepted: int


@dataclass(frozen=True)
class Matrix:
    """Accepted shares by the two parts of the variants; `cells` by row and column, None where nothing was asked."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell | None, ...], ...]


def upper_bound(accepted: int, asked: int, level: float) -> float:
    """Upper end of Wilson's two-sided interval of a share."""
    if not asked:
        return 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = accepted / asked
    middle = share + z * z / (2 * asked)
    reach = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked))
    return min(1.0, (middle + reach) / (1 + z * z / asked))


def below_others(way: Way) -> set[str]:
    """The templates that are clearly below the others."""
    whole, number = way.total, len(way.templates)
    found = set()
    for name, one in way.templates.items():
        others_asked, others_accepted = whole.asked - one.asked, whole.accepted - one.accepted
        if one.asked and others_asked:
            others = others_accepted / others_asked
            sure = upper_bound(one.accepted, one.asked, 1 - (1 - LEVEL) / number) < others
            if sure and one.accepted / one.asked < CLEARLY * others:
                found.add(name)
    return found


def lines(number: int, way: Way, tasks: dict[str, str], samples: Samples) -> list[Line]:
    """The templates of the way of this number, the one with the lowest share first."""
    low, whole = below_others(way), way.total
    ranks = {reason: min(rank, REASONS_COLOURED) for rank, reason in enumerate(ordered(whole.refused))}
    found = [
        Line(
            name=name,
            task=tasks.get(name),
            count=one,
            low=name in low,
            reasons=tuple((reason, one.refused[reason], ranks[reason]) for reason in ordered(one.refused)),
            tokens_share=one.completion_tokens / whole.completion_tokens if whole.completion_tokens else 0.0,
            kept=samples.kept.get((number, name), []),
            refused=samples.refused.get((number, name), []),
        )
        for name, one in way.templates.items()
    ]
    return sorted(found, key=lambda line: (line.count.accepted / max(line.count.asked, 1), line.name))


def ordered(refused: Counter[str]) -> list[str]:
    """Reasons, the most frequent first."""
    return sorted(refused, key=lambda reason: (-refused[reason], reason))


def tasks_of(stages: list[dict[str, Any]]) -> dict[str, str]:
    """Template -> its task or kind, as the fields of the stages that make prompts say it."""
    entries = (entry for fields in stages for entry in fields.get("templates", ()) if isinstance(entry, dict))
    told = {entry["name"]: entry.get("task") or entry.get("kind") for entry in entries if "name" in entry}
    return {name: task for name, task in told.items() if isinstance(task, str) and task != name}


def matrix(way: Way) -> Matrix | None:
    """Accepted shares by variant; None where there are none, or too many to be read."""
    parts = {variant: variant.partition(BETWEEN) for variant in way.variants}
    rows = tuple(sorted({row for row, _, _ in parts.values()}))
    columns = tuple(sorted({column for _, _, column in parts.values()}))
    if len(parts) < 2 or len(rows) * len(columns) > MOST_CELLS:
        return None
    by_place = {(row, column): way.variants[variant] for variant, (row, _, column) in parts.items()}
    cells = tuple(tuple(_cell(by_place.get((row, column))) for column in columns) for row in rows)
    return Matrix(rows, columns, cells)


def _cell(one: Count | None) -> Cell | None:
    return Cell(one.asked, one.accepted) if one is not None and one.asked else None
