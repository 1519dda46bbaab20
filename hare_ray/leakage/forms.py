"""A record of a benchmark file as an item: question, choices, text of the right answer, and the passage asked about.

    reader(forms)(record, where)  ->  Parsed(question, choices, answer, id, context)

Which fields mean what is a prior (`hare_ray.priors.benchmarks.Form`). The first form whose fields are all there, with
their types, reads the record; records of equal shape take the same form, so it is looked for once per shape. What
cannot be read is an error that names the place, what was found, and the cure: an item that is left out in silence is
one that nobody looks for. An answer that is withheld (null, empty, -1), as in public test splits, is null. A passage is
kept apart from the question, which may stand somewhere without it; where a file writes both as one string they are
divided as the form says, and left as they are where it does not apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from hare_ray.priors.benchmarks import Form

Record = dict[str, Any]

TYPES: dict[str, type] = {"str": str, "int": int, "bool": bool, "list": list, "dict": dict}

TAIL = "####"
"""Stands before the final answer of a worked solution (GSM8K)."""

WITHHELD = (None, "", -1, "-1")
"""What stands for an answer that is not given away."""

CURE = "add a form for it to the recipe's forms (hare_ray/priors/benchmarks.yaml holds the known ones)"


class Parsed(NamedTuple):
    """What a record says; an id of None: the record has none, and so with the context."""

    question: str
    choices: list[str]
    answer: str | None
    id: str | None
    context: str | None = None


class _Missing:
    """What a path gives that leads nowhere; a null is a value."""


MISSING = _Missing()


def at(value: Any, path: str) -> Any:
    """What lies at a path; through a list, the list of what lies in each element."""
    for name in path.split("."):
        if isinstance(value, list):
            value = [element.get(name, MISSING) if isinstance(element, dict) else MISSING for element in value]
            if not value or MISSING in value:
                return MISSING
        elif isinstance(value, dict):
            value = value.get(name, MISSING)
        else:
            return MISSING
    return value


def fits(form: Form, record: Record) -> bool:
    """Whether all fields of the form are there; null fits any type."""
    for field in form.fields:
        path, _, kind = field.partition(":")
        value = at(record, path)
        if value is MISSING or (value is not None and type(value) is not TYPES[kind]):
            return False
    return True


def shape(record: Record) -> tuple[Any, ...]:
    """Equal for records that the same forms fit: names and types, two levels deep."""
    return tuple((name, _shape(value)) for name, value in record.items())


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((name, type(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return (list, *({_shape(inner) if isinstance(inner, dict) else type(inner): None for inner in value}))
    return type(value)


def reader(forms: tuple[Form, ...]) -> Callable[[Record, str], Parsed]:
    """A function that reads records; it is told where each stands, for errors."""
    chosen: dict[tuple[Any, ...], Form | None] = {}

    def read(record: Record, where: str) -> Parsed:
        kind = shape(record)
        if kind not in chosen:
            chosen[kind] = next((form for form in forms if fits(form, record)), None)
        form = chosen[kind]
        if form is None:
            raise ValueError(
                f"{where}: given a record with {_fields(record)}, expected one of the forms "
                f"{', '.join(form.name for form in forms)}; {CURE}"
            )
        return parsed(form, record, where)

    return read


def _fields(record: Record) -> str:
    return ", ".join(f"{name} ({type(value).__name__})" for name, value in record.items()) or "no field"


def parsed(form: Form, record: Record, where: str) -> Parsed:
    """The record, read as the form says."""
    context, question = _lines(form.context, record, where), _lines(form.question, record, where)
    if form.divide and (found := re.fullmatch(form.divide, question)):
        context, question = found["context"] or "", found["question"]
    choices = [text for path in form.choices for text in texts(at(record, path), where)]
    answer = _answer(form, record, choices, where)
    if form.answer_as == "marked":  # several lists of targets share theirs
        choices = list(dict.fromkeys(choices))
    if form.answer_as == "tail" and choices == [answer]:
        choices = []
    if form.remove:
        context, question, *choices = (re.sub(form.remove, "", text) for text in (context, question, *choices))
        answer = None if answer is None else re.sub(form.remove, "", answer)
    ids = [at(record, path) for path in form.id]
    known = [str(value) for value in ids if value not in (None, "", MISSING)]
    return Parsed(question, choices, answer, "-".join(known) if len(known) == len(ids) else None, context or None)


def _lines(paths: tuple[str, ...], record: Record, where: str) -> str:
    return "\n".join(text for path in paths for text in texts(at(record, path), where))


def texts(value: Any, where: str) -> list[str]:
    """The texts of a field, in order; of an object of text -> number its keys."""
    if value is None or value is MISSING:
        return []
    if isinstance(value, str):
        return [value if value.isascii() else value.encode("utf-8", "replace").decode()]  # JSON may hold half a pair
    if isinstance(value, list):
        return [text for inner in value for text in (texts(inner, where) or [""])]
    if isinstance(value, dict) and all(isinstance(inner, int | float) for inner in value.values()):
        return [text for key in value for text in texts(key, where)]
    if isinstance(value, int | float):
        return [str(value)]
    raise ValueError(f"{where}: given {value!s:.80} where text was expected; {CURE}")


def _answer(form: Form, record: Record, choices: list[str], where: str) -> str | None:
    value = at(record, form.answer) if form.answer else MISSING
    if value is MISSING or (not isinstance(value, list | dict) and value in WITHHELD):
        return None
    try:
        return _ANSWERS[form.answer_as](value, choices, at(record, form.labels) if form.labels else None)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: given the answer {value!s:.80} for {len(choices)} choices, expected it as "
            f"{form.answer_as!r} (form {form.name!r}); correct the item, or {CURE}"
        ) from error


def _place(number: int, choices: list[str]) -> str:
    if number < 0:
        raise IndexError(number)
    return choices[number]


def _text(value: Any, choices: list[str], labels: Any) -> str | None:
    found = texts(value, "answer")
    return found[0] if found else None


def _letter(value: Any, choices: list[str], labels: Any) -> str:
    if value in choices:
        return value
    return _place("ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(value.strip().strip("().").upper()), choices)


def _marked(value: Any, choices: list[str], labels: Any) -> str | None:
    if "choices" in value and "labels" in value:
        value = dict(zip(value["choices"], value["labels"], strict=True))
    return next((text for text, mark in value.items() if mark == 1), None)


_ANSWERS: dict[str, Callable[[Any, list[str], Any], str | None]] = {
    "text": _text,
    "index": lambda value, choices, labels: _place(int(value), choices),
    "number": lambda value, choices, labels: _place(int(value) - 1, choices),
    "label": lambda value, choices, labels: _place(labels.index(value), choices),
    "letter": _letter,
    "marked": _marked,
    "tail": lambda value, choices, labels: value.rpartition(TAIL)[2].strip(),
    "yes_no": lambda value, choices, labels: "yes" if value else "no",
}
