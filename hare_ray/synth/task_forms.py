"""Forms: the several ways in which an item of a task is written as plain text.

    write(forms, task, slots, seed, id) -> text, by the form that the hash of (seed, id) chooses

The paper trains on NLP tasks in natural-language form and names no format. A model that has met one format per task
learns the format; several per task, drawn evenly, leave it the task. The choice is a hash of the id and not a drawn
number, so that an item has one form wherever its row lies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import xxhash

from hare_ray.priors.tasks import Form

Slots = dict[str, str]

BLANK = "____"
LETTERS = "ABCD"

QUESTION_ANSWERING = "question_answering"
MULTIPLE_CHOICE = "multiple_choice"
CLOZE = "cloze"
CLOZE_CHOICE = "cloze_choice"
SUMMARISATION = "summarisation"
INFERENCE = "inference"
PARAPHRASE = "paraphrase"
TITLE = "title"
ORDERING = "ordering"
YES_NO = "yes_no"
KEYWORDS = "keywords"
CORRECTION = "correction"
NEXT_SENTENCE = "next_sentence"
OPENING = "opening"
COMPLETION = "completion"
OCCURRENCE = "occurrence"
INSTRUCTION = "instruction"
QUESTION = "question"
INSTRUCTION_INPUT = "instruction_input"
DIALOGUE = "dialogue"


class Has(NamedTuple):
    """Slots of a task: what every form shows, of which one at least, and what it may."""

    always: str
    one_of: str = ""
    may: str = ""


_OPTIONS = " a b c d"
_PICK = "letter number answer"

SLOTS: dict[str, Has] = {
    QUESTION_ANSWERING: Has("question answer", may="text"),
    MULTIPLE_CHOICE: Has("question" + _OPTIONS, _PICK, "text"),
    CLOZE: Has("sentence", "answer complete", "text"),
    CLOZE_CHOICE: Has("question" + _OPTIONS, _PICK),
    SUMMARISATION: Has("text summary"),
    INFERENCE: Has("text statement", "label verdict"),
    PARAPHRASE: Has("sentence paraphrase"),
    TITLE: Has("text title"),
    ORDERING: Has("items", "order ordered"),
    YES_NO: Has("text question verdict", may="evidence"),
    KEYWORDS: Has("text keywords"),
    CORRECTION: Has("wrong right", may="text"),
    NEXT_SENTENCE: Has("text" + _OPTIONS, _PICK),
    OPENING: Has("title text"),
    COMPLETION: Has("beginning rest"),
    OCCURRENCE: Has("text sentence verdict"),
    INSTRUCTION: Has("request response"),
    QUESTION: Has("request response"),
    INSTRUCTION_INPUT: Has("request input response"),
    DIALOGUE: Has("request response"),
}

_SLOT = re.compile(r"\{(\w+)\}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def filled(text: str, slots: Mapping[str, str]) -> str:
    """`text` with its slots filled, in one pass: braces inside a value stay as they are."""
    return _SLOT.sub(lambda found: slots[found[1]], text)


def clean(text: str) -> str:
    """Without white space around it, control characters, and the half surrogate pairs that JSON can spell."""
    text = _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text.encode("utf-8", "replace").decode().strip()


def slots_of(text: str) -> set[str]:
    """Names in braces."""
    return set(_SLOT.findall(text))


def draw(seed: int, key: bytes, *salt: str) -> int:
    """A 64-bit number: the hash of (seed, key, salt)."""
    return xxhash.xxh3_64_intdigest(key + "\0".join(salt).encode(), seed=seed)


def check_forms(forms: Iterable[Form], tasks: Iterable[str], whose: str) -> None:
    """Refuse a form that names a slot its task has not, or lacks one, and a task without a form."""
    there = set()
    for form in forms:
        if form.kind not in SLOTS:
            raise ValueError(
                f"{whose}: given a form of task {form.kind!r}; expected one of {', '.join(SLOTS)}, or a task that "
                "tasks.yaml says is like one of these"
            )
        has, got = SLOTS[form.kind], slots_of(form.text)
        always, one_of, may = (set(names.split()) for names in has)
        if always - got or got - always - one_of - may or (one_of and not got & one_of):
            raise ValueError(
                f"{whose}: given a form of {form.task} with the slots {sorted(got)}; expected all of {sorted(always)}, "
                f"one at least of {sorted(one_of)}, and no other than these and {sorted(may)}: {form.text!r:.80}"
            )
        there.add(form.task)
    if set(tasks) - there:
        raise ValueError(f"{whose}: no form of {sorted(set(tasks) - there)}; expected one at least of each task")


def by_task(forms: Iterable[Form]) -> dict[str, list[str]]:
    """The texts of the forms of every task, in order."""
    found: dict[str, list[str]] = {}
    for form in forms:
        found.setdefault(form.task, []).append(form.text)
    return found


def write(texts: list[str], slots: Mapping[str, str], seed: int, key: bytes) -> str:
    """An item as text, by the form that is this key's."""
    return filled(texts[draw(seed, key, "form") % len(texts)], slots)


def choice_slots(answer: str, others: list[str], seed: int, key: bytes) -> Slots:
    """The options in an order by hash, and which one is right."""
    options = sorted([answer, *others], key=lambda option: (draw(seed, key, "option", option), option))
    place = options.index(answer)
    named = dict(zip(LETTERS.lower(), options, strict=True))
    return {**named, "answer": answer, "letter": LETTERS[place], "number": str(place + 1)}


def order_slots(sentences: list[str], seed: int, key: bytes) -> Slots:
    """Different sentences in another order than theirs, by hash, and how to put them right."""
    shown = sorted(sentences, key=lambda sentence: (draw(seed, key, "order", sentence), sentence))
    if shown == sentences:
        shown = [*shown[1:], shown[0]]
    return {
        "items": "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(shown, 1)),
        "order": ", ".join(str(shown.index(sentence) + 1) for sentence in sentences),
        "ordered": " ".join(sentences),
    }
