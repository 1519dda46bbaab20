"""An index of given items, made without an engine, and documents to search with it."""

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hare_ray.leakage.decontaminate import Decontaminate
from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.leaks import Rule
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Make, Table

ITEMS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("benchmark", "split", "id", "question")),
        pa.field("choices", pa.list_(pa.string())),
        pa.field("answer", pa.string()),
    ]
)
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


def item(key: str, question: str | None, choices: tuple[str, ...] = (), answer: str | None = None, **other: str):
    names = {"benchmark": "exam", "split": "test", "id": key}
    return {**names, "question": question, "choices": list(choices), "answer": answer, **other}


def built(folder: Path, *groups: list[dict], row_group_size: int = 100, **numbers: Any):
    """The index over groups of items, its folder, and its books."""
    stages = {Given(label=f"given{i}"): folder / f"items{i}" for i in range(len(groups))}
    for place, rows in zip(stages.values(), groups, strict=True):
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, ITEMS), place / "items.parquet", row_group_size=row_group_size)
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
