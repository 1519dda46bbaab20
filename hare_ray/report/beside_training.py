"""What was made beside a training: smaller models to start from, draws for another round, and what was forgotten.

inherit.json      a smaller model out of a larger one: losses before, after, and of one that was drawn
rounds.json       what each source gave to another round, and the mean loss of what was drawn and what not
forgetting.json   mean loss by the step that last read a sequence
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from hare_ray.report.reading import Run


@dataclass(frozen=True)
class Draw:
    """What one source gave to another round."""

    stage: str
    name: str
    temperature: float
    grain_sequences: int
    sequences: int
    drawn_sequences: int
    loss_drawn: float | None
    loss_not_drawn: float | None
    flatness: float | None
    """Perplexity of the probabilities over their number: 1 where every grain was as likely."""


@dataclass(frozen=True)
class Beside:
    """All of it; stages with what their files say."""

    inherited: list[tuple[str, dict[str, Any]]]
    draws: list[Draw]
    forgotten: list[tuple[str, dict[str, Any]]]

    @classmethod
    def of(cls, run: Run) -> Beside:
        """Read a run."""
        keys = [field.name for field in fields(Draw) if field.name != "stage"]
        draws = [
            Draw(stage, **{key: source[key] for key in keys})
            for stage, told in files(run, "RoundSummary", "rounds.json")
            for source in told["sources"]
        ]
        return cls(files(run, "Inherit", "inherit.json"), draws, files(run, "Forgetting", "forgetting.json"))


def files(run: Run, class_: str, name: str) -> list[tuple[str, dict[str, Any]]]:
    """A JSON file of every finished stage of a class."""
    found = ((stage, run.json(stage, name)) for stage in run.of_class(class_))
    return [(stage, told) for stage, told in found if told is not None]
