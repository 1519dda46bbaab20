"""The second half of the recipe as a fixture of its files: stages of the real names with tiny formulas behind them."""

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import xxhash

from hare_ray import engine
from hare_ray.gather import Desk
from hare_ray.schema import DETAIL, DOCUMENT, REASON
from hare_ray.stage import Annotate, Files, Gather, Keep, Make, Map, PartFunction, Stage, Table
from tests.report.stages import Copies, Says, Write

PROMPT = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        ("topic", pa.int32()),
        ("template", pa.string()),
        ("seed", pa.large_string()),
        ("prompt", pa.large_string()),
    ]
)
WRITTEN = pa.schema(
    [*DOCUMENT, ("topic", pa.int32()), ("template", pa.string()), ("seed", pa.large_string()), ("finish", pa.string())]
)


class Prompting(Map):
    docs: Table
    templates: tuple[str, ...]
    writes: ClassVar[pa.Schema] = PROMPT
    derives: ClassVar[bool] = True

    def prepare(self, files: Files) -> PartFunction:
        def ask(docs: pa.Table) -> pa.Table:
            rows = []
            for doc in docs.to_pylist():
                for template in self.templates:
                    url = f"{doc['url']}#{template}"
                    row = {"id": xxhash.xxh3_128_digest(url.encode()), "url": url, "topic": 1, "template": template}
                    prompt = f"Write a <{template}> on: {doc['text']}"
                    rows.append({**row, "seed": doc["text"], "prompt": prompt, "reason": None})
            return pa.Table.from_pylist(rows, schema=PROMPT.append(REASON))

        return ask


class TextbookPrompts(Prompting):
    pass


class TaskPrompts(Prompting):
    pass


class Generate(Gather):
    """Answers every n-th prompt well, the others in two words; the first of a part not at all."""

    prompts: Table
    llm: str
    max_tokens: int
    temperature: float
    good_every: int
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("answer", pa.large_string()),
            ("finish", pa.string()),
            ("prompt_tokens", pa.int32()),
            ("completion_tokens", pa.int32()),
        ]
    )

    def gather(self, desk: Desk) -> None:
        for part, count in enumerate(desk.rows(self.prompts)):
            rows = []
            for row in range(count):
                good = row % self.good_every == self.good_every - 1
                answer = f"An <answer> in full, number {row} of {part}, by {self.llm}" if good else "too short"
                finish = "stop" if good else "length"
                rows.append(
                    {"answer": answer, "finish": finish, "prompt_tokens": 10, "completion_tokens": 20 if good else 2}
                )
            if count > 2:
                rows[0] = {**rows[0], "answer": None, "finish": "error: no answer", "completion_tokens": 0}
            desk.write(part, pa.Table.from_pylist(rows, schema=self.writes))


class Writing(Map):
    prompts: Table
    answers: Table
    writes: ClassVar[pa.Schema] = WRITTEN

    def prepare(self, files: Files) -> PartFunction:
        def write(prompts: pa.Table, answers: pa.Table) -> pa.Table:
            rows = []
            for prompt, said in zip(prompts.to_pylist(), answers.to_pylist(), strict=True):
                text = said["answer"]
                reason = None if text else "no_answer"
                row = {**prompt, **said, "text": text, "file": "synthetic", "offset": 0, "reason": reason}
                rows.append({**row, "detail": None if text else said["finish"]})
            return pa.Table.from_pylist(rows, schema=WRITTEN.append(REASON).append(DETAIL))

        return write


class Textbook(Writing):
    pass


class Tasks(Writing):
    pass


class Verify(Annotate):
    docs: Table
    min_words: int
    writes: ClassVar[pa.Schema] = pa.schema([REASON, DETAIL])

    def prepare(self, files: Files) -> PartFunction:
        def verify(docs: pa.Table) -> pa.Table:
            words = [len(text.split()) for text in docs["text"].to_pylist()]
            rows = [{"reason": "too_short" if n < self.min_words else None, "detail": f"words {n}"} for n in words]
            return pa.Table.from_pylist(rows, schema=self.writes)

        return verify


class RuleItems(Map):
    """One item a document; a short document leads to none and is refused."""

    docs: Table
    writes: ClassVar[pa.Schema] = WRITTEN

    def prepare(self, files: Files) -> PartFunction:
        def items(docs: pa.Table) -> pa.Table:
            rows = []
            for doc in docs.to_pylist():
                reason = "no_rule_fits" if "topic=1" in doc["text"] else None
                rows.append({**doc, "url": f"{doc['url']}#rule", "file": "synthetic", "seed": doc["text"]})
                rows[-1] |= {"id": xxhash.xxh3_128_digest(rows[-1]["url"].encode()), "reason": reason}
            return pa.Table.from_pylist(rows, schema=WRITTEN.append(REASON))

        return items


