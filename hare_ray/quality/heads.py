"""Trained heads: what turns the features of a member into a score, kept as plain arrays.

    linear   w.x + b                              logistic regression
    network  v.tanh(W x + c) + d                  one hidden layer, for what no plane separates

Scores are log odds, calibrated later. Columns are brought to one scale where they differ in kind and cut off at
`OUTERMOST` standard deviations, so that an unusual text cannot outweigh everything else by one number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTERMOST = 3.0
MAX_ITERATIONS = 1000
HIDDEN = 32
DECAY = 1.0
"""L2 penalty of the network: with some hundred examples, less learns them by heart."""
EPOCHS = 60
STEP = 3e-3
BATCH = 64

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Scale:
    """Middle and spread of every column."""

    middle: NDArray[np.floating]
    spread: NDArray[np.floating]

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Scale:
        """Columns that are all equal stay zero."""
        spread = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Standard deviations from the middle."""
        return np.clip((features - self.middle) / self.spread, -OUTERMOST, OUTERMOST)


def linear(features: Any, label: NDArray[np.int64], weight: NDArray[np.float64], inverse: float) -> NDArray[np.float32]:
    """Weights and bias (last) of a logistic regression; `inverse` of its L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=inverse, max_iter=MAX_ITERATIONS)
    model.fit(features, label, sample_weight=weight)
    return np.append(np.ravel(model.coef_), np.ravel(model.intercept_)).astype(np.float32)


def scaled(
    features: NDArray[np.floating], label: NDArray[np.int64], weight: NDArray[np.float64], inverse: float
) -> Arrays:
    """A linear head on columns that differ in kind."""
    scale = Scale.of(features)
    head = linear(scale(features), label, weight, inverse)
    return {"middle": scale.middle.astype(np.float32), "spread": scale.spread.astype(np.float32), "head": head}


def scaled_score(features: NDArray[np.floating], arrays: Arrays) -> NDArray[np.float64]:
    """Log odds by such a head."""
    return score(Scale(arrays["middle"], arrays["spread"])(features), arrays["head"])


def score(features: Any, head: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log odds by a linear head."""
    return np.asarray(features @ head[:-1] + head[-1], np.float64)


def network(features: NDArray[np.floating], label: NDArray[np.int64], weight: NDArray[np.float64], seed: int) -> Arrays:
    """A small network, trained on examples drawn by their weights."""
    from warnings import catch_warnings, simplefilter

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    drawn = np.random.default_rng(seed).choice(len(label), len(label), p=weight / weight.sum())
    drawn[:2] = np.argmax(label), np.argmin(label)  # one of each side whatever the draw
    settings: dict[str, Any] = {"batch_size": min(BATCH, len(label))}
    model = MLPClassifier(
        (HIDDEN,), activation="tanh", alpha=DECAY, max_iter=EPOCHS, tol=0, learning_rate_init=STEP,
        random_state=seed, **settings,
    )  # fmt: skip
    with catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # the number of epochs is the early stop
        model.fit(features[drawn].astype(np.float32), label[drawn])
    (inner, outer), (shift, bias) = model.coefs_, model.intercepts_
    return {
        "inner": inner.astype(np.float32),
        "shift": shift.astype(np.float32),
        "outer": np.append(outer[:, 0], bias).astype(np.float32),
    }


def network_score(features: NDArray[np.floating], arrays: Arrays) -> NDArray[np.float64]:
    """Log odds by the network."""
    return score(np.tanh(features @ arrays["inner"] + arrays["shift"]), arrays["outer"])
