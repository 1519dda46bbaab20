"""D3 from an LLM: prompts for items of NLP tasks, and the items in natural language (paper, section 2 and A.3).

    TaskPrompts   documents + which of them are seeds -> PROMPT, `prompts_per_seed` templates for each seed
    Tasks         PROMPT + GENERATED                  -> WRITTEN, one row per prompt, kept or with a reason

The paper asks Qwen for JSON with a role, a content and examples, from seeds of D2; it names four tasks "and more". Two
steps, because an answer is checked as JSON, where question, options and answer stand apart, and is only then written
as text, in one of several forms: that an option is right cannot be checked in prose.

Seeds take turns through the templates from a start that is the topic's, so that tasks come equally often in every topic
and, over small topics, on the whole. A prompt carries the JSON schema of its answer (`hare_ray.synth.task_schemas`) and
shows the seed last, so that a server computes only once what all prompts of a template begin with. Seeds are cleaned as
those of D2 are (`hare_ray.synth.seed_text`).

Forms that show a text show the seed, all that the LLM saw of the document; so Verify's check for copied seeds is for D2
alone, and what of an item has to be in the LLM's own words is checked here. Reasons: `hare_ray.synth.task_answers`.
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
from hare_ray.synth.prompt import PROMPT, STOP, SYNTHETIC_FILE, WRITTEN, prompt_id, prompt_url
from hare_ray.synth.seed_text import cleaned
from hare_ray.synth.task_answers import slots_from
from hare_ray.synth.task_checks import Asked, Refusal
from hare_ray.synth.task_forms import by_task, check_forms, filled, slots_of, write
from hare_ray.synth.task_readers import READERS
from hare_ray.synth.task_schemas import check_keys, schema_of

PROMPT_SLOTS = {"content", "examples"}
TOPIC_COLUMNS = ("cluster", "topic")
"""Where documents have their topic: D1 and what is written from it."""

SEED_CHARS_A_WORD = 12
"""Of a seed looked at for each word that may be shown: twice the English average. A text without white space, or of
200 kB in one line, is cut here; else a single one would fill the LLM's window."""

OUTCOME = pa.schema([*WRITTEN, REASON, DETAIL])


def check_templates(templates: tuple[TaskTemplate, ...], whose: str) -> None:
    """Refuse templates of unknown tasks, with other slots, or with equal names."""
    for template in templates:
        if template.kind not in READERS or slots_of(template.text) != PROMPT_SLOTS or "#" in template.name:
            raise ValueError(
                f"{whose}: given the template {template.name!r} of task {template.kind!r} with the slots "
                f"{sorted(slots_of(template.text))}; expected a name without #, a task of {', '.join(READERS)} or one "
                f"that tasks.yaml says is like one of these, and the slots {sorted(PROMPT_SLOTS)}"
            )
        check_keys(template, whose)
    names = [template.name for template in templates]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{whose}: given templates called {names}; expected one at least, each with its own name")


class TaskPrompts(Map):
    """Seeds into prompts."""

    code: ClassVar[int] = 3
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
    schemas = {template.name: schema_of(template) for template in stage.templates}
    rows = pa.array(np.flatnonzero(seeds["chosen"].to_numpy()))
    turns = seeds["turn"].take(rows).to_pylist()
    topic = next((name for name in TOPIC_COLUMNS if name in docs.column_names), None)
    chosen = docs.select(["id", "url", *([topic] if topic else [])]).take(rows).to_pylist()
    texts = cleaned(docs["text"].take(rows)).to_pylist()
    out: list[dict[str, Any]] = []
    for doc, text, turn in zip(chosen, texts, turns, strict=True):
        content = shown_of(text or "", stage.max_seed_words)
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
                    "schema": schemas[template.name],
                }
            )
    return pa.Table.from_pylist(out, pa.schema([*PROMPT, REASON]))


def shown_of(text: str, max_words: int) -> str:
    """What is shown of a cleaned seed: its first sentences."""
    from hare_ray.text.sentences import cut_at_sentence

    return cut_at_sentence(text[: max_words * SEED_CHARS_A_WORD].rstrip(), max_words)


class Tasks(Map):
    """Answers into items in natural language."""

    code: ClassVar[int] = 2
    writes: ClassVar[pa.Schema] = WRITTEN

    prompts: Table
    answers: Table
    """Opinion on `prompts`: GENERATED."""
    templates: tuple[TaskTemplate, ...]
    """Those the prompts were made with."""
    forms: tuple[Form, ...]
    min_grounded: float
    """Share of the different content words of what must come from the seed text that do occur in it."""
    max_copied: float
    """Share of the word 5-grams of what must be in the LLM's own words that its source holds."""
    max_example_overlap: float
    """Share of the word 5-grams of an item, those of the seed text apart, that the template's examples hold."""
    seed: int
    confirmed: Table | None = None
    """Verdicts on the items by `hare_ray.synth.confirm`, on the base of the prompts."""

    def __post_init__(self) -> None:
        """Refuse other prompts' answers, and tasks without a form."""
        check_templates(self.templates, repr(self))
        check_forms(self.forms, {template.task for template in self.templates}, repr(self))
        for opinion in (self.answers, *((self.confirmed,) if self.confirmed else ())):
            same_base(self.prompts, opinion, repr(self))
        for name in ("min_grounded", "max_copied", "max_example_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}; expected a share from 0 to 1")

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
    confirmed: pa.Table | None = None,
) -> pa.Table:
    given = prompts.select(["id", "url", "topic", "template", "seed", "variant"]).to_pylist()
    came = answers.select(["answer", "finish", "completion_tokens"]).to_pylist()
    verdicts = confirmed.select(["reason", "detail"]).to_pylist() if confirmed is not None else [{}] * len(came)
    out: list[dict[str, Any]] = []
    for prompt, answer, verdict in zip(given, came, verdicts, strict=True):
        template = templates.get(prompt["template"])
        if template is None:
            raise ValueError(
                f"{stage!r}: given a prompt of template {prompt['template']!r}; its templates are "
                f"{sorted(templates)}: pass those that the prompts were made with"
            )
        row = {**prompt, "finish": answer["finish"], "file": SYNTHETIC_FILE, "offset": 0}
        row["tokens"] = None if answer["answer"] is None else answer["completion_tokens"]
        shares = (stage.min_grounded, stage.max_copied, stage.max_example_overlap)
        asked = Asked(prompt["seed"], *shares, stage.seed, prompt["id"])
        try:
            slots = slots_from(template, answer["answer"], asked)
            row.update(text=write(forms[template.task], slots, stage.seed, prompt["id"]), **verdict)
        except Refusal as refusal:  # the ledger shows what was answered
            row.update(text=answer["answer"], reason=refusal.reason, detail=refusal.detail)
            if refusal.detail is None and answer["finish"] != STOP:  # an error, not asked, or the end of the tokens
                row["detail"] = answer["finish"]
        out.append(row)
    return pa.Table.from_pylist(out, OUTCOME)


def same_base(left: Table, right: Table, whose: str) -> None:
    """Refuse two tables that cannot be joined by position."""
    if left.base is not right.base:
        raise ValueError(
            f"{whose} joins {left!r} on base {left.base!r} with {right!r} on base {right.base!r}; "
            "make the second from the first"
        )
