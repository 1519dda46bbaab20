"""What a draw for another round came to: rounds.json, for the report and for whoever chooses a temperature.

    losses, verdicts -> rounds.json    settings; per source and part: sequences, targets and mean loss, drawn and not;
                                       how flat the probabilities were

Flatness is the perplexity of p, exp(-sum p log p), over the number of grains: 1 where every grain is as likely, 1 / N
where one takes it all. Near 1 the draw is a uniform one, and loss says nothing: take a lower temperature or a smaller
grain. Mean losses are over targets, so that sources and parts can be compared.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.stage import Make, Table
from hare_ray.train.resampled import Floats, Resampled, grain_losses, probabilities

if TYPE_CHECKING:
    from hare_ray.gather import Desk

ROUNDS = "rounds.json"


class RoundSummary(Make):
    """The numbers of a round's draws."""

    draws: tuple[Resampled, ...]
    """One for each source."""
    losses: tuple[Table, ...]
    """What each was drawn by."""
    names: tuple[str, ...]

    imports: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse draws without a name of their own, and losses of others."""
        if not self.draws or len({*self.names}) != len(self.draws) or len(self.names) != len(self.draws):
            raise ValueError(
                f"{self!r}: given {len(self.draws)} draws and names {self.names}, expected a different name for each"
            )
        if [id(table) for table in self.losses] != [id(draw.losses) for draw in self.draws]:
            raise ValueError(f"{self!r}: given {self.losses}, expected what {self.draws} were drawn by, in their order")

    def make(self, desk: Desk) -> dict[str, int]:
        """Write rounds.json; returns the sequences there were and those that were drawn."""
        sources = [
            {"name": name, "table": draw.sequences.name, **self._source(desk, draw)}
            for name, draw in zip(self.names, self.draws, strict=True)
        ]
        (desk.folder / ROUNDS).write_text(json.dumps({"sources": sources}, indent=1) + "\n")
        return {name: sum(source[name] for source in sources) for name in ("sequences", "drawn_sequences")}

    def _source(self, desk: Desk, draw: Resampled) -> dict[str, Any]:
        tables = [
            (desk.read(draw.losses, part, ("loss", "targets")), desk.read(draw, part, ("reason",)))
            for part in range(desk.parts(draw))
        ]
        parts = [measured(losses, verdict, draw) for losses, verdict in tables]
        whole = total(parts)
        settings = {name: getattr(draw, name) for name in ("share", "temperature", "grain_sequences")}
        return {**settings, **whole, "parts": parts}


def measured(losses: pa.Table, verdict: pa.Table, draw: Resampled) -> dict[str, Any]:
    """The numbers of one part."""
    loss, targets = (losses.column(name).to_numpy() for name in ("loss", "targets"))
    chosen = np.asarray(pc.is_null(verdict.column("reason")), bool)
    return {
        "sequences": len(loss),
        "targets": int(targets.sum()),
        "loss": mean(loss, targets),
        "drawn_sequences": int(chosen.sum()),
        "drawn_targets": int(targets[chosen].sum()),
        "loss_drawn": mean(loss[chosen], targets[chosen]),
        "loss_not_drawn": mean(loss[~chosen], targets[~chosen]),
        "flatness": flatness(grain_losses(loss, targets, draw.grain_sequences) / draw.temperature),
    }


def mean(loss: Any, targets: Any) -> float | None:
    """Mean loss over the targets; None where there are none."""
    count = int(targets.sum())
    return float(loss.astype(np.float64) @ targets) / count if count else None


def flatness(scores: Floats) -> float | None:
    """Perplexity of softmax(scores) over their number; None of no scores."""
    if not len(scores):
        return None
    p = probabilities(scores)
    p = p[p > 0]
    return float(np.exp(-(p @ np.log(p)))) / len(scores)


def total(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over parts, and means over their targets; flatness over their sequences."""
    found: dict[str, Any] = {
        name: sum(part[name] for part in parts) for name in ("sequences", "targets", "drawn_sequences", "drawn_targets")
    }
    weights = {
        "loss": [part["targets"] for part in parts],
        "loss_drawn": [part["drawn_targets"] for part in parts],
        "loss_not_drawn": [part["targets"] - part["drawn_targets"] for part in parts],
        "flatness": [part["sequences"] for part in parts],
    }
    for name, weight in weights.items():
        whole = sum(weight)
        summed = sum((part[name] or 0.0) * one for part, one in zip(parts, weight, strict=True))
        found[name] = summed / whole if whole else None
    return found
