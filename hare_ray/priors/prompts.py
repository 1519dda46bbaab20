"""What an LLM is asked for to write synthetic texts (D2), and the phrases by which its answers are refused.

    load_prompts(("web", "wiki")) -> Prompts: kinds of source, and their templates, audiences and styles
    load_refusals()               -> Refusals(anywhere, openings, boilerplate)

The HARE paper (arXiv 2406.11410, A.2) gives one template per source with one slot, the seed text; Cosmopedia varies
audience and style as well, since one seed under several of them gives texts that share a topic and little else. Here a
prompt is a point in kind x template x audience x style: a template says what to do with the seed, the audience how much
is known and how long it gets, the style which form it has, so that every combination makes sense together. An audience
or style that fits some kinds only names them: a courtroom is for law.

Kind CONTINUATION is for base models, which continue and do not obey: the seed and a lead-in, and no instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.priors.reading import check_different, read

SEED, AUDIENCE, STYLE, WORDS = SLOTS = ("{seed}", "{audience}", "{style}", "{words}")
"""What a template leaves open: the seed text, who reads, in which form, and how many words it gets."""

CONTINUATION = "continuation"
"""Kind of the templates for a base model."""

SOURCES = ("web", "wiki", "forum", "academic", "story", "law", "code", "math")
"""Kinds of the paper's eight sources of seeds (Table 4)."""

NAME = re.compile("[a-z][a-z0-9_]*")
"""Names go into ids and, behind a '#', into URLs."""

_SLOT = re.compile("|".join(re.escape(slot) for slot in SLOTS))


def check_name(name: str) -> None:
    """Refuse what cannot stand in a URL behind '#', or be told from the name next to it."""
    if not NAME.fullmatch(name):
        raise ValueError(f"name: given {name!r}, expected small letters, digits and _, such as web_how_to")


@dataclass(frozen=True)
class Kind:
    """A kind of source, and how its documents are known."""

    name: str
    billion_tokens: float | None = None
    """What the paper had written from seeds of this kind (Table 4); None: it has no such kind."""
    patterns: tuple[str, ...] = ()
    """Regular expressions (RE2) over the URL and the file's name; letter case does not matter."""

    def __post_init__(self) -> None:
        """Refuse what is no regular expression."""
        check_name(self.name)
        for pattern in self.patterns:
            try:
                pc.match_substring_regex(pa.array([""]), pattern)
            except pa.ArrowInvalid as error:
                raise ValueError(
                    f"patterns: given {pattern!r}, expected a regular expression (RE2) such as arxiv\\.org: {error}"
                ) from error


@dataclass(frozen=True)
class Audience:
    """Who reads."""

    name: str
    text: str
    """The sentence that goes into the prompt."""
    words: int
    """Asked for; a model counts roughly."""
    kinds: tuple[str, ...] = ()
    """That it suits; empty: all."""

    def __post_init__(self) -> None:
        """Refuse an audience that reads nothing."""
        check_name(self.name)
        if self.words < 1:
            raise ValueError(f"{self.name}: given words={self.words}, expected at least 1")


@dataclass(frozen=True)
class Style:
    """Which form the text has."""

    name: str
    text: str
    """The sentence that goes into the prompt."""
    kinds: tuple[str, ...] = ()
    """That it suits; empty: all."""

    def __post_init__(self) -> None:
        """Refuse a name that cannot stand in a URL."""
        check_name(self.name)


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
        """Refuse a template that does not show the seed, its readers and its form once; a base model has the seed."""
        check_name(self.name)
        asked = self.kind != CONTINUATION
        for slot, expected in ((SEED, (1,)), (AUDIENCE, (asked,)), (STYLE, (asked,)), (WORDS, (0, int(asked)))):
            if self.text.count(slot) not in expected:
                raise ValueError(
                    f"template {self.name!r} holds {slot} {self.text.count(slot)} times; expected "
                    f"{'it once' if expected[-1] else 'none in a template of the kind ' + CONTINUATION}"
                )
        if self.max_seed_words < 1:
            raise ValueError(f"template {self.name!r}: given max_seed_words={self.max_seed_words}, expected at least 1")

    def fill(self, seed: str, audience: Audience | None, style: Style | None) -> str:
        """The prompt for a seed, whose own braces mean nothing."""
        given = {SEED: seed}
        if audience and style:
            given |= {AUDIENCE: audience.text, STYLE: style.text, WORDS: f"{audience.words:,}"}
        return _SLOT.sub(lambda slot: given.get(slot[0], slot[0]), self.text)


