"""From the sizes of topics and what a person wants of them to the documents of each, as arithmetic on counts.

    documents n_t, group of each topic, prior -> Plan: documents kept of each topic, and how often each is read

With k topics, temperature T, cap c and max_epochs E, a topic is wanted to be

    s_t = share of its group * n_t^(1/T) / sum over its group of n^(1/T)

of the corpus, where a group is the topics of one target, or all that no target names, which share what is left. Of
a corpus of X documents per epoch it gets x_t = min(lambda * s_t, E n_t, c X / k): a topic at a limit stays there, and
the others get more in proportion (water-filling, first inside its group, so that targets are met where they can be,
then among groups). X is the number of documents there are, or less where the limits leave no other way: the largest X
with sum of min(E n_t, c X / k) >= X, which is concave in X, so that bisection finds it. As shares follow counts alone,
topics may be many and documents any number.

x_t below n_t keeps the best x_t documents, each read once. A weight below 1 for all of them would be the same share
with random documents in each epoch; this way the worst ones go. x_t above n_t reads each x_t / n_t times. Whole
documents are kept, at least one of a topic that is wanted at all, so shares are met to some documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hare_ray.priors.topics import TopicWeights

HALVINGS = 100
"""Of an interval of floats; more change nothing."""

ROUNDING = 1e-9
"""Relative, of sums of floats."""


@dataclass(frozen=True)
class Plan:
    """What every topic gives to the corpus."""

    kept: NDArray[np.int64]
    """Documents that stay."""
    weight: NDArray[np.float64]
    """How often each of them is read in one epoch."""


def planned(documents: NDArray[np.int64], group: NDArray[np.int64], prior: TopicWeights) -> Plan:
    """The plan for topics of so many documents; `group` is the number of their target, or of targets: none."""
    amount = amounts(documents, group, prior)
    repeated = amount > documents * (1 + ROUNDING)
    whole = np.maximum(np.floor(amount * (1 + ROUNDING) + ROUNDING), 1).astype(np.int64)
    kept = np.where(amount > 0, np.minimum(whole, documents), 0)
    weight = np.where(repeated, amount / np.maximum(documents, 1), kept > 0)
    return Plan(kept, weight.astype(np.float64))


def amounts(documents: NDArray[np.int64], group: NDArray[np.int64], prior: TopicWeights) -> NDArray[np.float64]:
    """Documents of every topic in an epoch, with fractions."""
    share = np.array([target.share for target in prior.targets])
    share = np.append(share, 1 - share.sum())
    share[share < ROUNDING] = 0
    wanted = (documents > 0) & (share[group] > 0)
    most = np.where(wanted, documents, 0).astype(np.float64)
    most[documents >= prior.min_documents] *= prior.max_epochs
    total = float(documents.sum())
    if prior.cap is not None and wanted.any():
        even = prior.cap / int(wanted.sum())
        total = largest_total(most, even, total)
        most = np.minimum(most, even * total)
    proportion = np.where(wanted, documents, 0) ** (1 / prior.temperature)
    of_group = filled(total, share, np.bincount(group, most, len(share)).astype(np.float64))
    amount = np.zeros(len(documents))
    for number, whole in enumerate(of_group):
        mine = group == number
        amount[mine] = filled(whole, proportion[mine], most[mine])
    return amount


def largest_total(most: NDArray[np.float64], share: float, total: float) -> float:
    """The largest X up to `total` with sum of min(most, share * X) >= X; share is at least 1 / number of topics."""

    def fits(wanted: float) -> bool:
        return bool(np.minimum(most, share * wanted).sum() >= wanted * (1 - ROUNDING))

    if fits(total):
        return total
    low, high = 0.0, total
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def filled(total: float, wanted: NDArray[np.float64], most: NDArray[np.float64]) -> NDArray[np.float64]:
    """`total` in proportion to `wanted`, none above its `most`; what one cannot take goes to the others."""
    amount = np.zeros(len(wanted))
    order = np.flatnonzero(wanted > 0)
    order = order[np.argsort(most[order] / wanted[order], kind="stable")]
    below = np.cumsum(most[order]) - most[order]
    after = np.cumsum(wanted[order][::-1])[::-1]
    level = (total - below) / after  # per unit wanted, once all before are full
    full = level >= most[order] / wanted[order]
    first = int(np.argmin(full)) if not full.all() else len(order)
    amount[order[:first]] = most[order[:first]]
    if first < len(order):
        amount[order[first:]] = wanted[order[first:]] * level[first]
    return amount
