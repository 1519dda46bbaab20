"""How much each topic gives to the corpus, as a person wants it: which documents go, and how often the others are read.

    cluster, quality, id, labels.json -> reason    'over_topic_share', or null: kept, or dropped by an earlier verdict
                                         weight    float32   times a document is read in one epoch of the corpus:
                                                   1 once, more in topics that are to weigh more than they have
                                                   documents, 0 for what is dropped, here or before

The prior (`hare_ray.priors.topics`) knows a cap, a temperature, and shares for topics by pattern or number;
`hare_ray.cluster.weights` makes documents of it. Only the size of every topic is needed for that. A topic that is too
large keeps its best documents, found by `hare_ray.best`; where there are no scores, a draw by the hash of the id.

A pattern is searched in the words that LabelClusters gave a topic, and in its title where it has one. One that finds
nothing is an error: a share for a topic that is not there would go to all others unnoticed. One whose topics have no
document left is counted in the books, which also say of every target i what it found and got:

    target_i_topics             topics with documents that are its own
    target_i_wanted, _reached   share of what is read in an epoch, in ten thousandths
"""

from __future__ import annotations

import difflib
import heapq
import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.best import Documents, Limits, best, check_tables, counted
from hare_ray.cluster.label import LABELS
from hare_ray.cluster.weights import Plan, planned
from hare_ray.priors.topics import TopicTarget, TopicWeights
from hare_ray.schema import REASON
from hare_ray.stage import Gather, Make, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

OVER_TOPIC_SHARE = "over_topic_share"

SHARES = 10_000
"""Parts of the corpus that the books count in: they hold whole numbers."""

NAMED = 5
"""Labels that a message offers instead of a pattern that finds none."""


class Balance(Gather):
    """Topics in the proportions of a prior."""

    docs: Table
    """For the ids."""
    clusters: Table
    """An Assign."""
    scores: Table | None
    """A Score: the worst of a topic go first. None: any."""
    labels: Make | None
    """A LabelClusters, for patterns; None where targets are numbers of topics or none."""
    without: tuple[Table, ...] = ()
    """Verdicts: what they drop is not counted."""
    prior: TopicWeights

    code: ClassVar[int] = 2
    writes: ClassVar[pa.Schema] = pa.schema([REASON, pa.field("weight", pa.float32(), nullable=False)])

    def __post_init__(self) -> None:
        """Refuse tables that do not belong together, and patterns without anything to search in."""
        check_tables(self, self.docs, (self.clusters, self.scores), self.without)
        patterns = [target.pattern for target in self.prior.targets if not target.pattern.isdecimal()]
        if patterns and self.labels is None:
            raise ValueError(
                f"{self!r}: given the pattern {patterns[0]!r} and no labels, expected labels: a LabelClusters, "
                "or targets that are numbers of topics"
            )

    def gather(self, desk: Desk) -> dict[str, int]:
        """Count the topics, plan, find the best of those that are too large, write verdicts part by part."""
        parts = desk.parts(self.docs)
        rows = Documents(desk, self.docs, self.clusters, self.scores, self.without)
        sizes = counted(desk.map, rows, parts)
        labels = json.loads(desk.read_file(self.labels, LABELS)) if self.labels is not None else []
        group = np.zeros(0, np.int64)
        if sizes.any():
            numbers = self._numbers(desk, labels)
            group = targeted(self.prior.targets, labels, len(sizes), numbers)
        plan = planned(sizes, group, self.prior)
        if sizes.any() and not plan.kept.any():
            raise ValueError(
                f"{self!r}: given targets that leave no document: what has a share has none left; expected shares that "
                "add up to less than 1, or a pattern that finds more"
            )
        limits = best(desk.map, rows, parts, plan.kept, sizes)
        done = desk.done()
        desk.map(partial(_write, desk, rows, limits, plan), [part for part in range(parts) if part not in done])
        return {
            "topics": int(np.count_nonzero(sizes)),
            "topics_cut": int((plan.kept < sizes).sum()),
            "topics_repeated": int((plan.weight > 1).sum()),
            "documents_per_epoch": int(np.rint(plan.kept @ plan.weight)),
            **_met(self.prior.targets, group, sizes, plan),
        }

    def _numbers(self, desk: Desk, labels: list[dict[str, Any]]) -> int:
        """How many topics there are, with or without documents that are left."""
        if labels or not self.prior.targets:
            return 1 + max((label["cluster"] for label in labels), default=-1)
        parts = list(range(desk.parts(self.clusters)))
        return 1 + max(desk.map(partial(_last, desk, self.clusters), parts), default=-1)


