"""How the models do on held-out text and benchmarks: scores with standard errors, chance beside them.

    results.json: models: name: task: metric, metric_stderr, items;   chance: task: metric

Two models differ where their scores are further apart than `SURE` standard errors of the difference,
sqrt(a^2 + b^2) of two independent ones. Models judged on the same items err together, so this is the careful side:
what is marked as best would be so in a paired test too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hare_ray.report.reading import Run

SURE = 2
"""Standard errors: about 95 % of a normal distribution lie within."""

HIGHER = ("acc", "exact_match", "f1", "mc1", "mc2", "bleu", "rouge", "pass")
"""Beginnings of the names of metrics of which more is better."""

LOWER = ("bits_per_byte", "perplexity", "word_perplexity", "byte_perplexity", "loss", "nll")
"""And of those of which less is; of any other no best is named."""

STDERR = "_stderr"


@dataclass(frozen=True)
class Score:
    """One model's score on one task."""

    model: str
    value: float
    stderr: float | None
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One task and metric over all models."""

    task: str
    metric: str
    better: str | None
    """higher or lower; None where the metric is not known."""
    items: int | None
    chance: float | None
    scores: dict[str, Score]


@dataclass(frozen=True)
class Evaluation:
    """One Evaluate stage."""

    name: str
    models: list[str]
    lines: list[Line]
    sentences: list[str]


def evaluations(run: Run) -> list[Evaluation]:
    """Every finished evaluation, in the order of the run."""
    found = []
    for name in run.of_class("Evaluate"):
        results = run.json(name, "results.json")
        if results is not None:
            models = list(results["models"])
            lines = _lines(results)
            found.append(Evaluation(name, models, lines, _sentences(models, lines)))
    return found


def _lines(results: dict[str, Any]) -> list[Line]:
    asked = dict.fromkeys(
        (task, metric)
        for tasks in results["models"].values()
        for task, scores in tasks.items()
        for metric in scores
        if metric != "items" and not metric.endswith(STDERR)
    )
    return [_line(results, task, metric) for task, metric in asked]


def _line(results: dict[str, Any], task: str, metric: str) -> Line:
    scores, items = {}, None
    for model, tasks in results["models"].items():
        said = tasks.get(task, {})
        if said.get(metric) is not None:
            scores[model] = Score(model, said[metric], said.get(f"{metric}{STDERR}"))
            items = said.get("items", items)
    chance = results.get("chance", {}).get(task, {}).get(metric)
    better = "higher" if metric.startswith(HIGHER) else "lower" if metric.startswith(LOWER) else None
    best = _best(list(scores.values()), better)
    if best is not None:
        scores[best.model] = Score(best.model, best.value, best.stderr, best=True)
    return Line(task, metric, better, items, chance, scores)


def _best(scores: Sequence[Score], better: str | None) -> Score | None:
    """The score that is ahead of every other by more than chance can make it."""
    if len(scores) < 2 or better is None:
        return None
    first, *others = sorted(scores, key=lambda score: score.value, reverse=better == "higher")
    return first if all(differ(first, other) for other in others) else None


def differ(one: Score, other: Score) -> bool:
    """Whether two scores are surely apart; never where a standard error is missing."""
    if one.stderr is None or other.stderr is None:
        return False
    return abs(one.value - other.value) > SURE * math.hypot(one.stderr, other.stderr)


def _sentences(models: list[str], lines: list[Line]) -> list[str]:
    if not lines:
        return ["Nothing was asked: there were no items."]
    told = []
    open_ = [line for line in lines if len(line.scores) > 1 and line.better and not _has_best(line)]
    if len(models) > 1 and open_:
        told.append(
            f"No model is ahead of all others by more than {SURE} standard errors of the difference on "
            f"{_named(open_)}; none is marked as best there."
        )
    for model in models:
        guessed = [line for line in lines if _like_chance(line, model)]
        if guessed:
            told.append(f"{model} lies within {SURE} standard errors of chance on {_named(guessed)}.")
    return told


def _has_best(line: Line) -> bool:
    return any(score.best for score in line.scores.values())


def _like_chance(line: Line, model: str) -> bool:
    score = line.scores.get(model)
    if score is None or line.chance is None or score.stderr is None:
        return False
    return abs(score.value - line.chance) <= SURE * score.stderr


def _named(lines: list[Line]) -> str:
    return ", ".join(f"{line.task} ({line.metric})" for line in lines)
