"""From the sizes of topics and what a person wants of them to the documents of each, as arithmetic on counts.

    documents n_t, group of each topic, prior -> Plan: documents kept of each topic, and how often each is read

A group is the topics of one target, or the rest: all that no target names. Two rules, the inner one first.

Inside the rest (temperature T, cap c, max_epochs E). Of the k topics of at least min_documents, N documents together,

    x_t = min(E n_t, N n_t^(1/T) / sum of n^(1/T), c / k * sum of x)

A topic over its share is cut to it. One that is short is repeated, and what it cannot fill goes to nobody: were it
given back, the large topics would be refilled to what they were, and without repeats T would do nothing. Taking the
total down until every share is met would be the other way, and leave of all topics what the smallest has. The cap's
equation is concave in the limit, so that bisection finds the largest. Smaller topics stay as they are: never repeated,
and no share is computed from them, or a topic of one document would bring all others down to one.

Among the groups. X documents per epoch have s_g X of a target, at most E n_t of each of its topics, and the rest is the
rest, scaled as a whole. X is the largest total, up to the documents there are, for which the rest has enough: so a
target over its share is cut to exactly that. If a target is still short, X comes down to where it is not, but by
`max_cut` of itself at most; targets of no or only small topics are left out of that. Inside a target topics get in
proportion to n^(1/T), and what one cannot take goes to its neighbours (water-filling), since the target's share is
what was asked for; no cap holds there. If no topic is left over, the targets' shares are scaled to 1.

x_t below n_t keeps the best x_t documents, each read once. A weight below 1 for all of them would be the same share
with random documents in each epoch; this way the worst ones go. x_t above n_t reads each x_t / n_t times. Whole
documents are kept, at least one of a topic that is wanted at all, so shares are met to some documents.
"""

from __future__ import annotations

from collections.abc import Callable
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
    targets = len(prior.targets)
    share = np.array([target.share for target in prior.targets])
    rest_share = max(0.0, 1 - share.sum())
    most = documents.astype(np.float64)
    large = (documents > 0) & (documents >= prior.min_documents)
    most[large] *= prior.max_epochs
    rest = (group == targets) & (rest_share > ROUNDING)
    amount = np.zeros(len(documents))
    amount[rest] = evened(documents[rest], most[rest], large[rest], prior)

    room = np.bincount(group, most, targets + 1)[:targets].astype(np.float64)
    binding = np.bincount(group[large], minlength=targets + 1)[:targets] > 0
    share = np.where(room > 0, share, 0)
    of_rest, of_target = divided(share, room, binding & (share > 0), (amount.sum(), documents.sum(), prior.max_cut))
    amount[rest] *= of_rest / (amount[rest].sum() or 1)
    proportion = (documents ** (1 / prior.temperature)).astype(np.float64)
    for number, whole in enumerate(of_target):
        mine = group == number
        amount[mine] = filled(whole, proportion[mine], most[mine])
    return amount


def evened(
    documents: NDArray[np.int64], most: NDArray[np.float64], large: NDArray[np.bool_], prior: TopicWeights
) -> NDArray[np.float64]:
    """Documents of the topics of the rest, were there nothing else: by temperature and cap."""
    amount = most.copy()
    proportion = documents[large] ** (1 / prior.temperature)
    if not len(proportion):
        return amount
    wanted = np.minimum(most[large], proportion / proportion.sum() * documents[large].sum())
    if prior.cap is not None:
        even = prior.cap / len(wanted)
        top = float(wanted.max())
        limit = largest(lambda limit: limit <= even * np.minimum(wanted, limit).sum() * (1 + ROUNDING), top)
        wanted = np.minimum(wanted, limit)
    amount[large] = wanted
    return amount


def divided(
    share: NDArray[np.float64],
    room: NDArray[np.float64],
    binding: NDArray[np.bool_],
    bounds: tuple[float, float, float],
) -> tuple[float, NDArray[np.float64]]:
    """Documents of the rest and of every target.

    `room` is the most that a target can give, `binding` which of them may take the total down; `bounds` are what the
    rest has, the documents there are, and how much of the total may go for a target that is short.
    """
    rest, total, max_cut = bounds

    def of_targets(whole: float) -> NDArray[np.float64]:
        return np.minimum(share * whole, room)

    if rest > 0:
        top = largest(lambda whole: whole - of_targets(whole).sum() <= rest * (1 + ROUNDING), total)
    else:
        share = share / (share.sum() or 1)
        top = min(total, room[share > 0].sum())
    met = float((room[binding] / share[binding]).min(initial=np.inf))
    whole = min(top, max(met, (1 - max_cut) * top))
    if rest > 0:
        found = of_targets(whole)
        return min(rest, whole - float(found.sum())), found
    return 0.0, filled(whole, share, room)


def largest(fits: Callable[[float], bool], top: float) -> float:
    """The largest number up to `top` that fits, as all smaller ones do."""
    if fits(top):
        return top
    low, high = 0.0, top
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
