"""What the text of an item is held against: its seed text, and the examples that the LLM was shown.

`Asked` refuses by raising `Refusal` with one of the reasons of `hare_ray.synth.task_answers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from hare_ray.priors.tasks import TaskTemplate
from hare_ray.synth.task_grounding import Source, grams, overlap, plain, words

NO_ANSWER = "no_answer"
TOO_LARGE = "too_large"
NOT_JSON = "not_json"
MISSING_KEY = "missing_key"
OVER_LIMIT = "over_limit"
WRONG_OPTIONS = "wrong_options"
AMBIGUOUS_OPTIONS = "ambiguous_options"
WRONG_SENTENCES = "wrong_sentences"
WRONG_KEYWORDS = "wrong_keywords"
ANSWER_NOT_IN_OPTIONS = "answer_not_in_options"
BLANK_MISSING = "blank_missing"
NOT_GROUNDED = "not_grounded"
COPIED = "copied"
NOT_SHORTER = "not_shorter"
COPIES_EXAMPLE = "copies_example"

EXAMPLE_WORDS = 3
"""Words of a text from which on it is an example's if it is equal; labels and bare answers may be equal by chance."""


class Refusal(ValueError):  # noqa: N818
    """An answer that makes no item."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Asked:
    """What an answer is checked against."""

    seed_text: str
    min_grounded: float
    max_copied: float
    max_example_overlap: float
    seed: int
    key: bytes

    @cached_property
    def source(self) -> Source:
        """The seed text."""
        return Source(self.seed_text)

    def grounded(self, text: str) -> None:
        """Refuse a text with too few words of the seed's, or with a number or a name that the seed has not."""
        share = self.source.share(text)
        if share < self.min_grounded:
            raise Refusal(NOT_GROUNDED, f"{share:.2f} of its words are in the seed")
        self.known(text)

    def known(self, text: str) -> None:
        """Refuse a text with a number or a name that the seed has not."""
        strangers = self.source.strangers(text)
        if strangers:
            raise Refusal(NOT_GROUNDED, f"not in the seed: {', '.join(strangers)}"[:200])

    def own_words(self, text: str, source: Source | None = None) -> None:
        """Refuse a text that another (the seed text) has word for word, or too much of."""
        source = source or self.source
        share = 1.0 if source.holds(text) else overlap(text, source.grams)
        if share > self.max_copied:
            raise Refusal(COPIED, f"{share:.2f} of it")

    def not_an_example(self, template: TaskTemplate, found: dict[str, Any]) -> None:
        """Refuse an item that one of the template's examples is, or whose words are theirs and not the seed's."""
        texts, shown = _shown(template.examples)
        own = {text for key in template.keys for text in texts_in(found[key])}
        same = {text for text in map(plain, own) if text in texts and not self.source.holds(text)}
        if same:
            raise Refusal(COPIES_EXAMPLE, f"{min(same)!r:.80}")
        own_grams = set().union(*map(grams, own))
        if own_grams.isdisjoint(shown):
            return
        used = own_grams - self.source.grams
        share = len(used & shown) / max(len(used), 1)
        if share > self.max_example_overlap:
            raise Refusal(COPIES_EXAMPLE, f"{share:.2f} of its words in a row")


@lru_cache(maxsize=256)
def _shown(examples: tuple[str, ...]) -> tuple[frozenset[str], set[tuple[str, ...]]]:
    """What examples say: their texts of some length, for comparing, and the word n-grams of all."""
    texts = {text for example in examples for value in json.loads(example).values() for text in texts_in(value)}
    whole = frozenset(plain(text) for text in texts if len(words(text)) >= EXAMPLE_WORDS)
    return whole, set().union(*map(grams, texts))


def texts_in(value: object) -> Iterable[str]:
    """The strings of a value of an item."""
    if isinstance(value, dict):
        value = list(value.values())
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