def _last(desk: Desk, clusters: Table, part: int) -> int:
    """The largest number of a topic in a part."""
    number = pc.max(desk.read(clusters, part, ["cluster"])["cluster"]).as_py()
    return -1 if number is None else number


def _met(
    targets: tuple[TopicTarget, ...], group: NDArray[np.int64], sizes: NDArray[np.int64], plan: Plan
) -> dict[str, int]:
    """What every target found and got, for the books."""
    topics = np.bincount(group[sizes > 0], minlength=len(targets) + 1)
    read = np.bincount(group, plan.kept * plan.weight, len(targets) + 1)
    books = {"targets_without_documents": int((topics[:-1] == 0).sum())}
    for number, target in enumerate(targets):
        books[f"target_{number}_topics"] = int(topics[number])
        books[f"target_{number}_wanted"] = round(target.share * SHARES)
        books[f"target_{number}_reached"] = round(float(read[number] / (read.sum() or 1)) * SHARES)
    return books


def _write(desk: Desk, rows: Documents, limits: Limits, plan: Plan, part: int) -> None:
    found = rows(part)
    kept = limits.admit(found)
    places = np.where((found.group >= 0) & ~kept, 0, 1)
    weight = np.zeros(len(kept), np.float32)
    weight[kept] = plan.weight[found.group[kept]]
    reason = pa.array([OVER_TOPIC_SHARE, None]).take(pa.array(places))
    desk.write(part, pa.table([reason, pa.array(weight)], schema=Balance.writes))


def targeted(
    targets: tuple[TopicTarget, ...], labels: list[dict[str, Any]], topics: int, numbers: int
) -> NDArray[np.int64]:
    """The number of the target that each topic belongs to, the first that finds it; of targets: none.

    The first `topics` of them may have documents left; without labels, they are the numbers below `numbers`.
    """
    texts = {label["cluster"]: "\n".join((label["label"], *label["words"], label.get("title", ""))) for label in labels}
    group = np.full(topics, len(targets), np.int64)
    for number in reversed(range(len(targets))):
        pattern, expression = targets[number].pattern, targets[number].expression
        if pattern.isdecimal():
            found = [int(pattern)] if int(pattern) in (texts or range(numbers)) else []
        else:
            found = [topic for topic, text in texts.items() if expression.search(text)]
        if not found:
            known = f"labels are {_nearest(pattern, labels)}" if labels else f"topics are 0 to {numbers - 1}"
            raise ValueError(
                f"targets: given the pattern {pattern!r}, which finds no topic, expected one that finds some where a "
                f"word begins; {known}; mend the pattern or take its target out"
            )
        here = np.array(found, np.int64)
        group[here[here < topics]] = number
    return group


def _nearest(pattern: str, labels: list[dict[str, Any]]) -> str:
    """Numbers and labels of the topics whose words are spelled most like those of a pattern."""
    words = re.findall(r"[^\W\d_]+", pattern.lower())

    def likeness(label: dict[str, Any]) -> float:
        names = [label["label"].lower(), *label["words"]]
        return max((difflib.SequenceMatcher(None, one, other).ratio() for one in words for other in names), default=0)

    near = heapq.nlargest(NAMED, labels, key=likeness)
    return ", ".join(f"{label['cluster']} ({label['label']})" for label in near) or "none at all"
