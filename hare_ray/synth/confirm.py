"""Round trip: an LLM that sees the content and the question of an item again has to come to the same answer.

    CheckPrompts   PROMPT + GENERATED  -> CHECK, a second prompt for each item of a task that has one answer
    Confirmed      CHECK + GENERATED   -> `outcome`, `reason`, `detail`: an opinion on the first prompts

Whether an answer follows from the content, and no wrong option does, rules can tell only as far as words go
(`hare_ray.synth.task_answers`). Asking twice is the round-trip consistency of Alberti et al. 2019 (arXiv:1906.05416):
an answer that was made up, or one of several that would do, seldom comes back when the question stands alone. It
costs one short answer for each item; a model of entailment would be another model to host, and judge short texts only.

When an answer is the same, `hare_ray.synth.confirm_compare` says. The options of a multiple choice stand in another
order, by a hash.

    outcome          of the second question                                                          the item
    not_asked        the item is refused anyway, or of a task with more than one good answer         no reason here
    unconfirmed      got no answer: an error of the server, a prompt too long: no verdict on it      kept
    confirmed        the same answer                                                                 kept
    not_confirmed    another one, or one that cannot be read                                         refused

The books count all four, so that items which passed for want of an answer show.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from hare_ray.gather import Desk
from hare_ray.priors.checks import Check
from hare_ray.priors.tasks import TaskTemplate
from hare_ray.schema import DETAIL, ID, REASON
from hare_ray.stage import Annotate, Files, Gather, PartFunction, Table
from hare_ray.synth import task_forms as forms
from hare_ray.synth.confirm_compare import against
from hare_ray.synth.task_answers import slots_from
from hare_ray.synth.task_checks import Asked, Refusal
from hare_ray.synth.task_forms import LETTERS, Slots, filled
from hare_ray.synth.tasks import same_base

NOT_ASKED = "not_asked"
UNCONFIRMED = "unconfirmed"
CONFIRMED = "confirmed"
NOT_CONFIRMED = "not_confirmed"
OUTCOMES = (CONFIRMED, NOT_CONFIRMED, UNCONFIRMED, NOT_ASKED)

CHECK = pa.schema(
    [
        ID,
        pa.field("prompt", pa.large_string()),
        pa.field("schema", pa.large_string()),
        pa.field("kind", pa.string()),
        pa.field("expected", pa.string()),
    ]
)
"""All null but `id` where nothing is asked. `kind`: the known task; `expected`: the item's own answer, a letter for a
multiple choice. `id` is that of the check: other than the prompt's, so that it draws another seed."""

ANSWER_CHARS = 300
"""Of a second answer: one or two sentences."""

UNKNOWN = "unknown"
NO_OPTION = "none"


def _schema(**answer: Any) -> str:
    """A JSON schema of one key."""
    shape = {"type": "object", "properties": {"answer": answer}, "required": ["answer"], "additionalProperties": False}
    return json.dumps(shape)


SCHEMAS = {
    forms.QUESTION_ANSWERING: _schema(type="string", minLength=1, maxLength=ANSWER_CHARS),
    forms.MULTIPLE_CHOICE: _schema(enum=[*LETTERS, NO_OPTION]),
    forms.CLOZE: _schema(type="string", minLength=1, maxLength=ANSWER_CHARS),
    forms.INFERENCE: _schema(enum=["true", "false", UNKNOWN]),
    forms.YES_NO: _schema(enum=["yes", "no", UNKNOWN]),
}


class CheckPrompts(Annotate):
    """Second prompts, for `hare_ray.synth.generate.Generate` to ask."""

    writes: ClassVar[pa.Schema] = CHECK

    prompts: Table
    answers: Table
    """Opinion on `prompts`: GENERATED."""
    templates: tuple[TaskTemplate, ...]
    """Those the prompts were made with."""
    checks: tuple[Check, ...]
    min_grounded: float
    """This and the next two as in `hare_ray.synth.tasks.Tasks`: what is refused there is not asked about."""
    max_copied: float
    max_example_overlap: float
    seed: int
    """For the order of options."""

    def __post_init__(self) -> None:
        """Refuse other prompts' answers."""
        super().__post_init__()
        same_base(self.prompts, self.answers, repr(self))

    def prepare(self, files: Files) -> PartFunction:
        """The function of prompts and answers."""
        del files
        templates = {template.name: template for template in self.templates}
        return partial(_checks, self, templates, {check.task: check.text for check in self.checks})


