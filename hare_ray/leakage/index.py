"""What must not be in the training text: benchmark items, hashed for the search, with a statement of what is covered.

    benchmarks: Makes with items.parquet (benchmark, split, id, question, choices, answer; context, if there is one)
    ->  gram_*.npy, gram_owners.npy    keys of the n-grams of all forms, and one item for each
        anchor_*.npy                   short rare grams: the only thing that is looked for at every word of a text
        short_*.npy                    whole forms shorter than an n-gram, by anchor
        question_*.npy                 questions to be aligned with text, by anchor (`hare_ray.leakage.reworded`)
        items.parquet                  benchmark, split, id, words, method, reworded (bool); row = item number
        coverage.json                  {benchmark: {split: {"items": n, method: n, ...}}}
        unchecked.jsonl                benchmark, split, id, words, reason: what no exact search finds
        settings.json

Compared are folded words, so case, punctuation, markup and line breaks make no difference; the forms in which an item
may stand in a text: `hare_ray.leakage.phrasings`. An n-gram that several items have names one of them only. Items are
read in batches of BATCH_ITEMS; of the first batch that has the n-gram it is an item with it in the question, else in
the question with choices, else with answer, passage, listing; of equals the first. So hits by benchmark are a lower
bound where items share text. Methods, by the words of the question, without the passage it may be about:

    ngram        at least `ngram`: n-grams of all forms
    short_exact  fewer, but at least `min_words` and `min_weight`: the whole question in a row
    joined       not even that, but a form with choices, answer or passage is long enough: found only with these
    unchecked    nothing is long enough (`too_short`) or rare enough (`too_common`): silence would claim too much

`min_weight` is the information that a text shorter than n words needs (`hare_ray.leakage.anchors`): "what is the
capital of France" is worth looking for, "which of the following is true" stands everywhere. Whatever its method, a
question of `reworded_weight` is also looked for reworded; one with less goes with its choices if that is enough. A
passage is looked for by itself, both whole and reworded, as a question is; `reworded` is true of an item with either.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hare_ray.leakage.phrasings import METHODS, UNCHECKED, Item, entire
from hare_ray.stage import Make, Stage

if TYPE_CHECKING:
    from hare_ray.gather import Desk

TOO_SHORT, TOO_COMMON = "too_short", "too_common"

BATCH_ITEMS = 4096

ROWS = pa.schema(
    [
        pa.field("benchmark", pa.string()),
        pa.field("split", pa.string()),
        pa.field("id", pa.string()),
        pa.field("words", pa.int32()),
        pa.field("method", pa.string()),
    ]
)


def _batches(desk: Desk, benchmarks: tuple[Stage, ...]) -> Iterator[list[Item]]:
    for stage in benchmarks:
        with pq.ParquetFile(desk.files(stage) / "items.parquet") as file:
            columns = [name for name in Item._fields if name in file.schema_arrow.names]
            for batch in file.iter_batches(BATCH_ITEMS, columns=columns):
                rows = batch.to_pylist()
                for row in rows:
                    row["question"], row["choices"] = row["question"] or "", row["choices"] or []
                yield [Item(**row) for row in rows]


class LeakIndex(Make):
    """Benchmark items, hashed for the search."""

    benchmarks: tuple[Stage, ...]
    """Makes with items.parquet."""
    ngram: int
    min_words: int
    min_weight: float
    """Of a form shorter than an n-gram, in words that occur in one item only."""
    anchor_words: int
    """Words of an anchor: three to five."""
    anchors_per_question: int
    anchor_weight: float
    """Of a question's anchor: lighter grams stand in every other text. In the same unit as `min_weight`."""
    reworded_weight: float
    """Of a question that is looked for reworded, in the same unit as `min_weight`."""

    code: ClassVar[int] = 3
    imports: ClassVar[tuple[str, ...]] = ("numba",)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 1 <= self.anchor_words <= self.min_words <= self.ngram:
            raise ValueError(
                f"{self!r}: given anchor_words={self.anchor_words}, min_words={self.min_words}, ngram={self.ngram}; "
                "expected 1 <= anchor_words <= min_words <= ngram, since every text is looked for by an anchor in it"
            )
        if self.anchors_per_question < 1 or self.min_weight < 0 or self.reworded_weight <= 0:
            raise ValueError(
                f"{self!r}: given anchors_per_question={self.anchors_per_question}, min_weight={self.min_weight}, "
                f"reworded_weight={self.reworded_weight}; expected at least 1, at least 0, and more than 0"
            )

    def make(self, desk: Desk) -> dict[str, int]:
        """Read all items twice, for the weights of words and for the search; returns items by method."""
        from hare_ray.leakage.anchors import Weights
        from hare_ray.leakage.build import Builder, Settings, words_in

        weights = Weights.none()
        for items in _batches(desk, self.benchmarks):
            words = words_in([entire(item) for item in items])
            weights = weights.plus(words.hashes, words.offsets)
        settings = Settings(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)})
        builder = Builder(settings, weights)
        rows = [_rows(items, *builder.add(items)) for items in _batches(desk, self.benchmarks)]
        reworded = builder.save(desk.folder)
        found = pa.concat_tables([ROWS.empty_table(), *rows]).combine_chunks()
        found = found.append_column("reworded", pa.array(reworded))
        pq.write_table(found, desk.folder / "items.parquet")
        empty = [split for stage in self.benchmarks for split in _without_items(desk.files(stage) / "items.parquet")]
        _write_coverage(desk.folder, found, self.min_words, empty)
        (desk.folder / "settings.json").write_text(json.dumps(dataclasses.asdict(settings), sort_keys=True) + "\n")
        methods = found.column("method").to_pylist()
        counts = {method: methods.count(method) for method in METHODS}
        return {"items": len(found), **counts, "reworded": int(reworded.sum())}


