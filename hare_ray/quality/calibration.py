"""Chances that mean what they say: of the documents given 0.8, eight in ten are good.

    fitted(chances, label, choices)  -> Curve, the family that is best calibrated on examples it was not fitted to
    Curve(chances)                   -> calibrated chances, in the same order

Families, over p and with a, b >= 0 so that no order changes:

    platt    logit q = a logit p + c                    (Platt 1999)
    beta     logit q = a ln p - b ln(1 - p) + c         (Kull et al. 2017): also for what is bent on one side only

Isotonic regression would fit closer and is left out on purpose: it gives stretches of documents one and the same
value, and selection ranks documents. What is fitted to are held-out votes (`hare_ray.quality.rounds`), since chances
on the examples a member has learned from are all near 0 and 1.

Calibration error (ECE): the mean over `BINS` equal bins of |mean chance - share of good|, weighted by their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10
FAMILIES = ("platt", "beta")
FOLDS = 5
"""Of the examples, to choose a family."""
FIRMNESS = 1e-3
"""Weight of the penalty on a, b and c, in examples: keeps the curve finite where good and poor are told apart fully."""
CLIP = 1e-7
"""Chances nearer to 0 and 1 are taken for this."""


@dataclass(frozen=True)
class Curve:
    """logit q = a ln p - b ln(1 - p) + c."""

    a: float
    b: float
    c: float

    def __call__(self, chances: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated chances."""
        return probability(_sides(chances) @ np.array([self.a, self.b]) + self.c)


def probability(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """The logistic function."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(scores, np.float64), -30, 30)))


def log_odds(chances: NDArray[np.floating]) -> NDArray[np.float64]:
    """The inverse of `probability`."""
    return _sides(chances).sum(axis=1)


def fitted(chances: NDArray[np.floating], label: NDArray[np.int64], seed: int) -> tuple[str, Curve]:
    """The better family, and its curve for all examples."""
    folds = np.random.default_rng(seed).permutation(len(label)) % FOLDS
    errors = {family: ece(_held_out(chances, label, folds, family), label) for family in FAMILIES}
    best = min(FAMILIES, key=lambda family: errors[family])
    return best, fit(chances, label, best)


def _held_out(
    chances: NDArray[np.floating], label: NDArray[np.int64], folds: NDArray[np.int64], family: str
) -> NDArray[np.float64]:
    found = np.empty(len(label))
    for fold in range(FOLDS):
        test = folds == fold
        if test.any():
            found[test] = fit(chances[~test], label[~test], family)(chances[test])
    return found


def fit(chances: NDArray[np.floating], label: NDArray[np.int64], family: str) -> Curve:
    """The curve of a family that makes the labels most likely."""
    from scipy.optimize import minimize

    sides = _sides(chances)
    columns = sides if family == "beta" else sides.sum(axis=1, keepdims=True)
    signs = np.where(label == 1, 1.0, -1.0)

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = signs * (columns @ at[:-1] + at[-1])
        slope = -signs * probability(-margin)
        value = np.logaddexp(0, -margin).sum() + FIRMNESS * (at @ at)
        return value, np.append(columns.T @ slope, slope.sum()) + 2 * FIRMNESS * at

    start = np.append(np.ones(columns.shape[1]), 0.0)
    bounds: Sequence[tuple[float | None, float | None]] = [(CLIP, None)] * columns.shape[1] + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    a, b = (found[0], found[1]) if family == "beta" else (found[0], found[0])
    return Curve(float(a), float(b), float(found[-1]))


def _sides(chances: NDArray[np.floating]) -> NDArray[np.float64]:
    """Columns ln p and -ln(1 - p); their sum is logit p."""
    clipped = np.clip(np.asarray(chances, np.float64), CLIP, 1 - CLIP)
    return np.stack([np.log(clipped), -np.log1p(-clipped)], axis=1)


def bins(chances: NDArray[np.floating], label: NDArray[np.int64]) -> list[dict[str, float]]:
    """Per tenth of the chances: rows, their mean chance and the share of good ones; empty tenths are left out."""
    which = np.minimum((np.asarray(chances) * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(which, minlength=BINS)
    said = np.bincount(which, chances, BINS)
    good = np.bincount(which, label, BINS)
    return [
        {
            "from": n / BINS,
            "to": (n + 1) / BINS,
            "rows": int(rows[n]),
            "mean_predicted": float(said[n] / rows[n]),
            "share_good": float(good[n] / rows[n]),
        }
        for n in range(BINS)
        if rows[n]
    ]


def ece(chances: NDArray[np.floating], label: NDArray[np.int64]) -> float:
    """Expected calibration error, 0 to 1."""
    apart = (one["rows"] * abs(one["mean_predicted"] - one["share_good"]) for one in bins(chances, label))
    return sum(apart) / max(len(label), 1)