@dataclass(frozen=True)
class Prompts:
    """All of prompts.yaml, or the part of it that is about some kinds."""

    kinds: tuple[Kind, ...]
    """A document is of the first that has a pattern for it, otherwise of the last."""
    audiences: tuple[Audience, ...]
    styles: tuple[Style, ...]
    prompts: tuple[Template, ...]

    def __post_init__(self) -> None:
        """Refuse names used twice, since they go into ids; kinds that are not there, and those without prompts."""
        for what in ("kinds", "audiences", "styles", "prompts"):
            check_different([one.name for one in getattr(self, what)], what)
        known = [kind.name for kind in self.kinds]
        named = {
            "audiences": {kind for one in self.audiences for kind in one.kinds},
            "styles": {kind for one in self.styles for kind in one.kinds},
            "prompts": {one.kind for one in self.prompts},
        }
        for what, kinds in named.items():
            if kinds - set(known):
                raise ValueError(f"{what}: given kinds {sorted(kinds - set(known))}, expected some of {sorted(known)}")
        for kind in known:
            missing = [what for what, some in zip(named, self.variants(kind), strict=True) if not some]
            if "prompts" in missing or (missing and kind != CONTINUATION):
                raise ValueError(f"{missing[0]}: given none for the kind {kind!r}, expected at least one")

    def variants(self, kind: str) -> tuple[tuple[Audience, ...], tuple[Style, ...], tuple[Template, ...]]:
        """What seeds of this kind take their turn through; continuations have neither audience nor style."""
        asked = kind != CONTINUATION
        return (
            tuple(one for one in self.audiences if asked and kind in (one.kinds or (kind,))),
            tuple(one for one in self.styles if asked and kind in (one.kinds or (kind,))),
            tuple(one for one in self.prompts if one.kind == kind),
        )

    def of(self, kinds: Iterable[str]) -> Prompts:
        """What is about these kinds, which keep the order of the file; ValueError for a kind there is none of."""
        chosen, known = frozenset(kinds), {kind.name for kind in self.kinds}
        if chosen - known or not chosen:
            raise ValueError(f"given kinds {sorted(chosen - known) or 'none'}, expected some of {sorted(known)}")
        if CONTINUATION in chosen and len(chosen) > 1:
            raise ValueError(f"given kinds {sorted(chosen)}, expected {CONTINUATION!r} alone: it is for base models")
        instructed = CONTINUATION not in chosen
        return Prompts(
            kinds=tuple(kind for kind in self.kinds if kind.name in chosen),
            audiences=_about(self.audiences, chosen) if instructed else (),
            styles=_about(self.styles, chosen) if instructed else (),
            prompts=tuple(template for template in self.prompts if template.kind in chosen),
        )


Axis = TypeVar("Axis", Audience, Style)


def _about(axis: tuple[Axis, ...], kinds: frozenset[str]) -> tuple[Axis, ...]:
    """Those that suit any of these kinds, and of the kinds they name these alone."""
    return tuple(
        replace(one, kinds=tuple(kind for kind in one.kinds if kind in kinds))
        for one in axis
        if not one.kinds or kinds & set(one.kinds)
    )


@dataclass(frozen=True)
class Refusals:
    """Phrases of an LLM that refuses, speaks of itself or fills space; letter case and punctuation do not matter."""

    anywhere: tuple[str, ...]
    openings: tuple[str, ...]
    """Only where a text begins with them: inside a story they are harmless."""
    boilerplate: tuple[str, ...] = ()
    """Set phrases about the text itself, or of any text: no refusals, and nobody's prose either."""

    def __post_init__(self) -> None:
        """Refuse a phrase that stands twice."""
        check_different([*self.anywhere, *self.openings, *self.boilerplate], "phrases")


def load_prompts(kinds: Iterable[str]) -> Prompts:
    """What prompts.yaml has for these kinds of source; what a base model goes on from ends a paragraph."""
    found = read("prompts", Prompts).of(kinds)
    ends = {True: "\n\n", False: ""}
    ended = (replace(one, text=one.text.rstrip() + ends[one.kind == CONTINUATION]) for one in found.prompts)
    return replace(found, prompts=tuple(ended))


def load_refusals() -> Refusals:
    """The phrases of refusals.yaml."""
    return read("refusals", Refusals)
