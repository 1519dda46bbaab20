"""The JSON schema of every template: what a server with guided decoding lets the LLM write, and nothing else.

    schema_of(template) -> a JSON schema as text, the same bytes for all rows of a template

An LLM that is only asked for JSON forgets a key, adds one, writes three options or never closes the object. A server
that is given a schema (`response_format`, in vLLM by llguidance) masks every token that would leave it: the keys in the
template's order and no others, exactly four options, labels out of their list. Servers compile a grammar per schema
and keep it under its bytes, so there is one for each template and not one for each row.

`maxLength` is what closes an object: a string that runs away meets its end and not the token limit. It counts
characters, and MAX_ITEM_CHARS in all strings together stay below the 512 tokens of an answer: filled to the limit from
English Wikipedia, the longest item (ordering) has 290 tokens on average and 388 in the worst of 2,000. A text of one
character a token can still be cut off, and has its reason then. A string that is as long as it may be was cut in the
middle, or is too long for an item where no server guided it: both are refused as `over_limit`.

Of escapes in a string llguidance 1.7 allows the short ones and those of control characters, each counted as the one
character that it stands for, and no half of a surrogate pair; between keys and values it allows no blank where vLLM is
told `disable_any_whitespace`. xgrammar, which other servers use, allows no escape where there is a length. So the frame
of tasks.yaml asks for ' inside strings, which needs none.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hare_ray.priors.tasks import TaskTemplate
from hare_ray.synth import task_forms as forms
from hare_ray.synth.task_forms import LETTERS

MAX_ITEM_CHARS = 1_200
"""Of all strings of one item."""

SENTENCE_CHARS = 320
"""Of a sentence: of a thousand English sentences two are longer."""

QUESTION_CHARS = 240

INFERENCE_LABELS = ("true", "false", "unknown")
YES_NO_LABELS = ("yes", "no")


class Text(NamedTuple):
    """A string."""

    chars: int

    @property
    def most(self) -> int:
        """Characters at most."""
        return self.chars

    def schema(self) -> dict[str, Any]:
        """As JSON schema."""
        return {"type": "string", "minLength": 1, "maxLength": self.chars}


class Label(NamedTuple):
    """One of a few strings."""

    names: tuple[str, ...]

    @property
    def most(self) -> int:
        """Characters at most."""
        return max(map(len, self.names))

    def schema(self) -> dict[str, Any]:
        """As JSON schema."""
        return {"type": "string", "enum": list(self.names)}


class Texts(NamedTuple):
    """A list of strings."""

    fewest: int
    many: int
    chars: int

    @property
    def most(self) -> int:
        """Characters at most."""
        return self.many * self.chars

    def schema(self) -> dict[str, Any]:
        """As JSON schema."""
        return {"type": "array", "items": Text(self.chars).schema(), "minItems": self.fewest, "maxItems": self.many}


_SENTENCE = Text(SENTENCE_CHARS)
_QUESTION = Text(QUESTION_CHARS)
_OPTION_CHARS = 120

ITEMS: dict[str, dict[str, Text | Label | Texts]] = {
    forms.QUESTION_ANSWERING: {"question": _QUESTION, "answer": Text(480)},
    forms.MULTIPLE_CHOICE: {
        "question": _QUESTION,
        "options": Texts(len(LETTERS), len(LETTERS), _OPTION_CHARS),
        "answer": Text(_OPTION_CHARS),
    },
    forms.CLOZE: {"sentence": _SENTENCE, "answer": Text(80)},
    forms.SUMMARISATION: {"summary": Text(720)},
    forms.INFERENCE: {"statement": _SENTENCE, "label": Label(INFERENCE_LABELS)},
    forms.PARAPHRASE: {"sentence": _SENTENCE, "paraphrase": Text(400)},
    forms.TITLE: {"title": Text(120)},
    forms.ORDERING: {"sentences": Texts(3, 5, 240)},
    forms.YES_NO: {"question": _QUESTION, "evidence": _SENTENCE, "answer": Label(YES_NO_LABELS)},
    forms.KEYWORDS: {"keywords": Texts(3, 6, 60)},
    forms.CORRECTION: {"right": _SENTENCE, "wrong": _SENTENCE},
}
"""Keys of an item of every task that an LLM can be asked for, and what each holds."""


def check_keys(template: TaskTemplate, whose: str) -> None:
    """Refuse a template that asks for other keys than its task has."""
    known = ITEMS[template.kind]
    if sorted(template.keys) != sorted(known):
        raise ValueError(
            f"{whose}: given the template {template.name!r} of task {template.kind!r} with the keys "
            f"{list(template.keys)}; expected {list(known)}, in any order"
        )


def schema_of(template: TaskTemplate) -> str:
    """The JSON schema of an item, its keys in the template's order."""
    item = ITEMS[template.kind]
    return json.dumps(
        {
            "type": "object",
            "properties": {key: item[key].schema() for key in template.keys},
            "required": list(template.keys),
            "additionalProperties": False,
        },
        separators=(",", ":"),
    )
