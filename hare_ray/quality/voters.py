"""The members of the committee: six voices, each with the smallest head that fits it.

    meaning   linear head on the sentence vector       what a text is about, and in what register
    network   one hidden layer on the sentence vector  the same, where no plane separates it
    words     linear head on words and class n-grams   which words, and how they are put together (as fastText)
    style     linear head on class n-grams             how they are put together, whatever it is about
    shape     linear head on shares                    digits, capitals, punctuation, length of words and sentences
    fluency   linear head on three log ratios          a class n-gram model of good against poor text, in order

Boosted trees on `shape` were measured too: no better on unseen sources (AUC 0.86 against 0.87, one seed).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hare_ray.quality import fluency, heads
from hare_ray.quality.heads import Arrays
from hare_ray.quality.members import BUCKETS, Views
from hare_ray.quality.names import MEMBERS
from hare_ray.quality.rounds import Mask, balanced

INVERSE_REGULARISATION = {"meaning": 0.1, "words": 0.1, "style": 0.1, "shape": 1.0, "fluency": 1.0}
"""C of the logistic regressions. Stronger than is best on sources that were learned from: that is what carries over."""


@dataclass(frozen=True)
class Seen:
    """What there is of some documents."""

    vectors: NDArray[np.float32]
    views: Views
    frequent: NDArray[np.uint64]


@dataclass(frozen=True)
class Examples:
    """Labelled documents. `salad`: tokens of the examples, then of shuffled copies of the good ones in `copied`."""

    seen: Seen
    label: NDArray[np.int64]
    group: NDArray[np.int64]
    salad: fluency.Tokens
    copied: NDArray[np.int64]
    seed: int


def train(examples: Examples, rows: Mask) -> dict[str, Arrays]:
    """All members, from the examples in `rows`."""
    label, seen = examples.label[rows], examples.seen
    weight = balanced(label, examples.group[rows])
    vectors = seen.vectors[rows]
    return {
        "meaning": {"head": heads.linear(vectors, label, weight, INVERSE_REGULARISATION["meaning"])},
        "network": heads.network(vectors, label, weight, examples.seed),
        "words": {"head": _bag(examples, rows, weight, "words")},
        "style": {"head": _bag(examples, rows, weight, "style")},
        "shape": heads.scaled(seen.views.shape[rows], label, weight, INVERSE_REGULARISATION["shape"]),
        "fluency": _fluency(examples, rows),
    }


def _bag(examples: Examples, rows: Mask, weight: NDArray[np.float64], member: str) -> NDArray[np.float32]:
    """A head for the n-grams that occur: in `style` those of classes, in `words` words and several classes in a row."""
    matrix = examples.seen.views.bags.matrix()[np.flatnonzero(rows)]
    used = np.unique(matrix.indices)
    kind = used // BUCKETS  # 0: words; 1, 2, 3: so many classes in a row
    used = used[kind >= 1 if member == "style" else kind != 1]
    head = heads.linear(matrix[:, used], examples.label[rows], weight, INVERSE_REGULARISATION[member])
    whole = np.zeros(matrix.shape[1] + 1, np.float32)
    whole[used] = head[:-1]
    whole[-1] = head[-1]
    return whole


def _fluency(examples: Examples, rows: Mask) -> Arrays:
    """Shuffled copies of good texts are poor ones of a group of their own."""
    copies = len(examples.copied)
    label = np.concatenate([examples.label, np.zeros(copies, np.int64)])
    group = np.concatenate([examples.group, np.full(copies, examples.group.max() + 1)])
    learn = np.concatenate([rows, rows[examples.copied]])
    sides = fluency.Sides(label, group, learn)
    model, found = fluency.cross_fitted(examples.salad, examples.seen.frequent, sides)
    head = heads.scaled(
        found[learn], label[learn], balanced(label[learn], group[learn]), INVERSE_REGULARISATION["fluency"]
    )
    return {**head, "tables": model}


def scores(seen: Seen, trained: dict[str, Arrays]) -> NDArray[np.float64]:
    """Log odds of every member, float64[members, rows]."""
    found = {
        "meaning": heads.score(seen.vectors, trained["meaning"]["head"]),
        "network": heads.network_score(seen.vectors, trained["network"]),
        "words": _bag_score(seen, trained["words"]["head"]),
        "style": _bag_score(seen, trained["style"]["head"]),
        "shape": heads.scaled_score(seen.views.shape, trained["shape"]),
        "fluency": heads.scaled_score(
            fluency.features(seen.views.tokens, trained["fluency"]["tables"]), trained["fluency"]
        ),
    }
    return np.stack([found[name] for name in MEMBERS])


def _bag_score(seen: Seen, head: NDArray[np.float32]) -> NDArray[np.float64]:
    return seen.views.bags.scores(head[:-1]) + head[-1]
