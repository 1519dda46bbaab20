"""What humans decided, as text that a domain expert can edit: example texts and the weights of sources.

    load("quality_good") -> the texts of quality_good.txt, which are separated by lines of three dashes
    load_sources()       -> the mixture of the HARE paper (arXiv 2406.11410, Table 3, A.2 and A.3), in percent

They reach stages as values in fields, so an edit here is another recipe and what it touches is made again.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files

SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class SourceWeight:
    """One source of the paper's mixture, and where it or something like it can be had."""

    name: str
    weight_percent: float
    location: str
    """An id on the Hugging Face hub; empty where status is 'unavailable'."""
    status: str
    """'available': this very source; 'substitute': the nearest open one; 'unavailable': none is named."""
    part: str
    """'D1' (open data), 'D2' (synthetic text) or 'D3' (tasks in natural language)."""


def load(name: str) -> tuple[str, ...]:
    """The texts of a file of priors, in order."""
    text = (files(__name__) / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(piece for part in SEPARATOR.split(text) if (piece := part.strip()))


def load_sources() -> tuple[SourceWeight, ...]:
    """All sources of the mixture, in the order of the paper."""
    parts = tomllib.loads((files(__name__) / "sources.toml").read_text(encoding="utf-8"))
    return tuple(SourceWeight(**entry, part=part) for part, entries in parts.items() for entry in entries)


def shares() -> tuple[float, float, float]:
    """The weights of D1, D2 and D3 in percent: 46.5, 13.63 and 39.87."""
    parts = {part: [s.weight_percent for s in load_sources() if s.part == part] for part in ("D1", "D2", "D3")}
    return round(sum(parts["D1"]), 2), round(sum(parts["D2"]), 2), round(sum(parts["D3"]), 2)