def _rows(items: list[Item], method: list[str], words: NDArray[np.int32]) -> pa.Table:
    """Rows of items.parquet, without what only shows when all items are known."""
    names = [pa.array([getattr(item, name) for item in items], pa.string()) for name in ROWS.names[:3]]
    return pa.table([*names, pa.array(words), pa.array(method, pa.string())], schema=ROWS)


def _without_items(path: Path) -> list[tuple[str, str]]:
    """Benchmark and split of what was read and holds no item, as the metadata of items.parquet may tell."""
    told = (pq.read_metadata(path).metadata or {}).get(b"without_items", b"[]")
    return [(benchmark, split) for benchmark, split in json.loads(told)]


def _write_coverage(folder: Path, items: pa.Table, min_words: int, empty: list[tuple[str, str]]) -> None:
    """Per benchmark and split the items by method, also where there are none; a line for every item left unchecked."""
    none = {"items": 0, **dict.fromkeys(METHODS, 0)}
    coverage: dict[str, dict[str, dict[str, int]]] = {}
    for benchmark, split in empty:
        coverage.setdefault(benchmark, {})[split] = dict(none)
    lines = []
    for row in items.to_pylist():
        splits = coverage.setdefault(row["benchmark"], {})
        counts = splits.setdefault(row["split"], dict(none))
        counts["items"] += 1
        counts[row["method"]] += 1
        if row["method"] == UNCHECKED:
            reason = TOO_SHORT if row["words"] < min_words else TOO_COMMON
            unchecked = {name: row[name] for name in ("benchmark", "split", "id", "words")} | {"reason": reason}
            lines.append(json.dumps(unchecked, sort_keys=True, ensure_ascii=False) + "\n")
    (folder / "coverage.json").write_text(json.dumps(coverage, sort_keys=True, indent=1) + "\n")
    (folder / "unchecked.jsonl").write_text("".join(lines), encoding="utf-8")
