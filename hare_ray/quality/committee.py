"""The quality committee: what humans or an LLM call good and poor, learned by members with different views.

    LABELLED, embedding -> <member>_<array>.npy   float32, the trained members (`hare_ray.quality.voters`)
                           frequent.npy           uint64, hashes of the most frequent words
                           report.json            what members and vote are worth; curves of calibration

HARE asks for data of even quality and gives no measure. Ours are priors: texts with labels that a person can read and
change. A label of `good_from` or more is good. How much a member counts follows its record, as in CV-DD (arXiv
2501.07575): weights = softmax(prior performance / temperature) (`hare_ray.voting`). CV-DD measures a model by training
on what it alone distilled; here prior performance is the area under the ROC curve, in percent, on examples of groups
that the member has not seen (`hare_ray.quality.rounds`).

Members' log odds are not comparable: those of some hundred examples are too sure of themselves. So every member is
calibrated on its held-out scores before the vote, and the vote once more (`hare_ray.quality.calibration`). The vote is
over log odds: means of chances let a member that is unsure of everything pull down one that is sure with reason.

Figures in the report are nested (`hare_ray.quality.measuring`): of examples, and where there are several of whole
groups, that neither members nor weights nor curves have seen.

At most `max_examples` are learned from, as even over the groups as they allow, drawn by seed; of each the first page is
held. 50,000 take about 3 GB. Features of more would have to be streamed, and a label more of a group that has
thousands teaches next to nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from hare_ray.quality.names import REPORT
from hare_ray.stage import Make, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk
    from hare_ray.quality.learning import Chosen
    from hare_ray.quality.voters import Examples

SEED_LIMIT = 2**32
MAX_SALAD = 2_000
"""Good texts that are shuffled to show what order is worth; more would not be another lesson."""


class Committee(Make):
    """Trained members, their weights in the vote and the curves that make chances of their scores."""

    labelled: Table
    """LABELLED: text, label, group."""
    embeddings: Table
    """Of the labelled texts, by the same stage class, model and numbers as those of the documents."""
    good_from: float
    """Labels from here on are good: 0.6 is 3 of 5 points."""
    max_examples: int
    temperature: float
    """In percent of AUC: a member that is this much better counts e times as much. CV-DD: 5."""
    seed: int
    folds: int
    """Rounds per side in which members are measured, at most one per group where there are several."""

    code: ClassVar[int] = 3
    imports: ClassVar[tuple[str, ...]] = ("numba", "scipy", "sklearn", "threadpoolctl")

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, and embeddings of other texts."""
        if self.folds < 2:
            raise ValueError(f"{self!r}: given folds={self.folds}, expected at least 2")
        if not 0 < self.good_from <= 1:
            raise ValueError(f"{self!r}: given good_from={self.good_from}, expected more than 0 and at most 1")
        if self.max_examples < 2 * self.folds:
            raise ValueError(f"{self!r}: given max_examples={self.max_examples}, expected at least two per fold")
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 to {SEED_LIMIT - 1}")
        if not self.temperature > 0:
            raise ValueError(f"{self!r}: given temperature={self.temperature}, expected a positive number")
        if self.embeddings.base is not self.labelled.base:
            raise ValueError(
                f"{self!r} joins {self.labelled!r} on base {self.labelled.base!r} with {self.embeddings!r} on base "
                f"{self.embeddings.base!r}; rows join by position: embed the very table of labelled texts"
            )

    def make(self, desk: Desk) -> dict[str, int]:
        """Read the examples, measure the members on what they have not seen, weigh, train on all."""
        from threadpoolctl import threadpool_limits

        from hare_ray.quality.learning import chosen
        from hare_ray.quality.measuring import measured
        from hare_ray.quality.voters import train

        given = chosen(desk, self)
        with threadpool_limits(1):  # sums in another order would be other weights
            examples = _examples(given, self.seed)
            report = measured(examples, self.folds, self.temperature)
            trained = train(examples, np.ones(len(given.label), bool))
        for member, arrays in trained.items():
            for name, array in arrays.items():
                np.save(desk.folder / f"{member}_{name}.npy", array)
        np.save(desk.folder / "frequent.npy", examples.seen.frequent)
        good, poor = int(np.sum(given.label == 1)), int(np.sum(given.label == 0))
        report |= {"examples": {"good": good, "poor": poor}, "groups": given.rows_by_group(), "folds": self.folds}
        (desk.folder / REPORT).write_text(json.dumps(report, indent=1) + "\n")
        return {"good": good, "poor": poor, "not_used": given.not_used}


def _examples(given: Chosen, seed: int) -> Examples:
    """What there is to learn from."""
    from hare_ray.quality import fluency
    from hare_ray.quality.members import views
    from hare_ray.quality.voters import Examples, Seen

    column = pa.chunked_array([pa.array(given.texts, pa.large_string())])
    frequent = fluency.frequent_words(column)
    good = np.flatnonzero(given.label == 1)
    copied = np.sort(np.random.default_rng(seed).permutation(good)[:MAX_SALAD])
    salad = fluency.shuffled([given.texts[row] for row in copied], seed)
    seen = Seen(given.vectors, views(column, frequent), frequent)
    return Examples(seen, given.label, given.group, views(pa.array(salad, pa.large_string()), frequent), copied, seed)
