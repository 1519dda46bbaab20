"""D3 from an LLM: prompts for items of NLP tasks, and the items in natural language (paper, section 2 and A.3).

    TaskPrompts   documents + which of them are seeds -> PROMPT, `prompts_per_seed` templates for each seed
    Tasks         PROMPT + GENERATED                  -> WRITTEN, one row per prompt, kept or with a reason

The paper asks Qwen for JSON with a role, a content and examples, from seeds of D2; it names four tasks "and more". Two
steps, because an answer is checked as JSON, where question, options and answer stand apart, and is only then written
as text, in one of several forms: that an option is right cannot be checked in prose.

Seeds take turns through the templates from a start that is the topic's, so that tasks come equally often in every topic
and, over small topics, on the whole. Forms that show a text show the seed, all that the LLM saw of the document; the
check for copied seeds therefore is for D2 alone. Reasons: `hare_ray.synth.task_answers`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.priors.tasks import Form, TaskTemplate
from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Files, Map, PartFunction, Table
from hare_ray.synth.prompt import PROMPT, SYNTHETIC_FILE, WRITTEN, prompt_id, prompt_url
from hare_ray.synth.task_answers import READERS, Asked, Refusal, slots_from
from hare_ray.synth.task_forms import by_task, check_forms, filled, slots_of, write

PROMPT_SLOTS = {"content", "examples"}
TOPIC_COLUMNS = ("cluster", "topic")
"""Where documents have their topic: D1 and what is written from it."""

OUTCOME = pa.schema([*WRITTEN, REASON, DETAIL])


def check_templates(templates: tuple[TaskTemplate, ...], whose: str) -> None:
    """Refuse templates of unknown tasks, with other slots, or with equal names."""
    for template in templates:
        if template.task not in READERS or slots_of(template.text) != PROMPT_SLOTS:
            raise ValueError(
                f"{whose}: given the template {template.name!r} of task {template.task!r} with the slots "
                f"{sorted(slots_of(template.text))}; expected a task of {', '.join(READERS)} and the slots "
                f"{sorted(PROMPT_SLOTS)}"
            )
    names = [template.name for template in templates]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{whose}: given templates called {names}; expected one at least, each with its own name")


class TaskPrompts(Map):
    """Seeds into prompts."""

    derives: ClassVar[bool] = True
    imports: ClassVar[tuple[str, ...]] = ("numba",)
    writes: ClassVar[pa.Schema] = PROMPT

    docs: Table
    """Documents with a topic in column `cluster` or `topic`."""
    seeds: Table
    """Opinion on `docs`: `chosen`, and `turn`, the seed's number within its topic."""
    templates: tuple[TaskTemplate, ...]
    max_seed_words: int
    """Words of a seed that are shown, up to the end of a sentence."""
    prompts_per_seed: int

    def __post_init__(self) -> None:
        """Refuse other documents' seeds, and more prompts than templates."""
        check_templates(self.templates, repr(self))
        same_base(self.docs, self.seeds, repr(self))
        if not 1 <= self.prompts_per_seed <= len(self.templates) or self.max_seed_words < 1:
            raise ValueError(
                f"{self!r}: given prompts_per_seed={self.prompts_per_seed} and max_seed_words={self.max_seed_words}; "
                f"expected 1 to {len(self.templates)} (the number of templates), and at least 1"
            )

    def prepare(self, files: Files) -> PartFunction:
        """The function of documents and seeds."""
        del files
        return partial(_prompts, self)


def _prompts(stage: TaskPrompts, docs: pa.Table, seeds: pa.Table) -> pa.Table:
    from hare_ray.text.sentences import cut_at_sentence

    rows = pa.array(np.flatnonzero(seeds["chosen"].to_numpy()))
    turns = seeds["turn"].take(rows).to_pylist()
    topic = next((name for name in TOPIC_COLUMNS if name in docs.column_names), None)
    chosen = docs.select(["id", "url", "text", *([topic] if topic else [])]).take(rows).to_pylist()
    out: list[dict[str, Any]] = []
    for doc, turn in zip(chosen, turns, strict=True):
        content = cut_at_sentence(doc["text"] or "", stage.max_seed_words)
        about = doc[topic] if topic else None
        first = xxhash.xxh3_64_intdigest(str(about).encode()) + turn * stage.prompts_per_seed
        for number in range(stage.prompts_per_seed if content else 0):
            template = stage.templates[(first + number) % len(stage.templates)]
            out.append(
                {
                    "id": prompt_id(doc["id"], template.name, 0),
                    "url": prompt_url(doc["url"], template.name),
                    "topic": about,
                    "template": template.name,
                    "seed": content,
                    "prompt": filled(template.text, {"content": content, "examples": "\n".join(template.examples)}),
                }
            )
    return pa.Table.from_pylist(out, pa.schema([*PROMPT, REASON]))


class Tasks(Map):
    """Answers into items in natural language."""

    writes: ClassVar[pa.Schema] = WRITTEN

    prompts: Table
    answers: Table
    """Opinion on `prompts`: GENERATED."""
    templates: tuple[TaskTemplate, ...]
    """Those the prompts were made with."""
    forms: tuple[Form, ...]
    min_grounded: float
    """Share of the different words of what must come from the seed text that do occur in it."""
    seed: int

    def __post_init__(self) -> None:
        """Refuse other prompts' answers, and tasks without a form."""
        check_templates(self.templates, repr(self))
        check_forms(self.forms, {template.task for template in self.templates}, repr(self))
        same_base(self.prompts, self.answers, repr(self))
        if not 0 <= self.min_grounded <= 1:
            raise ValueError(f"{self!r}: given min_grounded={self.min_grounded}; expected a share from 0 to 1")

    def prepare(self, files: Files) -> PartFunction:
        """The function of prompts and answers."""
        del files
        return partial(_tasks, self, {template.name: template for template in self.templates}, by_task(self.forms))


def _tasks(
    stage: Tasks,
    templates: dict[str, TaskTemplate],
    forms: dict[str, list[str]],
    prompts: pa.Table,
    answers: pa.Table,
) -> pa.Table:
    given = prompts.select(["id", "url", "topic", "template", "seed"]).to_pylist()
    came = answers.select(["answer", "finish"]).to_pylist()
    out: list[dict[str, Any]] = []
    for prompt, answer in zip(given, came, strict=True):
        template = templates.get(prompt["template"])
        if template is None:
            raise ValueError(
                f"{stage!r}: given a prompt of template {prompt['template']!r}; its templates are "
                f"{sorted(templates)}: pass those that the prompts were made with"
            )
        row = {**prompt, "finish": answer["finish"], "file": SYNTHETIC_FILE, "offset": 0}
        asked = Asked(prompt["seed"], stage.min_grounded, stage.seed, prompt["id"])
        try:
            slots = slots_from(template, answer["answer"], asked)
            row["text"] = write(forms[template.task], slots, stage.seed, prompt["id"])
        except Refusal as refusal:  # the ledger shows what was answered
            row.update(text=answer["answer"], reason=refusal.reason, detail=refusal.detail)
        out.append(row)
    return pa.Table.from_pylist(out, OUTCOME)


def same_base(left: Table, right: Table, whose: str) -> None:
    """Refuse two tables that cannot be joined by position."""
    if left.base is not right.base:
        raise ValueError(
            f"{whose} joins {left!r} on base {left.base!r} with {right!r} on base {right.base!r}; "
            "make the second from the first"
        )