class Pack(Map):
    docs: Table
    sequence_tokens: int
    writes: ClassVar[pa.Schema] = pa.schema([("tokens", pa.binary())])

    def prepare(self, files: Files) -> PartFunction:
        def pack(docs: pa.Table) -> pa.Table:
            tokens = pa.array([b"x"] * len(docs), pa.binary())
            known = {"id": docs["id"], "url": docs["url"]}
            return pa.table({**known, "tokens": tokens, "reason": pa.nulls(len(docs), pa.string())})

        return pack


class Mixture(Make):
    """Sources of given planned and actual sequences."""

    sources: tuple[Table, ...]
    planned: tuple[int, ...]
    actual: tuple[int, ...]

    def make(self, desk: Desk) -> dict[str, int]:
        told = []
        for table, planned, actual in zip(self.sources, self.planned, self.actual, strict=True):
            sizes: dict[str, Any] = {"planned": planned, "actual": actual, "available": sum(desk.rows(table))}
            name = table.name.removeprefix("pack_")
            own = {"name": name, "table": table.name, "weight": planned / 100, "epochs": 1.5, "tokens": actual * 64}
            told.append({**own, **sizes})
        whole = {"sequence_tokens": 64, "batch_sequences": 4, "planned_sequences": sum(self.planned)}
        whole |= {"sequences": sum(self.actual), "sources": told}
        (desk.folder / "mixture.json").write_text(json.dumps(whole))
        return {"sequences": sum(self.actual)}