def _checks(
    stage: CheckPrompts,
    templates: dict[str, TaskTemplate],
    checks: dict[str, str],
    prompts: pa.Table,
    answers: pa.Table,
) -> pa.Table:
    out: list[dict[str, Any]] = []
    given = prompts.select(["id", "template", "seed"]).to_pylist()
    for prompt, answer in zip(given, answers["answer"].to_pylist(), strict=True):
        template = templates.get(prompt["template"])
        if template is None:
            raise ValueError(
                f"{stage!r}: given a prompt of template {prompt['template']!r}; its templates are "
                f"{sorted(templates)}: pass those that the prompts were made with"
            )
        row: dict[str, Any] = {"id": xxhash.xxh3_128_digest(prompt["id"] + NOT_CONFIRMED.encode())}
        slots = _slots(stage, template, prompt, answer) if template.kind in checks else None
        if slots is not None:
            text = filled(checks[template.kind], {**slots, "content": prompt["seed"]})
            expected = EXPECTED[template.kind](slots)
            row.update(prompt=text, schema=SCHEMAS[template.kind], kind=template.kind, expected=expected)
        out.append(row)
    return pa.Table.from_pylist(out, CHECK)


def _slots(stage: CheckPrompts, template: TaskTemplate, prompt: dict[str, Any], answer: str | None) -> Slots | None:
    """The item's slots, the options in the order of the check; None where it is refused."""
    shares = (stage.min_grounded, stage.max_copied, stage.max_example_overlap)
    asked = Asked(prompt["seed"], *shares, stage.seed, prompt["id"])
    try:
        slots = slots_from(template, answer, asked)
    except Refusal:
        return None
    if template.kind == forms.MULTIPLE_CHOICE:
        others = [slots[name] for name in LETTERS.lower() if slots[name] != slots["answer"]]
        key = prompt["id"] + NOT_CONFIRMED.encode()  # an order of its own
        return {**slots, **forms.choice_slots(slots["answer"], others, stage.seed, key)}
    return slots


EXPECTED: dict[str, Callable[[Slots], str]] = {
    forms.QUESTION_ANSWERING: lambda slots: slots["answer"],
    forms.MULTIPLE_CHOICE: lambda slots: slots["letter"],
    forms.CLOZE: lambda slots: slots["answer"],
    forms.INFERENCE: lambda slots: slots["label"],
    forms.YES_NO: lambda slots: slots["verdict"],
}
"""What of an item's slots has to come back."""


class Confirmed(Gather):
    """Verdicts on items by their second answers.

    Its parts are written, not made in passing, so that there are books of it.
    """

    code: ClassVar[int] = 2
    writes: ClassVar[pa.Schema] = pa.schema([pa.field("outcome", pa.string(), nullable=False), REASON, DETAIL])

    checks: Table
    """CHECK, on the base of the first prompts."""
    answers: Table
    """GENERATED: what came to `checks`."""
    min_f1: float
    """Of the words of the two answers to a question."""

    def __post_init__(self) -> None:
        """Refuse other checks' answers and a threshold that is no share."""
        same_base(self.checks, self.answers, repr(self))
        if not 0 <= self.min_f1 <= 1:
            raise ValueError(f"{self!r}: given min_f1={self.min_f1}; expected a share from 0 to 1")

    def gather(self, desk: Desk) -> None:
        """Each part on its own."""
        done = desk.done()
        desk.map(
            partial(_confirm_part, desk, self), [part for part in range(desk.parts(self.checks)) if part not in done]
        )

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """Items by outcome."""
        return {outcome: pc.sum(pc.equal(rows["outcome"], outcome)).as_py() or 0 for outcome in OUTCOMES}


def _confirm_part(desk: Desk, stage: Confirmed, part: int) -> None:
    checks = desk.read(stage.checks, part, ["kind", "expected"])
    desk.write(part, _confirmed(stage.min_f1, checks, desk.read(stage.answers, part, ["answer"])))


def _confirmed(min_f1: float, checks: pa.Table, answers: pa.Table) -> pa.Table:
    outcomes, details = [], []
    given = checks.select(["kind", "expected"]).to_pylist()
    for check, answer in zip(given, answers["answer"].to_pylist(), strict=True):
        detail = None
        if check["kind"] is None or answer is None:
            outcomes.append(NOT_ASKED if check["kind"] is None else UNCONFIRMED)
        else:
            detail = against(check["kind"], check["expected"], answer, min_f1)
            outcomes.append(CONFIRMED if detail is None else NOT_CONFIRMED)
        details.append(detail)
    reasons = [NOT_CONFIRMED if outcome == NOT_CONFIRMED else None for outcome in outcomes]
    columns = [pa.array(values, pa.string()) for values in (outcomes, reasons, details)]
    return pa.table(columns, schema=Confirmed.writes)
