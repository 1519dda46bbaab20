"""What good and poor texts are: the examples that teach the committee, and the rubric by which an LLM rates.

load_examples()   -> ((text, "good"), ..., (text, "poor"), ...) of quality_examples.yaml
examples_file()   -> where that file lies, for a Source
load_rubric()     -> the Rubric of rubric.yaml
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

from hare_ray.priors.reading import check_different, read

SLOT = "{text}"
"""Where the text to be rated goes; the prompt holds it once."""

CRITERIA = "{criteria}"
"""Where the criteria go."""

FORM = "{form}"
"""Where the form of the answer goes."""

MAX_POINTS = 5
"""The best score: a point for each criterion."""


@dataclass(frozen=True)
class Examples:
    """All of quality_examples.yaml."""

    good: tuple[str, ...]
    poor: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a side without texts, and a text that stands twice."""
        if not self.good or not self.poor:
            raise ValueError(f"given {len(self.good)} good and {len(self.poor)} poor texts, expected some of both")
        check_different([*self.good, *self.poor], "texts")


@dataclass(frozen=True)
class Criterion:
    """What a text gets a point for."""

    point: str
    not_so: str
    """Texts that do not get it."""


@dataclass(frozen=True)
class Rubric:
    """How an LLM rates texts: one point for each criterion that is met."""

    criteria: tuple[Criterion, ...]
    prompt: str
    """With the slots {criteria}, {text} and {form}, each once."""
    form: str
    """What the last line of an answer looks like."""
    max_words: int
    """Words of a text that are shown."""

    def __post_init__(self) -> None:
        """Refuse a prompt that does not show everything once, and a scale that is not 0 to 5."""
        if len(self.criteria) != MAX_POINTS:
            raise ValueError(
                f"given {len(self.criteria)} criteria, expected {MAX_POINTS}: a score is 0 to {MAX_POINTS}"
            )
        for slot in (SLOT, CRITERIA, FORM):
            if self.prompt.count(slot) != 1:
                raise ValueError(f"prompt: given {slot} {self.prompt.count(slot)} times, expected it once")
        if not re.search(r"[Ss]core: *n", self.form):
            raise ValueError(f"form: given {self.form!r}, expected words that hold 'Score: n'")
        if self.max_words < 1:
            raise ValueError(f"given max_words={self.max_words}, expected at least 1")

    @property
    def instruction(self) -> str:
        """The prompt with criteria and form in it, and the slot for the text."""
        told = "\n".join(f"- {one.point.strip()} ({one.not_so.strip()})" for one in self.criteria)
        return self.prompt.strip().replace(CRITERIA, told).replace(FORM, self.form.strip())

    def fill(self, text: str) -> str:
        """The prompt for a text, whose own braces mean nothing."""
        before, _, after = self.instruction.partition(SLOT)
        return f"{before}{text}{after}"


def load_examples() -> tuple[tuple[str, str], ...]:
    """Text and "good" or "poor", the good ones first."""
    examples = read("quality_examples", Examples)
    return (*((text, "good") for text in examples.good), *((text, "poor") for text in examples.poor))


def examples_file() -> str:
    """The path of the package's own examples."""
    return str(files("hare_ray.priors") / "quality_examples.yaml")


def load_rubric() -> Rubric:
    """The rubric that ships."""
    return read("rubric", Rubric)
