"""What must not be in the training text: the n-grams of benchmark items, with a statement of what is covered.

    items: folders of .jsonl and .jsonl.gz files, one item a line; the file's stem names the benchmark
    ->  keys.npy, owners.npy               n-gram hashes, sorted, and the first item each occurs in
        short_keys.npy, short_owners.npy   hashes of whole short questions
        short_anchors.npy                  hashes of their first min_words words
        short_lengths.npy                  lengths that occur among them
        items.parquet                      benchmark, id, words, method: row = item number
        coverage.json, unchecked.jsonl     per benchmark how items are checked; those that are not, and why
        settings.json                      ngram, min_words

An item's question is its first of `text_fields` that holds text; its joined text is all of them, in that
order, so that options printed behind the question are covered too. Nested lists and objects count in order;
in an object of text -> number (targets) the keys are the text. Compared are folded words (`hare_ray.text`),
so case, punctuation, markup and line breaks make no difference. Methods, by the words of the question:

    ngram        at least `ngram`: n-grams of the joined text, which include those of the question
    short_exact  `min_words` to ngram - 1: the whole question in a row; n-grams of the joined text as well
    joined       fewer, but the joined text has n-grams: found only together with its options
    unchecked    fewer, and no n-grams: listed as `too_short`, since silence would claim too much
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hare_ray.stage import Make, Stage

if TYPE_CHECKING:
    from hare_ray.gather import Desk

NGRAM, SHORT_EXACT, JOINED, UNCHECKED = "ngram", "short_exact", "joined", "unchecked"
METHODS = (NGRAM, SHORT_EXACT, JOINED, UNCHECKED)

TOO_SHORT = "too_short"


class Item(NamedTuple):
    """One line of a benchmark."""

    benchmark: str
    id: str
    question: str
    joined: str


def texts_in(value: Any) -> Iterator[str]:
    """All strings of a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from [key] if isinstance(item, (int, float)) else texts_in(item)


def item_files(paths: list[Path]) -> list[tuple[str, Path]]:
    """Benchmark and file of every file of items among `paths`, in order; refuses equal names, and none."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            name = path.name.removesuffix(".gz").removesuffix(".jsonl")
            if name in found:
                raise ValueError(
                    f"given two benchmarks called {name!r} ({found[name]}, {path}), expected one; rename a file"
                )
            found[name] = path
    if not found:
        raise ValueError(
            f"given no .jsonl or .jsonl.gz file among {[p.name for p in paths[:5]]}, expected benchmarks; "
            "check the sources"
        )
    return list(found.items())


def read_items(benchmark: str, path: Path, fields: tuple[str, ...]) -> Iterator[Item]:
    """The items of a file; an item without `id` goes by its line number."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            record = json.loads(line)
            texts = ["\n".join(texts_in(record[name])) for name in fields if name in record]
            texts = [text for text in texts if text.strip()]
            if not texts:
                raise ValueError(
                    f"{path.name}, line {number}: given fields {sorted(record)}, expected text in one of "
                    f"{fields}; add the benchmark's field to `text_fields`"
                )
            yield Item(benchmark, str(record.get("id", number)), texts[0], "\n".join(texts))


@dataclass
class _Hashes:
    """Keys and item numbers, gathered batch by batch."""

    keys: list[NDArray[np.uint64]] = field(default_factory=list)
    owners: list[NDArray[np.int32]] = field(default_factory=list)

    def add(self, keys: NDArray[np.uint64], owners: NDArray[np.int64]) -> None:
        self.keys.append(keys)
        self.owners.append(owners.astype(np.int32))

    def save(self, folder: Path, keys_name: str, owners_name: str | None) -> None:
        """Sorted and unique; a key belongs to the first item it occurs in."""
        keys = np.concatenate([np.empty(0, np.uint64), *self.keys])
        owners = np.concatenate([np.empty(0, np.int32), *self.owners])
        unique, first = np.unique(keys, return_index=True)
        np.save(folder / keys_name, unique)
        if owners_name is not None:
            np.save(folder / owners_name, owners[first])


