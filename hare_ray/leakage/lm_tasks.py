"""The documents of lm-eval tasks, of every split that holds some, as items.

A form that fits the bare document is preferred to the task's templates: these put "Question:" before and "Answer:"
behind, which no page that quotes the item has. Where no form fits, the templates say it:

    question   doc_to_text
    choices    doc_to_choice
    answer     doc_to_target, or the choice whose place it gives

In a task whose text is the place of the right choice (as WinoGrande has it) the target is what follows every choice.
What the choices begin with, a gap, and the target are then the question, and the choices are what goes into the gap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any, NamedTuple

from hare_ray.leakage.forms import Parsed, Record, parsed, shape, texts
from hare_ray.leakage.forms import fits as form_fits
from hare_ray.priors.benchmarks import Form

GAP = "_"


class Document(NamedTuple):
    """A document of a task, or of a member of a group."""

    task: str
    member: str
    split: str
    parsed: Parsed


def documents(names: tuple[str, ...], forms: tuple[Form, ...]) -> Iterator[Document]:
    """All documents of tasks and groups, member by member, split by split."""
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager, read = TaskManager(), _reader(forms)
    for name in names:
        yield from _of_task(name, manager.load(name)["tasks"], read)


def _of_task(name: str, members: dict[str, Any], read: Callable[[Any, Record, str], Parsed]) -> Iterator[Document]:
    count = 0
    for member in sorted(members):
        task = members[member]
        for split, rows in _splits(task):
            for number, row in enumerate(rows):
                count += 1
                yield Document(name, member, split, read(task, row, f"{member}, {split}, document {number}"))
    if not count:
        raise ValueError(f"given the task {name!r}, of which no split holds a document; expected some, or leave it out")


def _splits(task: Any) -> Iterator[tuple[str, Any]]:
    """Name and documents of every split; one that serves two ends is given once."""
    config = task.config
    seen: set[str] = set()
    for split, rows in (
        (config.training_split, task.training_docs),
        (config.validation_split, task.validation_docs),
        (config.test_split, task.test_docs),
        (config.fewshot_split, task.fewshot_docs),
    ):
        if split is not None and split not in seen:
            seen.add(split)
            yield split, rows()


def _reader(forms: tuple[Form, ...]) -> Callable[[Any, Record, str], Parsed]:
    chosen: dict[tuple[Any, ...], Form | None] = {}

    def read(task: Any, row: Record, where: str) -> Parsed:
        kind = shape(row)
        if kind not in chosen:
            chosen[kind] = next((form for form in forms if form_fits(form, row)), None)
        form = chosen[kind]
        return _by_templates(task, row, where) if form is None else parsed(form, row, where)

    return read


def _by_templates(task: Any, row: Record, where: str) -> Parsed:
    text, target = task.doc_to_text(row), task.doc_to_target(row)
    listed = task.config.output_type == "multiple_choice" or task.config.doc_to_choice is not None
    choices = texts(list(task.doc_to_choice(row)), where) if listed else []
    own = row.get("id")
    name = None if own in (None, "") else str(own)
    if isinstance(text, int):
        columns = zip(*(choice.split(" ")[:-1] for choice in choices), strict=False)
        begin = "".join(f"{column[0]} " for column in takewhile(lambda column: len(set(column)) == 1, columns))
        options = [choice.removeprefix(begin) for choice in choices]
        return Parsed(f"{begin}{GAP} {target}", options, options[text], name)
    if isinstance(target, list) and target:
        target = target[0]
    answer = choices[target] if isinstance(target, int) and 0 <= target < len(choices) else str(target)
    return Parsed(str(text), choices, answer, name)
