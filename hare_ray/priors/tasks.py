"""Tasks in natural language (paper, section 2 and A.3): what an LLM is asked for, and how an item is written down.

    load_templates()     -> the templates of tasks.yaml
    load_forms()         -> the forms of task_forms.yaml
    instructions_file()  -> where instructions.jsonl lies, for a Source

Slots are names in braces. Braces around anything else stand for themselves, so JSON needs no escapes. A task that the
code does not know is declared in tasks.yaml as like one that it knows: it has that one's keys, checks and slots, and
templates and forms of its own, so that it needs no code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files

from hare_ray.priors.reading import check_different, read


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
    """In the order in which they are to be written."""
    like: str = ""
    """The known task whose keys and checks it has; '': `task` is known itself."""

    @property
    def kind(self) -> str:
        """The known task."""
        return self.like or self.task


@dataclass(frozen=True)
class Form:
    """One way to write an item of a task in natural language; its slots are `hare_ray.synth.task_forms.SLOTS`."""

    task: str
    text: str
    like: str = ""
    """The known task whose slots it has; '': `task` is known itself."""

    @property
    def kind(self) -> str:
        """The known task."""
        return self.like or self.task


@dataclass(frozen=True)
class Demand:
    """The part of a template that is its own."""

    name: str
    task: str
    keys: tuple[str, ...]
    demand: str
    examples: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse an example that is not what is asked for."""
        for example in self.examples:
            try:
                found = json.loads(example)
            except ValueError as error:
                raise ValueError(f"{self.name}: given the example {example!r}, expected JSON ({error})") from error
            if not isinstance(found, dict) or set(found) != set(self.keys):
                told = sorted(found) if isinstance(found, dict) else type(found).__name__
                raise ValueError(f"{self.name}: given an example with {told}, expected an object of {list(self.keys)}")


@dataclass(frozen=True)
class Tasks:
    """All of tasks.yaml."""

    frame: str
    templates: tuple[Demand, ...]
    like: dict[str, str] = field(default_factory=dict)
    """Task -> the known task that it is like."""

    def __post_init__(self) -> None:
        """Refuse a frame without its slots or with the content before them, and names used twice."""
        for slot in ("{content}", "{demand}", "{examples}"):
            if self.frame.count(slot) != 1:
                raise ValueError(f"frame: given {slot} {self.frame.count(slot)} times, expected it once")
        if self.frame.find("{content}") < max(self.frame.find("{demand}"), self.frame.find("{examples}")):
            raise ValueError(
                "frame: given {content} before {demand} or {examples}; expected it after both, since a server computes "
                "only once what prompts have in common at their beginning"
            )
        check_different([template.name for template in self.templates], "templates")


def load_templates() -> tuple[TaskTemplate, ...]:
    """All templates: the frame that they share with the demand of each in it."""
    prior = read("tasks", Tasks)
    return tuple(
        TaskTemplate(
            name=entry.name,
            task=entry.task,
            text=prior.frame.replace("{demand}", entry.demand.strip()).strip(),
            examples=tuple(example.strip() for example in entry.examples),
            keys=entry.keys,
            like=prior.like.get(entry.task, ""),
        )
        for entry in prior.templates
    )


def load_forms() -> tuple[Form, ...]:
    """All forms of all tasks."""
    prior, like = read("task_forms", dict[str, tuple[str, ...]]), read("tasks", Tasks).like
    return tuple(Form(task, text.strip(), like.get(task, "")) for task, texts in prior.items() for text in texts)


def instructions_file() -> str:
    """The path of the package's own instruction rows."""
    return str(files("hare_ray.priors") / "instructions.jsonl")
