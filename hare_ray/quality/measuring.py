"""What members and vote are worth, told by examples that they have not seen; weights and curves of the vote.

    measured(examples, folds, temperature) -> report: members, committee, calibration

Members score the examples that each round (`hare_ray.quality.rounds`) leaves out. Of all these scores come the curves
that make chances of a member's log odds, the weights softmax(AUC / temperature), and the curve of the vote: these are
kept (`fitted_vote`). What the report says of chances is nested (`nested`): the tests of a round are judged with curves
and weights from the tests of the other rounds, less those of the same examples. As groups are left out whole where a
side has several, the calibration error told is that of groups which calibration has not seen either, averaged over
rounds: pooled, a source that is judged too well hides one that is judged too badly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hare_ray import voting
from hare_ray.quality.calibration import Curve, bins, ece, fitted, log_odds, probability
from hare_ray.quality.names import MEMBERS
from hare_ray.quality.rounds import rounds
from hare_ray.quality.voters import Examples, scores, train


@dataclass(frozen=True)
class Heard:
    """What members said of examples that they had not seen, round after round."""

    scores: NDArray[np.float64]
    """Log odds, [members, tests]."""
    example: NDArray[np.int64]
    label: NDArray[np.int64]
    turn: NDArray[np.int64]
    """Number of the round."""

    def __getitem__(self, which: NDArray[np.bool_]) -> Heard:
        return Heard(self.scores[:, which], self.example[which], self.label[which], self.turn[which])


@dataclass(frozen=True)
class Vote:
    """Curves of the members, their weights, and the curve of the vote; families of curves by name."""

    curves: list[Curve]
    shares: NDArray[np.float64]
    curve: Curve
    families: list[str]
    """Of the members, then of the vote."""

    def __call__(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Quality, and the chances that members give."""
        chances = np.stack([curve(probability(one)) for curve, one in zip(self.curves, scores, strict=True)])
        return self.curve(probability(voting.vote([log_odds(one) for one in chances], self.shares)[0])), chances


def measured(examples: Examples, folds: int, temperature: float) -> dict[str, Any]:
    """What members and vote are worth on groups that they have not seen."""
    every = [one.test for one in rounds(examples.label, examples.group, folds, examples.seed)]
    example = np.concatenate([np.flatnonzero(test) for test in every])
    told = np.concatenate([scores(examples.seen, train(examples, ~test))[:, test] for test in every], axis=1)
    turn = np.repeat(np.arange(len(every)), [int(test.sum()) for test in every])
    tests = Heard(told, example, examples.label[example], turn)

    vote = fitted_vote(tests, temperature, examples.seed)
    quality, chances = nested(tests, temperature, examples.seed)
    several = any(len(np.unique(examples.group[examples.label == side])) > 1 for side in (0, 1))
    source = turn if several else np.zeros_like(turn)
    kept = [
        {**judge(said, tests, source), "calibration": {"family": family, **asdict(curve)}}
        for said, family, curve in zip([*chances, quality], vote.families, [*vote.curves, vote.curve], strict=True)
    ]
    members = {
        name: {**one, "auc": float(area), "weight": float(share)}
        for name, one, area, share in zip(MEMBERS, kept[:-1], areas(tests), vote.shares, strict=True)
    }
    return {"members": members, "committee": kept[-1], "calibration": bins(quality, tests.label)}


def fitted_vote(tests: Heard, temperature: float, seed: int) -> Vote:
    """Weights and curves by some tests."""
    raw = probability(tests.scores)
    families, curves = zip(*(fitted(one, tests.label, seed) for one in raw), strict=True)
    odds = [log_odds(curve(one)) for curve, one in zip(curves, raw, strict=True)]
    shares = voting.weights(areas(tests), temperature)
    family, curve = fitted(probability(voting.vote(odds, shares)[0]), tests.label, seed)
    return Vote(list(curves), shares, curve, [*families, family])


def nested(tests: Heard, temperature: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quality and chances of the members, of every test by weights and curves from other rounds and examples."""
    quality, chances = np.empty(len(tests.label)), np.empty(tests.scores.shape)
    for turn in np.unique(tests.turn):
        here = tests.turn == turn
        known = ~np.isin(tests.example, tests.example[here])
        quality[here], chances[:, here] = fitted_vote(tests[known], temperature, seed)(tests.scores[:, here])
    return quality, chances


def areas(tests: Heard) -> NDArray[np.float64]:
    """AUC of every member in percent, the mean over the rounds."""
    return np.array([area(said, tests.label, tests.turn) for said in tests.scores])


def area(said: NDArray[np.float64], label: NDArray[np.int64], turn: NDArray[np.int64]) -> float:
    """AUC in percent, the mean over the rounds that have tests of both sides; one half where none has."""
    from sklearn.metrics import roc_auc_score

    parts = [turn == at for at in np.unique(turn)]
    found = [100 * float(roc_auc_score(label[one], said[one])) for one in parts if len(np.unique(label[one])) > 1]
    return sum(found) / len(found) if found else 50.0


def judge(chances: NDArray[np.float64], tests: Heard, source: NDArray[np.int64]) -> dict[str, float]:
    """In percent: accuracy and F1 of the good at one half, pooled; AUC and calibration error, means over rounds.

    Calibration errors of different `source` do not make up for each other: too high here and too low there is no
    calibration. Where no groups are left out there is one source.
    """
    from sklearn.metrics import f1_score

    label = tests.label
    errors = [ece(chances[source == one], label[source == one]) for one in np.unique(source)]
    return {
        "accuracy": 100 * float(np.mean((chances >= 0.5) == label)),
        "auc": area(chances, label, tests.turn),
        "f1": 100 * float(f1_score(label, chances >= 0.5)),
        "ece": 100 * sum(errors) / len(errors),
    }
