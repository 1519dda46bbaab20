"""How different synthetic texts are, out of the diversity.json of the stages of class Diversity.

What a corpus reports is what was measured over any of its bases, as prompts or as texts. A measure that a file does
not have, or that has no value for too few rows, is left out of its line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hare_ray.report.lineage import Branch
from hare_ray.report.reading import Run

FILE = "diversity.json"

LOWER, HIGHER = "lower is more diverse", "higher is more diverse"

MEASURES = (
    ("self_bleu_4", "self-BLEU-4", LOWER),
    ("overlap_4", "4-grams that another drawn at random has", LOWER),
    ("distinct_1", "distinct words", HIGHER),
    ("distinct_2", "distinct 2-grams", HIGHER),
    ("distinct_4", "distinct 4-grams", HIGHER),
    ("compression_ratio", "compression, bytes before / after", LOWER),
    ("repeated_openings", "share with another's first five words", LOWER),
    ("nearest_mean", "cosine to the nearest other, mean", LOWER),
    ("nearest_p95", "cosine to the nearest other, 95th percentile", LOWER),
    ("mean_pairwise", "cosine of any two, mean", LOWER),
    ("vendi", "effective number of different texts (Vendi)", HIGHER),
)
"""Key, words, and what is good."""

SIDES = ("prompts", "seeds", "texts")

SHORT = ("self_bleu_4", "distinct_2", "repeated_openings", "nearest_mean")
"""Measures told for each template."""


@dataclass(frozen=True)
class Measure:
    """One line: a value for each side that was measured."""

    name: str
    good: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Diverse:
    """What one file says."""

    stage: str
    sides: tuple[str, ...]
    rows: tuple[int, ...]
    """Measured of each side."""
    lines: tuple[Measure, ...]
    by_template: str
    """The side that is told by template: the texts where there are any."""
    columns: tuple[str, ...]
    templates: tuple[tuple[str, int, tuple[float | None, ...]], ...]
    """Name, rows, values of the columns."""
    sentence: str


def diversity(run: Run, branch: Branch) -> list[Diverse]:
    """All that was measured over the bases of a branch."""
    bases = {base for track in branch.tracks for base in track.bases}
    found = []
    for name in run.of_class("Diversity"):
        told = run.json(name, FILE)
        inputs = run.known[name]["inputs"]
        if told is not None and bases & {*inputs.get("prompts", ()), *inputs.get("texts", ())}:
            found.append(_diverse(name, told))
    return found


def _diverse(stage: str, told: dict[str, Any]) -> Diverse:
    sides = tuple(side for side in SIDES if told.get(side))
    lines = (Measure(words, good, tuple(_value(told[side], key) for side in sides)) for key, words, good in MEASURES)
    last = "texts" if "texts" in sides else "prompts"
    inner: dict[str, Any] = (told.get(last) or {}).get("templates", {})
    short = tuple(key for key in SHORT if any(_value(one, key) is not None for one in inner.values()))
    names = {key: words for key, words, _ in MEASURES}
    return Diverse(
        stage=stage,
        sides=sides,
        rows=tuple(told[side]["rows"] for side in sides),
        lines=tuple(line for line in lines if any(value is not None for value in line.values)),
        by_template=last,
        columns=tuple(names[key] for key in short),
        templates=tuple((name, one["rows"], tuple(_value(one, key) for key in short)) for name, one in inner.items()),
        sentence=_combinations(told.get("combinations") or {}),
    )


def _value(side: dict[str, Any], key: str) -> float | None:
    return side.get(key, (side.get("similarity") or {}).get(key))


def _combinations(told: dict[str, Any]) -> str:
    """How many combinations came, and how evenly."""
    if not told.get("reached"):
        return ""
    axes = [f"{told[axis]:,} {axis}" for axis in ("templates", "audiences", "styles") if told.get(axis)]
    evenness = {name: value for name, value in (told.get("evenness") or {}).items() if value is not None}
    even = ", ".join(f"{name} {value:.2f}" for name, value in evenness.items())
    tail = f" Evenness (1: each came equally often): {even}." if even else ""
    asked = f"{told['prompts']:,} prompts from {told.get('topics') or 0:,} topics"
    return f"{asked} reached {told['reached']:,} combinations of {', '.join(axes)}.{tail}"
