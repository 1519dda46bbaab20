"""The second question about an item of D3, whose answer confirms the first: the texts of checks.yaml.

    load_checks() -> a `Check` for each task that is asked about

Slots are names in braces; braces around anything else stand for themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hare_ray.priors.reading import check_different, read

SLOTS = {
    "question_answering": ("question",),
    "multiple_choice": ("question", "a", "b", "c", "d"),
    "cloze": ("sentence",),
    "inference": ("statement",),
    "yes_no": ("question",),
}
"""Tasks that can be asked about, and what of an item is shown."""

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Check:
    """How to ask about an item of a task."""

    task: str
    text: str
    """Slots: {content} the seed text, and those of the task."""


@dataclass(frozen=True)
class Question:
    """The part of a check that is its own."""

    task: str
    demand: str
    item: str

    def __post_init__(self) -> None:
        """Refuse a task that nothing is known of, and an item with other slots than its task's."""
        if self.task not in SLOTS:
            raise ValueError(f"task: given {self.task!r}, expected one of {', '.join(SLOTS)}")
        slots = _SLOT.findall(self.item)
        if sorted(slots) != sorted(SLOTS[self.task]):
            raise ValueError(
                f"item: given the slots {slots}, expected each of {list(SLOTS[self.task])} once and no others"
            )
        if wrong := _SLOT.findall(self.demand):
            raise ValueError(f"demand: given the slots {wrong}, expected none: it is the same for all items of a task")


@dataclass(frozen=True)
class Checks:
    """All of checks.yaml."""

    frame: str
    checks: tuple[Question, ...]

    def __post_init__(self) -> None:
        """Refuse a frame without its slots or with the demand after the content, and tasks with two entries."""
        slots = _SLOT.findall(self.frame)
        if slots != ["demand", "content", "item"] and slots != ["demand", "item", "content"]:
            raise ValueError(
                f"frame: given the slots {slots}, expected demand first, then content and item, each once: a server "
                "computes only once what prompts have in common at their beginning"
            )
        check_different([check.task for check in self.checks], "checks")


def load_checks() -> tuple[Check, ...]:
    """All checks: the frame that they share with the demand and the item of each in it."""
    prior = read("checks", Checks)
    return tuple(Check(check.task, _filled(prior.frame, check).strip()) for check in prior.checks)


def _filled(frame: str, check: Question) -> str:
    own = {"demand": check.demand.strip(), "item": check.item.strip()}
    return _SLOT.sub(lambda slot: own.get(slot[1], slot[0]), frame)
