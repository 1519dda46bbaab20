"""What good and poor texts are: the examples that teach the committee, and the rubric by which an LLM rates.

load_examples()   -> ((text, "good", kind), ..., (text, "poor", kind), ...) of quality_examples.yaml
examples_file()   -> where that file lies, for a Source
load_rubric()     -> the Rubric of rubric.yaml
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from hare_ray.priors.reading import SHOWN, check_different, read

SLOT = "{text}"
"""Where the text to be rated goes; the prompt holds it once."""

CRITERIA = "{criteria}"
"""Where the criteria go."""

FORM = "{form}"
"""Where the form of the answer goes."""

MAX_POINTS = 5
"""The best score: a point for each criterion."""


MAX_WORDS = 20_000
"""Of a text that an LLM is shown: more than the windows of most models hold."""

SIDES = ("good", "poor")

_KIND = re.compile(r"[^\W_]+(_[^\W_]+)*")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")


@dataclass(frozen=True)
class Kind:
    """Texts that are alike; the committee is tested on kinds that it has not seen."""

    kind: str
    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a name that is not in snake case, and a kind without texts."""
        if not _KIND.fullmatch(self.kind) or self.kind != self.kind.lower():
            better = "_".join(re.findall(r"[^\W_]+", self.kind.lower())) or "news_reports"
            raise ValueError(
                f"given kind {self.kind!r}, expected small letters, digits and single underscores: {better!r}"
            )
        if not self.texts:
            raise ValueError(f"given no texts of the kind {self.kind!r}, expected some: add texts, or remove the kind")


@dataclass(frozen=True)
class Examples:
    """All of quality_examples.yaml."""

    good: tuple[Kind, ...]
    poor: tuple[Kind, ...]

    def __post_init__(self) -> None:
        """Refuse a side without texts, a kind that stands twice in a side, and a text that stands twice anywhere."""
        if not self.good or not self.poor:
            raise ValueError(f"given {len(self.good)} good and {len(self.poor)} poor kinds, expected some of both")
        texts: dict[str, list[str]] = {}
        for side, kinds in zip(SIDES, (self.good, self.poor), strict=True):
            check_different((one.kind for one in kinds), f"kinds of {side} texts")
            texts[side] = [text for one in kinds for text in one.texts]
            check_different(texts[side], f"{side} texts")
        if both := set(texts["good"]) & set(texts["poor"]):
            shown = sorted(text[:SHOWN] for text in both)
            raise ValueError(f"given {shown} as good and as poor; a text is either, so keep one of each")

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """Text, "good" or "poor", and kind: the good ones first."""
        for side, kinds in zip(SIDES, (self.good, self.poor), strict=True):
            yield from ((text, side, one.kind) for one in kinds for text in one.texts)


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
        told = _NUMBER.findall(self.form)
        if set(told) != {"0", f"{MAX_POINTS}"}:
            raise ValueError(
                f"form: given the numbers {', '.join(told) or 'none'}, expected 0 and {MAX_POINTS} and no other: "
                f"say 'from 0 to {MAX_POINTS}', for other scores are not understood"
            )
        if not 1 <= self.max_words <= MAX_WORDS:
            raise ValueError(f"given max_words={self.max_words}, expected 1 to {MAX_WORDS}")

    @property
    def instruction(self) -> str:
        """The prompt with criteria and form in it, and the slot for the text."""
        told = "\n".join(f"- {one.point.strip()} ({one.not_so.strip()})" for one in self.criteria)
        return self.prompt.strip().replace(CRITERIA, told).replace(FORM, self.form.strip())

    def fill(self, text: str) -> str:
        """The prompt for a text, whose own braces mean nothing."""
        before, _, after = self.instruction.partition(SLOT)
        return f"{before}{text}{after}"


def load_examples() -> tuple[tuple[str, str, str], ...]:
    """Text, "good" or "poor", and kind: the good ones first."""
    return tuple(read("quality_examples", Examples))


def examples_file() -> str:
    """The path of the package's own examples."""
    return str(files("hare_ray.priors") / "quality_examples.yaml")


def load_rubric() -> Rubric:
    """The rubric that ships."""
    return read("rubric", Rubric)
