"""Prompt templates for synthetic text (D2), and the phrases by which an LLM refuses.

    load_prompts(("web", "wiki")) -> the templates of these kinds of source, in the order asked for
    load_refusals()               -> Refusals(anywhere, openings)

The HARE paper (arXiv 2406.11410, A.2) gives one template per source with one slot, the seed text; Cosmopedia varies
audience and style as well, since one seed under several templates gives texts that share a topic and little else.
Kind CONTINUATION is for base models, which continue and do not obey: the seed and a lead-in, and no instruction.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from hare_ray.priors import load

SLOT = "{seed}"
"""Where the seed text goes; every template holds it once."""

CONTINUATION = "continuation"
"""Kind of the templates for a base model."""


@dataclass(frozen=True)
class Template:
    """One way to ask for a text."""

    name: str
    kind: str
    """Kind of source that it suits."""
    text: str
    max_seed_words: int
    """Beyond it a seed is cut: a longer one invites to paraphrase."""

    def __post_init__(self) -> None:
        """Refuse a template that does not show the seed once."""
        if self.text.count(SLOT) != 1:
            raise ValueError(
                f"template {self.name!r} holds {SLOT} {self.text.count(SLOT)} times; expected once, where the seed goes"
            )
        if self.max_seed_words < 1:
            raise ValueError(f"template {self.name!r}: given max_seed_words={self.max_seed_words}, expected at least 1")

    def fill(self, seed: str) -> str:
        """The prompt for a seed, whose own braces mean nothing."""
        return self.text.replace(SLOT, seed)


@dataclass(frozen=True)
class Refusals:
    """Phrases of an LLM that refuses or speaks of itself; letter case, punctuation and apostrophes do not matter."""

    anywhere: tuple[str, ...]
    openings: tuple[str, ...]
    """Only where a text begins with them: inside a story they are harmless."""


def parse_prompts(entries: dict[str, list[dict[str, Any]]], kinds: Iterable[str]) -> tuple[Template, ...]:
    """Templates of some kinds; ValueError for a kind there is none of, a name used twice, a missing slot."""
    kinds = tuple(kinds)
    unknown = sorted(set(kinds) - set(entries))
    if unknown or not kinds:
        raise ValueError(f"given kinds {unknown or kinds}, expected some of {sorted(entries)}")
    templates = tuple(Template(kind=kind, **entry) for kind in kinds for entry in entries[kind])
    twice = sorted(name for name, count in Counter(template.name for template in templates).items() if count > 1)
    if twice:
        raise ValueError(f"templates {twice} are there more than once; names go into ids, give each its own")
    return templates


def load_prompts(kinds: Iterable[str]) -> tuple[Template, ...]:
    """The templates of prompts.toml for these kinds of source."""
    text = (files("hare_ray.priors") / "prompts.toml").read_text(encoding="utf-8")
    return parse_prompts(tomllib.loads(text), kinds)


def load_refusals() -> Refusals:
    """The phrases of refusals.txt: one a line, those that count anywhere before those that count as openings."""
    anywhere, openings = (tuple(piece.splitlines()) for piece in load("refusals"))
    return Refusals(anywhere, openings)
