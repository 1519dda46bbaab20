"""Benchmarks as data: every item that a model will be judged by, its question, choices and answer apart.

    files   .jsonl, .jsonl.gz and .parquet files; the name says benchmark and split (`hare_ray.priors.benchmarks`),
            a field `split` says it where the name does not
    tasks   by lm-eval's names, all splits that hold documents
    ->      items.parquet   benchmark, split, id, question   string
                            choices   list<string>   options, or a worked solution
                            answer    string         the text of the right one, null where it is withheld
                            context   string         the passage that the question is about, null where there is none
                            metadata `without_items`: benchmark and split of files that hold none, as JSON

Items stand as they came: the files in order of their names, then the tasks. None is left out: what no form reads
(`hare_ray.leakage.forms`) and what is broken is an error with file and line. Benchmark, split and id name an item; one
without an id goes by its number in its split, and where an id comes twice the number is added. Two files that claim
the same split of a benchmark are refused, but for the shards of one.

Documents of an lm-eval task are read by the same forms, as what a page would quote is the bare question and not the
prompt around it; where none fits, question, choices and answer are what the task's own templates make of it. The
members of a group, such as mmlu, count as splits of it do: the benchmark is what was asked for, ids begin with the
member's name.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hare_ray.leakage.forms import Parsed, Record, reader
from hare_ray.priors.benchmarks import ENDINGS, EVERY_SPLIT, Form, named
from hare_ray.stage import Make, Stage

if TYPE_CHECKING:
    from hare_ray.gather import Desk

ITEMS = "items.parquet"

SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("choices", pa.list_(pa.string()), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("context", pa.string()),
    ]
)

WITHOUT_ITEMS = "without_items"

BATCH_ITEMS = 1 << 14
"""Items held at a time, and in a row group."""


class Placed(NamedTuple):
    """An item before it has its final id, and what it came from."""

    benchmark: str
    split: str
    source: str
    parsed: Parsed
    prefix: str


class Benchmarks(Make):
    """Items of benchmarks, whatever their layout."""

    files: tuple[Stage, ...]
    """Sources or Makes with files of items."""
    tasks: tuple[str, ...]
    """Names of lm-eval tasks and groups; they load from the Hugging Face hub or its cache."""
    forms: tuple[Form, ...]
    """How records are laid out, in the order in which they are tried."""

    code: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse to check against nothing, and one thing twice."""
        if not self.files and not self.tasks:
            raise ValueError(f"{self!r}: given neither files nor tasks, expected what the model will be judged by")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"{self!r}: given tasks {self.tasks}, expected each once")

    def required_packages(self) -> tuple[str, ...]:
        """lm-eval, where tasks are named."""
        return ("datasets", "lm_eval") if self.tasks else ()

    def make(self, desk: Desk) -> dict[str, int]:
        """Read all items, write them down; returns how many, and of how many files and tasks."""
        named_files = [(stage, name) for stage in self.files for name in sorted(desk.names(stage))]
        taken = [(stage, name) for stage, name in named_files if name.endswith(ENDINGS)]
        for stage in self.files:
            if not any(of is stage for of, _ in taken):
                raise ValueError(
                    f"{self!r}: given {stage!r} with {desk.names(stage)[:5]}, expected files that end in "
                    f"{' or '.join(ENDINGS)}; convert them, or leave it out"
                )
        identities = Identities()
        with pq.ParquetWriter(desk.folder / ITEMS, SCHEMA, compression="zstd") as writer:
            rows = (identities.row(item) for item in self._items(desk, taken))
            while some := list(islice(rows, BATCH_ITEMS)):
                writer.write_table(pa.Table.from_pylist(some, schema=SCHEMA))
            read = {benchmark for benchmark, _, _ in identities.numbers}
            empty = {split for stage, name in taken if (split := named(name, otherwise=stage.name))[0] not in read}
            writer.add_key_value_metadata({WITHOUT_ITEMS: json.dumps(sorted(empty))})
        items = sum(identities.numbers.values())
        if not items:
            raise ValueError(f"{self!r}: given {[name for _, name in taken]} without one item, expected some")
        left = len(named_files) - len(taken)
        return {"items": items, "files": len(taken), "other_files": left, "tasks": len(self.tasks)}

    def _items(self, desk: Desk, taken: list[tuple[Stage, str]]) -> Iterator[Placed]:
        read = reader(self.forms)
        for stage, name in taken:
            benchmark, split = named(name, otherwise=stage.name)
            for line, record in records(desk.files(stage) / name, name):
                own = record.get("split") if split == EVERY_SPLIT else None
                said = own if isinstance(own, str) and own else split
                parsed = read(record, f"{name}, line {line}")
                yield Placed(benchmark, said, f"{stage.name}/{without_shard(name)}", parsed, "")
        if self.tasks:
            from hare_ray.leakage.lm_tasks import documents

            for found in documents(self.tasks, self.forms):
                prefix = "" if found.member == found.task else f"{found.member}-"
                yield Placed(found.task, found.split, f"task {found.member}", found.parsed, prefix)


@dataclass
class Identities:
    """Names of items that were given away, and who gives items to which split."""

    numbers: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Items so far, by benchmark, split and prefix."""
    used: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    claimed: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def row(self, item: Placed) -> Record:
        """The item with an id that no other of its split has."""
        whose = (item.benchmark, item.split, item.prefix)
        if self.claimed.setdefault(whose, item.source) != item.source:
            raise ValueError(
                f"given two sources of {item.benchmark}, split {item.split} ({self.claimed[whose]}, {item.source}), "
                "expected one; rename a file, or leave one out"
            )
        number = self.numbers[whose] = self.numbers.get(whose, 0) + 1
        used = self.used.setdefault((item.benchmark, item.split), set())
        own = item.parsed.id
        name = f"{item.prefix}{number if own is None else own}"
        if name in used:
            name = f"{name}#{number}"
        if name in used:
            raise ValueError(
                f"given two items {name!r} in {item.benchmark}, split {item.split}, expected ids that differ; "
                f"correct those of {item.source}"
            )
        used.add(name)
        parsed = item.parsed
        return {
            "benchmark": item.benchmark,
            "split": item.split,
            "id": name,
            "question": parsed.question,
            "choices": parsed.choices,
            "answer": parsed.answer,
            "context": parsed.context,
        }


def without_shard(name: str) -> str:
    """The name that the shards of one file share."""
    path = Path(name)
    return "/".join([*path.parent.parts, *named(path.name)])


def records(path: Path, name: str) -> Iterator[tuple[int, Record]]:
    """Line (or row) and object of every item of a file."""
    found = _rows(path, name) if name.endswith(".parquet") else _lines(path, name)
    for line, record in found:
        if not isinstance(record, dict):
            raise ValueError(f"{name}, line {line}: given {record!s:.80}, expected a JSON object; correct the line")
        yield line, record


def _lines(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    opened = gzip.open if name.endswith(".gz") else Path.open
    line = 0
    try:
        with opened(path, "rb") as lines:
            for line, data in enumerate(lines, 1):
                if data.strip():
                    yield line, _decoded(data, f"{name}, line {line}")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{name}: given a file that is damaged after line {line} ({error}); bring it back") from error


def _decoded(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise ValueError(f"{where}: given {data[:60]!r}, expected JSON ({error}); correct the line") from error


def _rows(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name}: given a file that is no Parquet ({error}); bring it back") from error
    with file:
        rows = (row for batch in file.iter_batches(BATCH_ITEMS) for row in batch.to_pylist())
        yield from enumerate(rows, 1)
