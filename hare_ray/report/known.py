"""What a run's directory says, read once for the page and the cards."""

from __future__ import annotations

from dataclasses import dataclass

from hare_ray.report.evaluation import Evaluation, evaluations
from hare_ray.report.funnel import Funnel, funnel
from hare_ray.report.mixture import Mixture, mixtures
from hare_ray.report.reading import Run
from hare_ray.report.synthesis import Synthetic, synthesis
from hare_ray.report.training import Trained, lineages


@dataclass(frozen=True)
class Known:
    """The path to D1, and what was done with it; empty lists where the stages are not there."""

    funnel: Funnel
    synthetic: list[Synthetic]
    mixtures: list[Mixture]
    trained: list[list[Trained]]
    evaluations: list[Evaluation]

    @classmethod
    def of(cls, run: Run) -> Known:
        """Read a run."""
        return cls(funnel(run), synthesis(run), mixtures(run), lineages(run), evaluations(run))
