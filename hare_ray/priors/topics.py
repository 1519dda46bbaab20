"""How much of the corpus each topic may be, as topics.yaml says it.

    load_topics() -> TopicWeights

It reaches `Balance` as a value; what no share, number or pattern can be is refused here, with the line of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hare_ray.priors.reading import read

MOST_EPOCHS = 100.0
"""Of a document in one epoch of the corpus: whoever wants more means something else."""

ROUNDING = 1e-9
"""Of shares that are added up."""


@dataclass(frozen=True)
class TopicTarget:
    """A share of the corpus for the topics that a pattern finds."""

    pattern: str
    """A regular expression on label and words, or the number of a topic."""
    share: float

    def __post_init__(self) -> None:
        """Refuse what is no pattern and no share."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: given {self.share}, expected 0 to 1, such as 0.1 for a tenth of the corpus")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(
                f"pattern: given {self.pattern!r}, which is no regular expression ({error}); write plain words "
                "with | between them, or put a backslash before a sign such as ( or +"
            ) from error


@dataclass(frozen=True)
class TopicWeights:
    """The prior on topics; topics.yaml explains the fields."""

    cap: float | None
    temperature: float
    targets: tuple[TopicTarget, ...]
    max_epochs: float
    min_documents: int

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"cap: given {self.cap}, expected at least 1.0, which makes all topics equal, or null")
        if self.temperature < 1:
            raise ValueError(f"temperature: given {self.temperature}, expected at least 1.0: sizes as found")
        if not 1 <= self.max_epochs <= MOST_EPOCHS:
            raise ValueError(f"max_epochs: given {self.max_epochs}, expected 1.0 (nothing repeated) to {MOST_EPOCHS}")
        if self.min_documents < 0:
            raise ValueError(f"min_documents: given {self.min_documents}, expected 0 or more")
        if (whole := sum(target.share for target in self.targets)) > 1 + ROUNDING:
            raise ValueError(f"targets: given shares that add up to {whole:g}, expected at most 1; make some smaller")
        patterns = [target.pattern for target in self.targets]
        if twice := sorted({one for one in patterns if patterns.count(one) > 1}):
            raise ValueError(f"targets: given {twice[0]!r} twice, expected each pattern once; add up their shares")


def load_topics() -> TopicWeights:
    """The prior of topics.yaml."""
    return read("topics", TopicWeights)
