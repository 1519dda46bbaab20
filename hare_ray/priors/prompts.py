"""Prompt templates for synthetic text (D2), and the phrases by which an LLM refuses.

    load_prompts(("web", "wiki")) -> the templates of these kinds of source, in the order asked for
    load_refusals()               -> Refusals(anywhere, openings)

The HARE paper (arXiv 2406.11410, A.2) gives one template per source with one slot, the seed text; Cosmopedia varies
audience and style as well, since one seed under several templates gives texts that share a topic and little else.
Kind CONTINUATION is for base models, which continue and do not obey: the seed and a lead-in, and no instruction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hare_ray.priors.reading import check_different, read

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

    def __post_init__(self) -> None:
        """Refuse a phrase that stands twice."""
        check_different([*self.anywhere, *self.openings], "phrases")


@dataclass(frozen=True)
class Prompts:
    """All of prompts.yaml."""

    prompts: tuple[Template, ...]

    def __post_init__(self) -> None:
        """Refuse a name used twice: names go into ids."""
        check_different([template.name for template in self.prompts], "prompts")

    def of(self, kinds: Iterable[str]) -> tuple[Template, ...]:
        """The templates of these kinds, in the order asked for; ValueError for a kind there is none of."""
        kinds, known = tuple(kinds), {template.kind for template in self.prompts}
        unknown = sorted(set(kinds) - known)
        if unknown or not kinds:
            raise ValueError(f"given kinds {unknown or kinds}, expected some of {sorted(known)}")
        return tuple(template for kind in kinds for template in self.prompts if template.kind == kind)


def load_prompts(kinds: Iterable[str]) -> tuple[Template, ...]:
    """The templates of prompts.yaml for these kinds of source; what a base model goes on from ends a paragraph."""
    return tuple(
        replace(template, text=template.text.rstrip() + ("\n\n" if template.kind == CONTINUATION else ""))
        for template in read("prompts", Prompts).of(kinds)
    )


def load_refusals() -> Refusals:
    """The phrases of refusals.yaml."""
    return read("refusals", Refusals)
