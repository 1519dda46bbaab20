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

_LITERAL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""What stands for signs and repeats nothing: an escaped sign, or a set of them in brackets."""

_POSSESSIVE = re.compile(r"[*+?}]\+")
"""A sign that repeats and a plus: a repetition that never gives back, which nobody wants of a topic's words."""


@dataclass(frozen=True)
class TopicTarget:
    """A share of the corpus for the topics that a pattern finds."""

    pattern: str
    """A regular expression on label and words, or the number of a topic."""
    share: float

    def __post_init__(self) -> None:
        """Refuse what is no pattern and no share, and patterns that mean something else than they seem to."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: given {self.share}, expected 0 to 1, such as 0.1 for a tenth of the corpus")
        try:
            re.compile(self.pattern)
            empty = self.expression.search("")
        except re.error as error:
            raise ValueError(
                f"pattern: given {self.pattern!r}, which is no regular expression ({error}); write plain words "
                "with | between them, or put a backslash before a sign such as ( or +"
            ) from error
        if _POSSESSIVE.search(_LITERAL.sub("x", self.pattern)):
            cure = re.sub(r"(?<!\\)([*+?])\+", r"\\\1\\+", self.pattern)
            raise ValueError(
                f"pattern: given {self.pattern!r}, where the sign before + repeats what stands before it and is not "
                f"searched for itself; write {cure} for the signs as such"
            )
        if empty:
            raise ValueError(
                f"pattern: given {self.pattern!r}, which finds every topic, as it is fulfilled by no words at all; "
                "take out a | at its beginning or end, or a * or ? that makes all of it optional"
            )

    @property
    def expression(self) -> re.Pattern[str]:
        """What is searched for: the pattern at the start of a word, or wherever a sign that is no letter begins it."""
        return re.compile(rf"(?:(?<!\w)|(?=\W))(?:{self.pattern})", re.IGNORECASE)


@dataclass(frozen=True)
class TopicWeights:
    """The prior on topics; topics.yaml explains the fields."""

    cap: float | None
    temperature: float
    targets: tuple[TopicTarget, ...]
    max_epochs: float
    max_cut: float
    min_documents: int

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"cap: given {self.cap}, expected at least 1.0, which makes all topics equal, or null")
        if self.temperature < 1:
            raise ValueError(f"temperature: given {self.temperature}, expected at least 1.0: sizes as found")
        if not 1 <= self.max_epochs <= MOST_EPOCHS:
            raise ValueError(f"max_epochs: given {self.max_epochs}, expected 1.0 (nothing repeated) to {MOST_EPOCHS}")
        if not 0 <= self.max_cut <= 1:
            raise ValueError(f"max_cut: given {self.max_cut}, expected 0 to 1, such as 0.5 for half of the corpus")
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
