"""What members are measured on: examples of groups that they have not seen.

    rounds(label, group, folds, seed) -> [Round(train, test)], masks over the examples

Random folds would call every member nearly perfect: a spam mail is told by the other spam mails. What matters on a
corpus is a source that no label came from. So where a side (good, poor) has several groups, they are put into up to
`folds` bins; each round leaves out a bin and a random share of the other side, and tests on both. A side of one group
is cut into random folds, as is usual; where both are, rounds are plain stratified cross-validation.

Every example is tested as often as there are sides with several groups, at least once: where both have several, once
when its group is new and once when it is known. Pooled figures and calibration are of all tests, as a corpus holds
documents of both kinds. Of new groups on both sides at once, chances would hardly say more than the share of good ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Round:
    """One training without what is tested."""

    train: Mask
    test: Mask


def rounds(label: NDArray[np.int64], group: NDArray[np.int64], folds: int, seed: int) -> list[Round]:
    """All rounds, the good side's first."""
    draw = np.random.default_rng(seed)
    several = [side for side in (1, 0) if len(np.unique(group[label == side])) > 1]
    if not several:
        part = np.empty(len(label), np.int64)
        for side in (1, 0):
            part[label == side] = _random(int(np.sum(label == side)), folds, draw)
        return [Round(part != n, part == n) for n in range(folds)]
    found = []
    for side in several:
        own = label == side
        part = np.empty(len(label), np.int64)
        part[own] = _bins(group[own], folds)
        used = int(part[own].max()) + 1
        part[~own] = _random(int(np.sum(~own)), used, draw)
        found += [Round(part != n, part == n) for n in range(used)]
    return found


def _random(rows: int, parts: int, draw: np.random.Generator) -> NDArray[np.int64]:
    return draw.permutation(rows) % parts


def _bins(group: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The bin of every row: groups from the largest on, each into the bin with the fewest rows so far."""
    names, sizes = np.unique(group, return_counts=True)
    filled = np.zeros(min(len(names), folds), np.int64)
    bin_of = np.empty(len(names), np.int64)
    for place in np.argsort(-sizes, kind="stable"):
        bin_of[place] = np.argmin(filled)
        filled[bin_of[place]] += sizes[place]
    return bin_of[np.searchsorted(names, group)]


def balanced(label: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of the examples, 1 on average: both sides count alike, and in a side a group by the root of its rows."""
    weight = np.empty(len(label))
    for side in np.unique(label):
        own = label == side
        _, which, sizes = np.unique(group[own], return_inverse=True, return_counts=True)
        weight[own] = 1 / np.sqrt(sizes[which])
        weight[own] *= len(label) / 2 / weight[own].sum()
    return weight
