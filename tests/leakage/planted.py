"""An index of given items, made without an engine, and documents to search with it."""

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hare_ray.leakage.decontaminate import Decontaminate
from hare_ray.leakage.forms import reader
from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.leaks import Rule
from hare_ray.priors.benchmarks import load_benchmark_forms
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Make, Table

ITEMS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("benchmark", "split", "id", "question")),
        pa.field("choices", pa.list_(pa.string())),
        pa.field("answer", pa.string()),
        pa.field("context", pa.string()),
    ]
)
READ = reader(load_benchmark_forms())
NUMBERS: dict[str, Any] = {
    "ngram": 13,
    "min_words": 4,
    "min_weight": 3.0,
    "anchor_words": 3,
    "anchors_per_question": 10,
    "anchor_weight": 1.0,
    "reworded_weight": 6.0,
}
WEB = Rule(min_hits=1, max_overlap=0.0, reworded_share=0.7)


class Documents(Table):
    writes = DOCUMENT


class Given(Make):
    """Files that exist already; the fingerprint does not matter here."""


def record(question: str | None, choices: tuple[str, ...], answer: str | None, context: str | None) -> dict[str, Any]:
    """As a benchmark would write it down: RACE, SQuAD, WinoGrande, MMLU, or question and answer."""
    if context is not None and choices:
        return {"article": context, "question": question, "options": list(choices), "answer": answer}
    if context is not None:
        return {"context": context, "question": question, "answers": {"text": [answer] if answer else []}}
    if question and "_" in question and len(choices) == 2:
        place = str(choices.index(answer) + 1) if answer else ""
        return {"sentence": question, "option1": choices[0], "option2": choices[1], "answer": place}
    return {"question": question, "answer": answer, **({"choices": list(choices)} if choices else {})}


def item(
    key: str,
    question: str | None,
    choices: tuple[str, ...] = (),
    answer: str | None = None,
    context: str | None = None,
    **other: str,
) -> dict[str, Any]:
    """A row of items.parquet, as the product's own reader has it."""
    parsed = READ(record(question, choices, answer, context), f"item {key}")
    names = {"benchmark": "exam", "split": "test", "id": key, **other}
    told = {"question": None if question is None else parsed.question, "choices": parsed.choices}
    return {**names, **told, "answer": parsed.answer, "context": parsed.context}


def built(folder: Path, *groups: list[dict], row_group_size: int = 100, **numbers: Any):
    """The index over groups of items, its folder, and its books."""
    stages = {Given(label=f"given{i}"): folder / f"items{i}" for i in range(len(groups))}
    for place, rows in zip(stages.values(), groups, strict=True):
        place.mkdir(parents=True)
        schema = pa.schema([field for field in ITEMS if not rows or field.name in rows[0]])
        pq.write_table(pa.Table.from_pylist(rows, schema), place / "items.parquet", row_group_size=row_group_size)
    index = LeakIndex(benchmarks=tuple(stages), **{**NUMBERS, **numbers})
    out = folder / "index"
    out.mkdir()
    desk: Any = SimpleNamespace(stage=index, folder=out, files=lambda stage: stages[stage])
    return index, out, index.make(desk)


def checked(made: tuple[LeakIndex, Path], texts: Sequence[str | None], rule: Rule = WEB) -> list[dict[str, Any]]:
    """Verdicts on texts by an index and the files in its folder."""
    index, out = made
    stage = Decontaminate(docs=Documents(), index=index, rule=rule)
    table = stage.prepare(lambda stage: out)(pa.table({"text": pa.array(texts, pa.large_string())}))
    assert table.schema == stage.schema() and len(table) == len(texts)
    return table.to_pylist()


def unrelated(count: int = 400, seed: int = 0) -> str:
    draw = random.Random(seed)
    return " ".join(f"word{draw.randrange(5000)}" for _ in range(count))
