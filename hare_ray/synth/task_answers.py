"""What an LLM answered, as the slots of a form, or the reason why not.

    slots_from(template, answer, asked) -> slots; raises Refusal

Lenient in form: the first JSON object anywhere in the answer that has the keys counts, with prose, a list, another
object or a code fence around it, line breaks inside strings, numbers for strings, options with or without letters, an
answer that is a letter, an option or both. Strict in content, because a wrong item teaches a wrong thing:

    reason                 the item
    no_answer              none came, or nothing but white space
    too_large              longer than any item may be
    not_json               no complete JSON object in it: cut off, single quotes, trailing commas, a key twice
    missing_key            a key is not there, empty, or of the wrong kind
    over_limit             a string as long as the schema allows: cut off by it, or too long for an item
    wrong_options          not four options, or not four different ones
    ambiguous_options      an option holds another, or is all or none or both of others
    wrong_sentences        not three to six different sentences to put in order
    wrong_keywords         not three different keywords at least
    answer_not_in_options  the answer is none of the options, or the label none of the labels
    blank_missing          not one blank in the sentence
    not_grounded           too few of its content words occur in the seed text, or a number or a name does not
    copied                 a paraphrase, summary, statement or mistake that is what it was made from
    not_shorter            the summary is as long as the seed text
    copies_example         its words are an example's, or one of its texts is

Grounded (`hare_ray.synth.task_grounding`) are the answer of a question, the right option, a summary, and sentences that
should come from the seed; questions may name nothing that the seed does not. That refuses what an LLM knows from
elsewhere or makes up. That exactly one option is right is checked as far as words go: the right one is grounded, no
other is a part of it or holds it, and none speaks of the others. Whether the seed makes a wrong option true as well
only a reader can tell, and no check here does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hare_ray.priors.tasks import TaskTemplate
from hare_ray.synth.task_checks import MISSING_KEY, NO_ANSWER, NOT_JSON, OVER_LIMIT, TOO_LARGE, Asked, Refusal, texts_in
from hare_ray.synth.task_forms import Slots
from hare_ray.synth.task_readers import READERS
from hare_ray.synth.task_schemas import ITEMS, Label

MAX_ANSWER_CHARS = 20_000
"""The paper keeps items within 512 tokens; ten times that is a runaway answer, and not worth parsing."""

MAX_OBJECTS = 16
"""Opening braces tried: prose before the object may hold a few; each try may read the whole answer."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once each: of two values for one key, neither is the item's."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_object)


def slots_from(template: TaskTemplate, answer: str | None, asked: Asked) -> Slots:
    """The slots of the item in `answer`; raises Refusal."""
    if answer is None or not answer.strip():
        raise Refusal(NO_ANSWER)
    if len(answer) > MAX_ANSWER_CHARS:
        raise Refusal(TOO_LARGE, f"{len(answer)} characters")
    found = first_object(answer, template.keys)
    item = ITEMS[template.kind]
    for key in template.keys:
        if found.get(key) in (None, "", [], {}):
            raise Refusal(MISSING_KEY, key)
        longest = max(map(len, texts_in(found[key])), default=0)
        spec = item[key]
        if not isinstance(spec, Label) and longest >= spec.chars:
            raise Refusal(OVER_LIMIT, f"{key}: {longest} characters")
    slots = {"text": asked.seed_text, **READERS[template.kind](found, asked)}
    asked.not_an_example(template, found)
    return slots


def first_object(text: str, keys: Iterable[str]) -> dict[str, Any]:
    """The first complete JSON object in a text that has these keys, or the first where none has them."""
    first, at = None, -1
    for _ in range(MAX_OBJECTS):
        at = text.find("{", at + 1)
        if at < 0:
            break
        try:
            found, _ = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):  # not JSON, a number of too many digits, too deep
            continue
        if found and found.keys() >= set(keys):
            return found
        first = first or found
    if first:
        return first
    raise Refusal(NOT_JSON)
