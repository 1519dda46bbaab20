"""Round trip: an LLM that sees the content and the question of an item again has to come to the same answer.

    CheckPrompts   PROMPT + GENERATED  -> CHECK, a second prompt for each item of a task that has one answer
    Confirmed      CHECK + GENERATED   -> `reason`, `detail`: an opinion on the first prompts

Whether an answer follows from the content, and no wrong option does, rules can tell only as far as words go
(`hare_ray.synth.task_answers`). Asking twice is the round-trip consistency of Alberti et al. 2019 (arXiv:1906.05416):
an answer that was made up, or one of several that would do, seldom comes back when the question stands alone. It
costs one short answer for each item; a model of entailment would be another model to host, and judge short texts only.

    task                 the answer comes back if
    question_answering   F1 of the two shares is at least `min_f1`, and no number stands against another
    multiple_choice      the letter is that of the same option; options stand in another order, by a hash
    cloze                the words are equal but for case and punctuation
    inference, yes_no    the label is equal

F1 is the harmonic mean of the share of the first answer's different content words that the second has, and the other
way round: of SQuAD's measure, with sets and without words of grammar. Numbers stand against each other where each
answer has one that the other has not.

An item that is refused anyway and one of another task are not asked about. Both have no reason here, as has one whose
second question got no answer: an error of the server, or a prompt that is too long, is no verdict on an item. An answer
that came and cannot be read as one confirms nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
import xxhash

from hare_ray.priors.checks import Check
from hare_ray.priors.tasks import TaskTemplate
from hare_ray.schema import DETAIL, ID, REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table
from hare_ray.synth import task_forms as forms
from hare_ray.synth.task_answers import first_object, slots_from
from hare_ray.synth.task_checks import Asked, Refusal
from hare_ray.synth.task_forms import LETTERS, Slots, filled
from hare_ray.synth.task_grounding import numbers, plain, stems
from hare_ray.synth.tasks import same_base

NOT_CONFIRMED = "not_confirmed"

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

_LETTER = re.compile(r"\W*(?:option\s+)?([A-D])\b.*", re.IGNORECASE | re.DOTALL)


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


class Confirmed(Annotate):
    """Verdicts on items by their second answers."""

    writes: ClassVar[pa.Schema] = pa.schema([REASON, DETAIL])

    checks: Table
    """CHECK, on the base of the first prompts."""
    answers: Table
    """GENERATED: what came to `checks`."""
    min_f1: float
    """Of the words of the two answers to a question."""

    def __post_init__(self) -> None:
        """Refuse other checks' answers and a threshold that is no share."""
        super().__post_init__()
        if not 0 <= self.min_f1 <= 1:
            raise ValueError(f"{self!r}: given min_f1={self.min_f1}; expected a share from 0 to 1")

    def prepare(self, files: Files) -> PartFunction:
        """The function of checks and answers."""
        del files
        return partial(_confirmed, self.min_f1)


def _confirmed(min_f1: float, checks: pa.Table, answers: pa.Table) -> pa.Table:
    given = checks.select(["kind", "expected"]).to_pylist()
    details = [
        None if check["kind"] is None or answer is None else against(check["kind"], check["expected"], answer, min_f1)
        for check, answer in zip(given, answers["answer"].to_pylist(), strict=True)
    ]
    reasons = [None if detail is None else NOT_CONFIRMED for detail in details]
    return pa.table([pa.array(reasons, pa.string()), pa.array(details, pa.string())], schema=Confirmed.writes)


def against(kind: str, expected: str, answer: str, min_f1: float) -> str | None:
    """What speaks against an item whose answer is `expected` and was `answer` the second time; None: nothing."""
    try:
        value = first_object(answer, ("answer",)).get("answer")
    except Refusal:
        value = None
    if isinstance(value, bool):
        value = str(value).lower()
    second = plain(str(value)) if isinstance(value, (str, int, float)) else ""
    if not second.strip():
        return f"no second answer can be read: {answer!r:.80}"
    if kind == forms.QUESTION_ANSWERING:
        return _differ(expected, str(value), min_f1)
    if kind == forms.MULTIPLE_CHOICE:
        letter = _LETTER.fullmatch(str(value))
        second, first = (letter[1].lower() if letter else second), expected.lower()
    else:
        first = plain(expected)
    return None if second == first else f"the second answer is {str(value)!r:.80}, not {expected!r:.80}"


def _differ(first: str, second: str, min_f1: float) -> str | None:
    one, other = ((numbers(text), stems(text)) for text in (first, second))
    if one[0] - other[0] and other[0] - one[0]:
        return f"{min(other[0] - one[0])} in the second answer, {min(one[0] - other[0])} in the first"
    words, again = (found | told for found, told in (one, other))
    shares = [len(words & again) / max(len(some), 1) for some in (words, again)]
    f1 = 2 * shares[0] * shares[1] / sum(shares) if any(shares) else 0.0
    return None if f1 >= min_f1 else f"F1 of {f1:.2f} with the second answer {second!r:.80}"
