"""What the page says of the committee that scores quality: plain values for the templates.

Everything is from the committee's report.json. Older ones lack calibration and some figures of its members, and then
these are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hare_ray.report.reading import Run

ALL = "all, voting"


@dataclass(frozen=True)
class Member:
    """One judge of the committee, or all of them voting; None where it was not measured."""

    name: str
    accuracy: float | None
    """In percent, as the area under the curve and F1 are."""
    auc: float | None
    f1: float | None
    ece: float | None
    """Expected calibration error, in percent of probability."""
    weight: float | None


@dataclass(frozen=True)
class Bin:
    """Held-out examples that were given like probabilities of being good."""

    rows: int
    mean_predicted: float
    share_good: float


@dataclass(frozen=True)
class Committee:
    """How the judges did on the examples they had not seen."""

    members: list[Member]
    examples: dict[str, int]
    groups: dict[str, int]
    """Examples by where their labels are from."""
    folds: int | None
    calibration: list[Bin]

    @property
    def measured(self) -> set[str]:
        """Figures that at least one member has."""
        names = ("accuracy", "auc", "f1", "ece")
        return {name for name in names if any(getattr(member, name) is not None for member in self.members)}


def committee(run: Run) -> Committee | None:
    """From report.json; None where there is none."""
    report = run.json("committee", "report.json")
    if report is None:
        return None
    judged = {**report["members"], ALL: report["committee"]}
    figures = ("accuracy", "auc", "f1", "ece", "weight")
    members = [Member(name, *(found.get(figure) for figure in figures)) for name, found in judged.items()]
    return Committee(members, report["examples"], report.get("groups", {}), report.get("folds"), _bins(report))


def _bins(report: dict[str, Any]) -> list[Bin]:
    """Bins that hold examples."""
    told = report.get("calibration") or []
    return [Bin(one["rows"], one["mean_predicted"], one["share_good"]) for one in told if one["rows"]]
