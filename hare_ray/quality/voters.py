"""The members of the committee: six voices, each with the smallest head that fits it.

    meaning   linear head on the sentence vector       what a text is about, and in what register
    network   one hidden layer on the sentence vector  the same, where no plane separates it
    words     linear head on log counts                which words, and how they are put together; strongly regularised
    ngrams    linear head on shares, as fastText       which words, marks and pairs of them, how often, in what order
    shape     linear head on shares of characters      digits, capitals, punctuation, length of words and sentences
    fluency   linear head on three log ratios          a class n-gram model of good against poor text, in order

Members that read words in order learn from shuffled copies of the good texts as well, a group of poor ones of its own:
word salad has the words of a good text and must not pass for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hare_ray.quality import fluency, heads
from hare_ray.quality.heads import Arrays
from hare_ray.quality.members import Bags, Views
from hare_ray.quality.names import MEMBERS
from hare_ray.quality.rounds import Mask, balanced

INVERSE_REGULARISATION = {"meaning": 0.1, "words": 0.1, "ngrams": 75.0, "shape": 1.0, "fluency": 1.0}
"""C of the logistic regressions. Shares of n-grams are small numbers, so that their C looks large; with a third of it
unseen sources are judged as well, and the vote sees shuffled words less often after few examples."""


@dataclass(frozen=True)
class Seen:
    """What there is of some documents."""

    vectors: NDArray[np.float32]
    views: Views
    frequent: NDArray[np.uint64]


@dataclass(frozen=True)
class Examples:
    """Labelled documents, and shuffled copies of the good ones in `copied`."""

    seen: Seen
    label: NDArray[np.int64]
    group: NDArray[np.int64]
    salad: Views
    copied: NDArray[np.int64]
    seed: int


@dataclass(frozen=True)
class Taught:
    """The examples and after them the shuffled copies; `learn`: those that are learned from."""

    label: NDArray[np.int64]
    group: NDArray[np.int64]
    learn: Mask

    @classmethod
    def of(cls, examples: Examples, rows: Mask) -> Taught:
        """A copy is learned from where its text is."""
        copies = len(examples.copied)
        label = np.concatenate([examples.label, np.zeros(copies, np.int64)])
        group = np.concatenate([examples.group, np.full(copies, examples.group.max() + 1)])
        return cls(label, group, np.concatenate([rows, rows[examples.copied]]))

    @property
    def weight(self) -> NDArray[np.float64]:
        """Of the rows that are learned from."""
        return balanced(self.label[self.learn], self.group[self.learn])


def train(examples: Examples, rows: Mask) -> dict[str, Arrays]:
    """All members, from the examples in `rows`."""
    label, seen = examples.label[rows], examples.seen
    weight = balanced(label, examples.group[rows])
    vectors = seen.vectors[rows]
    taught = Taught.of(examples, rows)
    return {
        "meaning": {"head": heads.linear(vectors, label, weight, INVERSE_REGULARISATION["meaning"])},
        "network": heads.network(vectors, label, weight, examples.seed),
        "words": {"head": _bag(seen.views.words.matrix()[np.flatnonzero(rows)], label, weight, "words")},
        "ngrams": {"head": _ngrams(examples, taught)},
        "shape": heads.scaled(seen.views.shape[rows], label, weight, INVERSE_REGULARISATION["shape"]),
        "fluency": _fluency(examples, taught),
    }


def _ngrams(examples: Examples, taught: Taught) -> NDArray[np.float32]:
    from scipy.sparse import vstack

    both: Any = [one.ngrams.matrix() for one in (examples.seen.views, examples.salad)]
    stacked: Any = vstack(both, format="csr")
    return _bag(stacked[np.flatnonzero(taught.learn)], taught.label[taught.learn], taught.weight, "ngrams")


def _bag(matrix: Any, label: NDArray[np.int64], weight: NDArray[np.float64], member: str) -> NDArray[np.float32]:
    """A head for the n-grams that occur."""
    used = np.unique(matrix.indices)
    head = heads.linear(matrix[:, used], label, weight, INVERSE_REGULARISATION[member])
    whole = np.zeros(matrix.shape[1] + 1, np.float32)
    whole[used] = head[:-1]
    whole[-1] = head[-1]
    return whole


def _fluency(examples: Examples, taught: Taught) -> Arrays:
    sides = fluency.Sides(taught.label, taught.group, taught.learn)
    tokens = fluency.joined(examples.seen.views.tokens, examples.salad.tokens)
    model, found = fluency.cross_fitted(tokens, examples.seen.frequent, sides)
    label = taught.label[taught.learn]
    head = heads.scaled(found[taught.learn], label, taught.weight, INVERSE_REGULARISATION["fluency"])
    return {**head, "tables": model}


def scores(seen: Seen, trained: dict[str, Arrays]) -> NDArray[np.float64]:
    """Log odds of every member, float64[members, rows]."""
    found = {
        "meaning": heads.score(seen.vectors, trained["meaning"]["head"]),
        "network": heads.network_score(seen.vectors, trained["network"]),
        "words": _bag_score(seen.views.words, trained["words"]["head"]),
        "ngrams": _bag_score(seen.views.ngrams, trained["ngrams"]["head"]),
        "shape": heads.scaled_score(seen.views.shape, trained["shape"]),
        "fluency": heads.scaled_score(
            fluency.features(seen.views.tokens, trained["fluency"]["tables"]), trained["fluency"]
        ),
    }
    return np.stack([found[name] for name in MEMBERS])


def _bag_score(bags: Bags, head: NDArray[np.float32]) -> NDArray[np.float64]:
    return bags.scores(head[:-1]) + head[-1]