class LeakIndex(Make):
    """The n-grams and short questions of benchmarks."""

    items: tuple[Stage, ...]
    """Sources and Makes with files of items."""
    text_fields: tuple[str, ...]
    """Names of the text fields to look at, the question's first."""
    ngram: int
    min_words: int
    """Shorter questions mean nothing by themselves and are listed as unchecked."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 1 <= self.min_words <= self.ngram:
            raise ValueError(f"{self!r}: given min_words={self.min_words}, expected 1 to ngram={self.ngram}")

    def make(self, desk: Desk) -> dict[str, int]:
        """Read all items, write the files; returns how many items and files there were."""
        grams, shorts, anchors = _Hashes(), _Hashes(), _Hashes()
        lengths: set[int] = set()
        rows: list[pa.Table] = []
        count = 0
        files = item_files([desk.files(stage) / name for stage in self.items for name in sorted(desk.names(stage))])
        for benchmark, path in files:
            items = list(read_items(benchmark, path, self.text_fields))
            rows.append(self._add(items, count, (grams, shorts, anchors), lengths))
            count += len(items)
        grams.save(desk.folder, "keys.npy", "owners.npy")
        shorts.save(desk.folder, "short_keys.npy", "short_owners.npy")
        anchors.save(desk.folder, "short_anchors.npy", None)
        np.save(desk.folder / "short_lengths.npy", np.array(sorted(lengths), np.int64))
        pq.write_table(pa.concat_tables(rows).combine_chunks(), desk.folder / "items.parquet")
        settings = {"min_words": self.min_words, "ngram": self.ngram}
        (desk.folder / "settings.json").write_text(json.dumps(settings) + "\n")
        _write_coverage(desk.folder, [benchmark for benchmark, _ in files], rows)
        return {"files": len(files), "items": count}

    def _add(
        self, items: list[Item], first: int, into: tuple[_Hashes, _Hashes, _Hashes], lengths: set[int]
    ) -> pa.Table:
        """Hash the items, which are numbered from `first` on; the rows of items.parquet."""
        from hare_ray.text import ngram_hashes, words_of

        grams, shorts, anchors = into
        numbers = np.arange(len(items)) + first
        joined = words_of(pa.array([item.joined for item in items], pa.large_string()))
        offsets, hashes = ngram_hashes(joined, self.ngram)
        grams.add(hashes, np.repeat(numbers, np.diff(offsets)))

        question = words_of(pa.array([item.question for item in items], pa.large_string()))
        short = (question.lengths >= self.min_words) & (question.lengths < self.ngram)
        offsets, hashes = ngram_hashes(question, self.min_words)
        anchors.add(hashes[offsets[:-1][short]], numbers[short])
        for length in np.unique(question.lengths[short]).tolist():
            chosen = question.lengths == length
            offsets, hashes = ngram_hashes(question, length)
            shorts.add(hashes[offsets[:-1][chosen]], numbers[chosen])
            lengths.add(length)
        method = np.select(
            [question.lengths >= self.ngram, short, joined.lengths >= self.ngram], METHODS[:3], UNCHECKED
        )
        return pa.table(
            {
                "benchmark": pa.array([item.benchmark for item in items], pa.string()),
                "id": pa.array([item.id for item in items], pa.string()),
                "words": question.lengths.astype(np.int32),
                "method": pa.array(method.tolist(), pa.string()),
            }
        )


def _write_coverage(folder: Path, benchmarks: list[str], tables: list[pa.Table]) -> None:
    """Per benchmark, also one without items, the items by method; one line for every item that nothing checks."""
    coverage = {benchmark: {"items": 0, **dict.fromkeys(METHODS, 0)} for benchmark in benchmarks}
    lines = []
    for table in tables:
        for row in table.to_pylist():
            counts = coverage[row["benchmark"]]
            counts["items"] += 1
            counts[row["method"]] += 1
            if row["method"] == UNCHECKED:
                unchecked = {key: row[key] for key in ("benchmark", "id", "words")} | {"reason": TOO_SHORT}
                lines.append(json.dumps(unchecked, sort_keys=True, ensure_ascii=False) + "\n")
    (folder / "coverage.json").write_text(json.dumps(coverage, sort_keys=True, indent=1) + "\n")
    (folder / "unchecked.jsonl").write_text("".join(lines), encoding="utf-8")