class Pretrain(Make):
    """A loss that falls by a formula."""

    data: Make
    steps: int
    first_loss: float
    start: Make | None = None
    mfu: float | None = None

    def make(self, desk: Desk) -> dict[str, int]:
        lines = [
            {**metrics(self.first_loss, step), **(newer(step) if self.start else {})}
            for step in range(1, self.steps + 1)
        ]
        (desk.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        losses = [line["loss"] for line in lines]
        summary = {
            "stage": self.name, "parameters": 1_234_567, "steps": self.steps, "tokens": 256 * self.steps,
            "targets": 250 * self.steps, "first_loss": losses[0], "final_loss": losses[-1], "tokens_per_second": 5120.4,
            "mfu": self.mfu, "workers": 2, "restarts": 1, "seconds": 12.5, "peak_mib": 900, "device": "cpu <2 cores>",
        }  # fmt: skip
        summary |= SUMMARY if self.start else {}
        (desk.folder / "summary.json").write_text(json.dumps(summary))
        return {"steps": self.steps}


SPIKE, CHANGE = 700, 1000
"""Steps of a stage that starts from another one, as runs are told now: a skipped one, and the first with one worker."""

SUMMARY = {
    "mfu_true": 0.35,
    "spikes": 1,
    "groups": [{"first_step": 1, "workers": 2}, {"first_step": CHANGE, "workers": 1}],
    "sources": [
        {"name": "d1", "tokens": 300_000, "sequences": 4800, "epochs": 1.25},
        {"name": "d2_books", "tokens": 75_000, "sequences": 1200, "epochs": 3.0},
    ],
}


def newer(step: int) -> dict[str, Any]:
    """What older runs did not write."""
    return {
        "skipped": int(step >= SPIKE), "workers": 2 if step < CHANGE else 1, "mfu": 0.41, "mfu_true": 0.35,
        "real_tokens_per_second": 4900.0,
    }  # fmt: skip


class RoundSummary(Write):
    """What a draw for another round came to."""


class Forgetting(Write):
    """Losses by when a sequence was last seen."""


class Inherit(Write):
    """What became of a larger model."""

    parent: Make | None = None


class Export(Write):
    """A trained model's files."""

    trained: Make


class SequenceLosses(Annotate):
    """A verdict by a trained model that keeps all; here for what it is made from."""

    sequences: Table
    trained: Make
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def prepare(self, files: Files) -> PartFunction:
        return lambda rows: pa.table([pa.nulls(len(rows), pa.string())], schema=self.writes)


def metrics(first_loss: float, step: int) -> dict[str, float]:
    noise = 0.15 * math.sin(step * 12.9898) * math.sin(step * 78.233)
    return {
        "step": step, "tokens": 256 * step, "loss": 2 + (first_loss - 2) / math.sqrt(1 + step / 20) + noise,
        "learning_rate": 3e-4 * min(1, step / 20), "grad_norm": 1.0, "tokens_per_second": 5000 + 100 * noise,
        "seconds": 0.05,
    }  # fmt: skip


class Evaluate(Make):
    models: tuple[Make, ...]
    results: dict[str, Any]

    def make(self, desk: Desk) -> dict[str, int]:
        (desk.folder / "results.json").write_text(json.dumps(self.results))
        return {"items": 1}


class HoldOut(Annotate):
    """Keeps all; here for its share."""

    docs: Table
    share: float
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def prepare(self, files: Files) -> PartFunction:
        return lambda docs: pa.table([pa.nulls(len(docs), pa.string())], schema=self.writes)


RESULTS = {
    "models": {
        "stage1": {
            "cloze": {"acc": 0.30, "acc_stderr": 0.02, "items": 400},
            "text": {"bits_per_byte": 1.9, "bits_per_byte_stderr": 0.01, "items": 50},
            "arc|easy": {"acc": 0.26, "acc_stderr": 0.03, "items": 200},
        },
        "stage2": {
            "cloze": {"acc": 0.50, "acc_stderr": 0.02, "items": 400},
            "text": {"bits_per_byte": 1.7, "bits_per_byte_stderr": 0.01, "items": 50},
            "arc|easy": {"acc": 0.31, "acc_stderr": 0.03, "items": 200},
        },
    },
    "chance": {"cloze": {"acc": 0.25}, "arc|easy": {"acc": 0.25}},
}


def synthesis(first: dict[str, Stage], good_every: int) -> dict[str, Stage]:
    """The branches d2 and d3 after d1."""
    d1 = first["d1"]
    assert isinstance(d1, Table)
    settings: dict[str, Any] = {"llm": "tiny_mistral", "max_tokens": 128, "temperature": 0.7, "good_every": good_every}
    asked = TextbookPrompts(docs=d1, templates=("story", "lesson", "letter", "essay", "course", "talk"))
    answers = Generate(label="generate_d2", prompts=asked, **settings)
    textbook = Textbook(prompts=asked, answers=answers)
    verify = Verify(label="verify_d2", docs=textbook, min_words=3)
    sound = Keep(label="sound_d2", docs=textbook, verdicts=(verify,))
    copies = Copies(label="copies_d2", docs=sound)
    leaks = Says(label="leaks_d2", docs=sound, phrases={"number 23 ": "leaked_ngram"}, with_detail=True)
    d2 = Keep(label="d2", docs=sound, verdicts=(copies, leaks))
    tasks = TaskPrompts(docs=d2, templates=("question",))
    task_answers = Generate(label="generate_d3", prompts=tasks, **{**settings, "good_every": 2})
    items = Tasks(prompts=tasks, answers=task_answers)
    verify_items = Verify(label="verify_d3", docs=items, min_words=3)
    d3 = Keep(label="d3", docs=items, verdicts=(verify_items,))
    return {stage.name: stage for stage in (asked, answers, textbook, sound, d2, tasks, d3, RuleItems(docs=d1))}


def build(first: dict[str, Stage], good_every: int = 12) -> dict[str, Stage]:
    """From d1 to scores."""
    made = synthesis(first, good_every)
    tables = [first["d1"], made["d2"], made["d3"]]
    packs = [Pack(label=f"pack_{t.name}", docs=t, sequence_tokens=64) for t in tables if isinstance(t, Table)]
    mix1 = Mixture(label="mix1", sources=tuple(packs[:1]), planned=(100,), actual=(100,))
    mix2 = Mixture(label="mix2", sources=tuple(packs), planned=(600, 300, 100), actual=(850, 40, 110))
    one = Pretrain(label="stage1", data=mix1, steps=300, first_loss=9.0)
    two = Pretrain(label="stage2", data=mix2, start=one, steps=1500, first_loss=4.0, mfu=0.41)
    scores = Evaluate(models=(one, two), results=RESULTS)
    d1 = first["d1"]
    assert isinstance(d1, Table)
    held = HoldOut(docs=d1, share=0.02)
    return {**made, **{stage.name: stage for stage in (*packs, mix1, mix2, one, two, scores, held)}}


def finish(first: dict[str, Stage], root: Path) -> None:
    """Run the second half."""
    later = build(first)
    engine.run(*(later[name] for name in ("evaluate", "rule_items", "hold_out")), root=str(root))
