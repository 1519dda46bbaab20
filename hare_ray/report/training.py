"""The training stages of a run, stage after stage on one axis of tokens.

    metrics.jsonl: step, tokens, loss, learning_rate, grad_norm, skipped, tokens_per_second, mfu, ...   a line a step
    summary.json:  parameters, steps, tokens, final_loss, tokens_per_second, mfu, restarts, groups, sources, ...

A stage that starts from another one's weights continues its axis: it begins at the token where that one ended. Stages
that do not lead to each other are lineages of their own, each with a chart. What an older run did not write is unknown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hare_ray.report.reading import Run

KEYS = (
    *("step", "tokens", "loss", "learning_rate", "grad_norm", "skipped"),
    *("tokens_per_second", "real_tokens_per_second", "mfu", "mfu_true", "workers"),
)

ORIGINS = ("before", "start", "trained", "parent")
"""Inputs that weights come from: of a training the first two, else of what lies between it and another one."""

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """One finished training stage."""

    name: str
    after: str | None
    """The training stage whose weights it started from."""
    begin: int
    """Tokens that were trained on before it."""
    rank: int
    """Place among the stages that start at the same point."""
    metrics: dict[str, Column]
    summary: dict[str, Any]

    @property
    def end(self) -> int:
        """Tokens trained on when it ended."""
        return self.begin + self.tokens

    @property
    def tokens(self) -> int:
        """Of this stage."""
        return int(self.summary.get("tokens") or self.metrics["tokens"].max(initial=0))

    @property
    def crews(self) -> list[int]:
        """How many workers it had, group after group."""
        groups = self.summary.get("groups")
        if groups:
            return [group["workers"] for group in groups]
        return [self.summary["workers"]] if self.summary.get("workers") else []

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Name, tokens without padding and epochs of each source; empty where it was not counted."""
        return self.summary.get("sources") or []

    @property
    def spikes(self) -> NDArray[np.int64]:
        """Rows of the steps that were skipped."""
        return rises(self.metrics["skipped"])

    @property
    def changes(self) -> NDArray[np.int64]:
        """Rows of the first steps with another number of workers."""
        workers = self.metrics["workers"]
        known = np.flatnonzero(np.isfinite(workers))
        return known[1:][np.diff(workers[known]) != 0]


def rises(counts: Column) -> NDArray[np.int64]:
    """Rows where a count is higher than before; where it is not known it did not rise."""
    return np.flatnonzero(np.diff(np.nan_to_num(counts), prepend=0.0) > 0)


def lineages(run: Run) -> list[list[Trained]]:
    """Training stages by the first stage they descend from, inputs before users."""
    found: dict[str, Trained] = {}
    heads: dict[str, list[Trained]] = {}
    for name in run.of_class("Pretrain"):
        summary = run.json(name, "summary.json")
        if summary is None:
            continue
        after = _before(run, name, found)
        begin = found[after].end if after else 0
        rank = sum(1 for other in found.values() if after and other.after == after)
        found[name] = Trained(name, after, begin, rank, _metrics(run, name), summary)
        head = name
        while (parent := found[head].after) is not None:
            head = parent
        heads.setdefault(head, []).append(found[name])
    return list(heads.values())


def _before(run: Run, name: str, found: dict[str, Trained]) -> str | None:
    """The nearest training stage whose weights a stage has; not one that only chose what it reads."""
    origin: str | None = name
    while (origin := _origin(run, origin)) is not None and origin not in found:
        pass
    return origin


def _origin(run: Run, name: str) -> str | None:
    inputs = run.known[name]["inputs"] if name in run.known else {}
    return next((parent for way in ORIGINS for parent in inputs.get(way, ())), None)


def _metrics(run: Run, name: str) -> dict[str, Column]:
    """Columns of metrics.jsonl; NaN where a step has no such number."""
    rows = [json.loads(line) for line in (run.file(name, "metrics.jsonl") or b"").splitlines()]
    return {key: np.array([_number(row.get(key)) for row in rows], np.float64) for key in KEYS}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
