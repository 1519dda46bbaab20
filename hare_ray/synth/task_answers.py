"""What an LLM answered, as the slots of a form, or the reason why not.

    slots_from(template, answer, seed_text, min_grounded, draw) -> slots; raises Refusal

Lenient in form: the first JSON object anywhere in the answer counts, with prose or a code fence around it, line breaks
inside strings, numbers for strings, options with or without letters, an answer that is a letter, an option or both.
Strict in content, because a wrong item teaches a wrong thing:

    reason                 the item
    no_answer              none came, or nothing but white space
    too_large              longer than any item may be
    not_json               no complete JSON object in it
    missing_key            a key is not there, empty, or of the wrong kind
    wrong_options          not four options, or not four different ones
    wrong_sentences        not three to six different sentences to put in order
    answer_not_in_options  the answer is none of the options, or the label none of the labels
    blank_missing          not one blank in the sentence
    not_grounded           too few of its words occur in the seed text
    copied                 the paraphrase is the sentence itself
    not_shorter            the summary is as long as the seed text

Grounded is the share of different words: of the answer of a question, of the right option, of a summary, of sentences
that should come from the seed. It refuses what an LLM knows from elsewhere or makes up, and costs one set a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hare_ray.priors.tasks import TaskTemplate
from hare_ray.synth import task_forms as forms
from hare_ray.synth.task_forms import BLANK, LETTERS, Slots, clean

NO_ANSWER = "no_answer"
TOO_LARGE = "too_large"
NOT_JSON = "not_json"
MISSING_KEY = "missing_key"
WRONG_OPTIONS = "wrong_options"
WRONG_SENTENCES = "wrong_sentences"
ANSWER_NOT_IN_OPTIONS = "answer_not_in_options"
BLANK_MISSING = "blank_missing"
NOT_GROUNDED = "not_grounded"
COPIED = "copied"
NOT_SHORTER = "not_shorter"

MAX_ANSWER_CHARS = 20_000
"""The paper keeps items within 512 tokens; ten times that is a runaway answer, and not worth parsing."""

MAX_OBJECTS = 16
"""Opening braces tried: prose before the object may hold a few; each try may read the whole answer."""

SENTENCES = range(3, 7)
"""To put in order: two are a coin toss, and of many more several orders make sense."""

LABELS = {
    "true": ("True", "Yes, it does."),
    "false": ("False", "No, it is false."),
    "unknown": ("Unknown", "The text does not say."),
}
"""What a label reads as, alone and as an answer to "Does it follow?"."""

_WORD = re.compile(r"\w+")
_GAP = re.compile(r"_{2,}")
_LETTERED = re.compile(r"\s*\(?([A-Da-d])[.):]\s*(.*\S)?\s*", re.DOTALL)
_BARE_LETTER = re.compile(r"\s*(?:option\s+)?\(?([A-Da-d])[.)]?\s*", re.IGNORECASE)
_DECODER = json.JSONDecoder(strict=False)


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
    seed: int
    key: bytes

    @cached_property
    def words(self) -> set[str]:
        """Different words of the seed text."""
        return set(_WORD.findall(self.seed_text.lower()))

    def grounded(self, text: str) -> None:
        """Refuse a text with too few words of the seed's."""
        words = set(_WORD.findall(text.lower()))
        share = len(words & self.words) / len(words) if words else 0.0
        if share < self.min_grounded:
            raise Refusal(NOT_GROUNDED, f"{share:.2f} of its words are in the seed")


def slots_from(template: TaskTemplate, answer: str | None, asked: Asked) -> Slots:
    """The slots of the item in `answer`; raises Refusal."""
    if answer is None or not answer.strip():
        raise Refusal(NO_ANSWER)
    if len(answer) > MAX_ANSWER_CHARS:
        raise Refusal(TOO_LARGE, f"{len(answer)} characters")
    found = first_object(answer)
    for key in template.keys:
        if found.get(key) in (None, "", [], {}):
            raise Refusal(MISSING_KEY, key)
    return {"text": asked.seed_text, **READERS[template.task](found, asked)}


def first_object(text: str) -> dict[str, Any]:
    """The first complete JSON object in a text."""
    at = -1
    for _ in range(MAX_OBJECTS):
        at = text.find("{", at + 1)
        if at < 0:
            break
        try:
            found, _ = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):  # not JSON, a number of too many digits, too deep
            continue
        if found:
            return found
    raise Refusal(NOT_JSON)


def _string(found: dict[str, Any], key: str) -> str:
    return _bare(found.get(key), key)


