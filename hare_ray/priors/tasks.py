"""Tasks in natural language (paper, section 2 and A.3): what an LLM is asked for, and how an item is written down.

    load_templates()     -> the templates of tasks.toml
    load_forms()         -> the forms of task_forms.toml
    instructions_file()  -> where instructions.jsonl lies, for a Source

Slots are names in braces. Braces around anything else stand for themselves, so JSON needs no escapes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class TaskTemplate:
    """One way to ask an LLM for an item of a task."""

    name: str
    task: str
    text: str
    """Slots: {content} the seed text, {examples} items to imitate in form."""
    examples: tuple[str, ...]
    """JSON objects with just the keys of `keys`."""
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """One way to write an item of a task in natural language; its slots are `hare_ray.synth.task_forms.SLOTS`."""

    task: str
    text: str


def load_templates() -> tuple[TaskTemplate, ...]:
    """All templates: the frame that they share with the demand of each in it."""
    prior = _read("tasks.toml")
    return tuple(
        TaskTemplate(
            name=entry["name"],
            task=entry["task"],
            text=prior["frame"].replace("{demand}", entry["demand"].strip()).strip(),
            examples=tuple(example.strip() for example in entry["examples"]),
            keys=tuple(entry["keys"]),
        )
        for entry in prior["template"]
    )


def load_forms() -> tuple[Form, ...]:
    """All forms of all tasks."""
    prior = _read("task_forms.toml")
    return tuple(Form(task, text.strip()) for task, texts in prior.items() for text in texts["forms"])


def instructions_file() -> str:
    """The path of the package's own instruction rows."""
    return str(files("hare_ray.priors") / "instructions.jsonl")


def _read(name: str) -> dict:
    return tomllib.loads((files("hare_ray.priors") / name).read_text(encoding="utf-8"))
