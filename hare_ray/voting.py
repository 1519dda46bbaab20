"""The soft committee vote: members judge with weights that follow their prior performance.

    w_m  = exp(alpha_m / T) / sum_j exp(alpha_j / T)    alpha_m in percent (CV-DD, arXiv 2501.07575: T = 5)
    mean = sum_m w_m p_m,   disagreement = sqrt(sum_m w_m (p_m - mean)^2)

T says how much a better record counts: T -> 0 leaves the best member alone, T -> infinity gives every
member the same say. The paper votes on losses with fixed weights; the weighted standard deviation is our
addition: it tells which rows the committee is unsure of.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def weights(prior_performance: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Weights of the members, positive and adding up to 1, from their prior performance in percent."""
    alpha = np.asarray(prior_performance, np.float64)
    if alpha.ndim != 1 or not len(alpha) or not np.isfinite(alpha).all():
        raise ValueError(f"given prior performance {alpha!r}, expected one finite number per member")
    if not temperature > 0:
        raise ValueError(f"given temperature={temperature}, expected a positive number such as 5")
    raised = np.exp((alpha - alpha.max()) / temperature)
    return raised / raised.sum()


def vote(probabilities: ArrayLike, weights: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and weighted standard deviation over the members, from probabilities[members, rows]."""
    given = np.asarray(probabilities, np.float64)
    shares = np.asarray(weights, np.float64)
    if given.ndim != 2 or shares.shape != (len(given),):
        raise ValueError(
            f"given probabilities of shape {given.shape} and weights of shape {shares.shape}, "
            "expected [members, rows] and [members]"
        )
    mean = shares @ given
    return mean, np.sqrt(shares @ (given - mean) ** 2)