def _bare(value: object, key: str) -> str:
    """A string or number as text of valid characters; refuses what is neither, or blank."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Refusal(MISSING_KEY, f"{key} is {type(value).__name__}")
    text = clean(str(value))
    if not text:
        raise Refusal(MISSING_KEY, key)
    return text


def _strings(found: dict[str, Any], key: str) -> list[str]:
    values = found.get(key)
    values = list(values.values()) if isinstance(values, dict) else values
    if not isinstance(values, list):
        raise Refusal(MISSING_KEY, f"{key} is {type(values).__name__}")
    return [_bare(value, key) for value in values]


def _same(text: str) -> str:
    """What is left of a text when case, punctuation and white space do not count."""
    return " ".join(_WORD.findall(text.casefold())) or text


def _different(texts: list[str]) -> bool:
    return len(set(map(_same, texts))) == len(texts)


def _question(found: dict[str, Any], asked: Asked) -> Slots:
    question, answer = _string(found, "question"), _string(found, "answer")
    asked.grounded(answer)
    return {"question": question, "answer": answer}


def _choice(found: dict[str, Any], asked: Asked) -> Slots:
    question, options, answer = _string(found, "question"), _strings(found, "options"), _string(found, "answer")
    options = _unlettered(options)
    if len(options) != len(LETTERS) or not _different(options):
        raise Refusal(WRONG_OPTIONS, f"{len(options)} options, {len(set(map(_same, options)))} different")
    right = options[_place(answer, options)]
    asked.grounded(right)
    others = [option for option in options if option != right]
    return {"question": question, **forms.choice_slots(right, others, asked.seed, asked.key)}


def _unlettered(options: list[str]) -> list[str]:
    """Options without the letters in front, where all have theirs in order."""
    found = [_LETTERED.fullmatch(option) for option in options]
    if [match[1].upper() if match and match[2] else None for match in found] != list(LETTERS):
        return options
    return [match[2] for match in found if match]


def _place(answer: str, options: list[str]) -> int:
    """Number of the option that an answer names."""
    plain = list(map(_same, options))
    if _same(answer) in plain:
        return plain.index(_same(answer))
    letter = _BARE_LETTER.fullmatch(answer)
    if letter:
        return LETTERS.index(letter[1].upper())
    both = _LETTERED.fullmatch(answer)
    if both and both[2] and _same(both[2]) == plain[LETTERS.index(both[1].upper())]:
        return LETTERS.index(both[1].upper())
    raise Refusal(ANSWER_NOT_IN_OPTIONS, answer[:80])


def _cloze(found: dict[str, Any], asked: Asked) -> Slots:
    sentence, answer = _string(found, "sentence"), _string(found, "answer")
    gaps = _GAP.findall(sentence)
    if len(gaps) != 1 or _GAP.search(answer):
        raise Refusal(BLANK_MISSING, f"{len(gaps)} blanks")
    complete = sentence.replace(gaps[0], answer)
    asked.grounded(complete)
    asked.grounded(answer)
    return {"sentence": sentence.replace(gaps[0], BLANK), "answer": answer, "complete": complete}


def _summary(found: dict[str, Any], asked: Asked) -> Slots:
    summary = _string(found, "summary")
    asked.grounded(summary)
    if len(summary) >= len(asked.seed_text):
        raise Refusal(NOT_SHORTER, f"{len(summary)} of {len(asked.seed_text)} characters")
    return {"summary": summary}


def _inference(found: dict[str, Any], asked: Asked) -> Slots:
    label = found["label"]
    label = str(label).lower() if isinstance(label, bool) else _string(found, "label").lower().rstrip(".")
    if label not in LABELS:
        raise Refusal(ANSWER_NOT_IN_OPTIONS, label[:80])
    alone, verdict = LABELS[label]
    return {"statement": _string(found, "statement"), "label": alone, "verdict": verdict}


def _paraphrase(found: dict[str, Any], asked: Asked) -> Slots:
    sentence, paraphrase = _string(found, "sentence"), _string(found, "paraphrase")
    if not _different([sentence, paraphrase]):
        raise Refusal(COPIED)
    asked.grounded(sentence)
    return {"sentence": sentence, "paraphrase": paraphrase}


def _title(found: dict[str, Any], asked: Asked) -> Slots:
    return {"title": _string(found, "title")}


def _ordering(found: dict[str, Any], asked: Asked) -> Slots:
    sentences = _strings(found, "sentences")
    if len(sentences) not in SENTENCES or not _different(sentences):
        raise Refusal(WRONG_SENTENCES, f"{len(sentences)} sentences, {len(set(map(_same, sentences)))} different")
    for sentence in sentences:
        asked.grounded(sentence)
    return forms.order_slots(sentences, asked.seed, asked.key)


READERS: dict[str, Callable[[dict[str, Any], Asked], Slots]] = {
    forms.QUESTION_ANSWERING: _question,
    forms.MULTIPLE_CHOICE: _choice,
    forms.CLOZE: _cloze,
    forms.SUMMARISATION: _summary,
    forms.INFERENCE: _inference,
    forms.PARAPHRASE: _paraphrase,
    forms.TITLE: _title,
    forms.ORDERING: _ordering,
}
"""Tasks an LLM can be asked for, and what reads an item of each."""
