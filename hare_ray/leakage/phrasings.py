"""The forms in which a benchmark item may stand in a text, as strings whose folded words are compared.

    question                                    Floats on water?
    question, choices inline                    Floats on water? lead sodium gold
    question, choices with letters or numbers   Floats on water? A. lead B. sodium C. gold;   1. lead 2. sodium 3. gold
    question, answer                            Floats on water? sodium
    question, the word answer, answer           Floats on water? Answer: sodium
    question with its blank filled by a choice  The trophy does not fit because the trophy is too big
    passage; passage, question                  Sodium is a soft metal.;   Sodium is a soft metal. Floats on water?

Folding drops case, punctuation, markup and line breaks, so (a), A. and **A)** are one word, and one listing stands for
all of them. Listings matter for questions too short to be found by themselves; a longer question is found whatever
follows it, so the letters would only make the index larger.
"""

from __future__ import annotations

import re
import string
from typing import NamedTuple

BLANK = re.compile(r"(?<![^\W_])_+(?![^\W_])")
"""Where a choice belongs: underscores that are no part of a name."""

ANSWER = "Answer"

METHODS = NGRAM, SHORT_EXACT, JOINED, UNCHECKED = "ngram", "short_exact", "joined", "unchecked"
"""How an item is searched for; see `hare_ray.leakage.index`."""


class Item(NamedTuple):
    """One row of items.parquet; `context` is the passage that a question is about."""

    benchmark: str
    split: str
    id: str
    question: str
    choices: list[str]
    answer: str | None
    context: str | None = None


def joined(item: Item) -> str:
    """Question and choices, one a line; with the answer where there are no choices."""
    rest = item.choices or ([item.answer] if item.answer else [])
    return "\n".join([item.question, *rest])


def entire(item: Item) -> str:
    """All that an item says."""
    return "\n".join([item.context or "", joined(item)])


def in_context(item: Item) -> list[str]:
    """The forms with the passage."""
    return [item.context, f"{item.context}\n{item.question}"] if item.context else []


def answered(item: Item) -> list[str]:
    """The forms with the answer or with a choice in the blank."""
    forms = []
    if item.answer:
        forms += [f"{item.question}\n{item.answer}", f"{item.question}\n{ANSWER}: {item.answer}"]
    if BLANK.search(item.question):
        forms += [BLANK.sub(lambda _, choice=choice: choice, item.question) for choice in item.choices]
    return forms


def listed(item: Item) -> list[str]:
    """The forms with letters or numbers before the choices."""
    count = len(item.choices)
    numbers = [str(number + 1) for number in range(count)]
    kinds = [string.ascii_uppercase, numbers] if count <= len(string.ascii_uppercase) else [numbers]
    listings = [(f"{sign} {choice}" for sign, choice in zip(signs, item.choices, strict=False)) for signs in kinds]
    return [" ".join([item.question, *listing]) for listing in listings] if count else []
