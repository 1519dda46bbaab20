"""The way of the documents from the crawl to D1: rows of every base, what was dropped on the way, and examples.

    books.in + books.made = books.out + sum(books.dropped)     per base, from the manifests

Numbers come from the books, examples from the ledgers. Of every reason the dropped documents with the smallest ids
are shown; ids are hashes, so this is a fair sample that no layout of parts changes. A record outside the sample that
a run was asked for is no drop: nobody judged it, so it counts neither as crawled nor as dropped.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.report.lineage import chain, ledger_holders, origin
from hare_ray.report.reading import FINAL, Run

SHOWN = 5
"""Examples per reason."""

NOT_SAMPLED = "not_sampled"
"""Reason of the records outside the sample."""

LEDGER_ROWS_READ = 20_000_000
"""Per base; beyond it examples come from the parts read so far, which are parts like the others."""

LEAK_JUDGE = "decontaminate"
"""The stage whose verdict names a benchmark item in `detail`."""

LEAKS_LISTED = 200
"""Leaked documents listed with the item they hold."""


@dataclass(order=True)
class Example:
    """One dropped document."""

    id: bytes
    url: str = field(compare=False)
    detail: str | None = field(compare=False)
    snippet: str | None = field(compare=False)


@dataclass
class Drop:
    """What one reason took."""

    reason: str
    rows: int
    stages: tuple[str, ...]
    examples: list[Example]


@dataclass
class Step:
    """One base: what came in, what was dropped by reason, what went on; `rows_in` is without what is not sampled."""

    name: str
    kind: str
    rows_in: int
    rows_out: int
    characters: int | None
    drops: list[Drop]
    not_sampled: int = 0

    @property
    def sample(self) -> str | None:
        """What a sampled run took, in words; None where it took all."""
        records = self.rows_in + self.not_sampled
        return f"sample of {self.rows_in:,} of {records:,} records" if self.not_sampled else None

    @property
    def dropped(self) -> int:
        """Rows dropped for any reason."""
        return sum(drop.rows for drop in self.drops)


@dataclass
class Leak:
    """A document that held a benchmark item."""

    url: str
    reason: str
    item: str


@dataclass
class Ledgers:
    """What one reading of the ledgers gives."""

    samples: dict[str, dict[tuple[str, str], list[Example]]]
    """Base on disk -> (stage, reason) -> examples."""
    leaks: list[Leak]
    leaked: dict[str, int]
    """Benchmark -> documents dropped for it."""
    items: dict[str, set[str]]
    """Benchmark -> its items that were found."""


@dataclass
class Funnel:
    """All steps, and the source they start from. A Rebalance cuts parts anew and drops nothing: it is no step."""

    source: str
    steps: list[Step]
    ledgers: Ledgers
    missing: tuple[str, ...] = ()

    @property
    def crawled(self) -> int | None:
        """Records that the first base was read from, of those in the sample."""
        return self.steps[0].rows_in if self.steps else None

    @property
    def sample(self) -> str | None:
        """What a sampled run took, in words; None where it took all."""
        return self.steps[0].sample if self.steps else None

    @property
    def leaked(self) -> int | None:
        """Documents dropped for the benchmark items they held; None where nobody has looked."""
        drops = [drop for step in self.steps if step.name == "leak_free" for drop in step.drops]
        looked = any(step.name == "leak_free" for step in self.steps)
        return sum(drop.rows for drop in drops if LEAK_JUDGE in drop.stages) if looked else None


def funnel(run: Run) -> Funnel:
    """Follow the documents through the bases."""
    names = chain(run)
    ledgers = read_ledgers(run, ledger_holders(run, names))
    source = origin(run, names[0]) if names else None
    steps = [step(run, name, ledgers) for name in names if run.known[name]["kind"] != "rebalance"]
    return Funnel(source or "source", steps, ledgers, () if FINAL in names else (FINAL,))


def step(run: Run, name: str, ledgers: Ledgers) -> Step:
    """What one base took in and let go."""
    manifest, books = run.known[name], run.books(name)
    judges = {name, *manifest["inputs"].get("verdicts", ())}
    found: dict[str, dict[str, list[Example]]] = defaultdict(dict)
    for sample in ledgers.samples.values():
        for (stage, reason), examples in sample.items():
            if stage in judges:
                found[reason][stage] = examples
    drops = [
        Drop(reason, rows, tuple(sorted(found[reason])), sorted(itertools.chain(*found[reason].values()))[:SHOWN])
        for reason, rows in books.get("dropped", {}).items()
        if reason != NOT_SAMPLED
    ]
    not_sampled = books.get("dropped", {}).get(NOT_SAMPLED, 0)
    drops.sort(key=lambda drop: (-drop.rows, drop.reason))
    rows_out = run.rows(name) or 0
    rows_in = books["in"] + books["made"] - not_sampled if "in" in books else rows_out
    return Step(name, manifest["kind"], rows_in, rows_out, books.get("characters"), drops, not_sampled)


def read_ledgers(run: Run, bases: list[str]) -> Ledgers:
    """Examples by stage and reason, and the leaked documents, of the bases that are on disk."""
    ledgers = Ledgers({}, [], defaultdict(int), defaultdict(set))
    for base in bases:
        samples: dict[tuple[str, str], list[Example]] = defaultdict(list)
        read = 0
        for table in run.ledgers(base):
            keys = table.select(["stage", "reason"]).group_by(["stage", "reason"]).aggregate([]).to_pylist()
            for key in keys:
                if key["reason"] == NOT_SAMPLED:
                    continue
                match = pc.and_(pc.equal(table["stage"], key["stage"]), pc.equal(table["reason"], key["reason"]))
                rows = table.filter(match)
                mine = samples[key["stage"], key["reason"]]
                mine[:] = sorted(mine + _smallest(rows))[:SHOWN]
                if key["stage"] == LEAK_JUDGE:
                    _add_leaks(ledgers, rows, key["reason"])
            read += len(table)
            if read > LEDGER_ROWS_READ:
                break
        ledgers.samples[base] = dict(samples)
    return ledgers


def _smallest(rows: pa.Table) -> list[Example]:
    order = pc.sort_indices(rows["id"].cast(pa.binary()))[:SHOWN]
    return [
        Example(row["id"], row["url"], row["detail"], " ".join((row["snippet"] or "").split()) or None)
        for row in rows.take(order).to_pylist()
    ]


def _add_leaks(ledgers: Ledgers, rows: pa.Table, reason: str) -> None:
    """Count by benchmark and split; `detail` is benchmark/split/item."""
    for item, count in _counts(rows["detail"]).items():
        benchmark, split, name = item.split("/", 2)
        ledgers.leaked[f"{benchmark}/{split}"] += count
        ledgers.items[f"{benchmark}/{split}"].add(name)
    room = max(0, LEAKS_LISTED - len(ledgers.leaks))
    ledgers.leaks += [Leak(row["url"], reason, row["detail"] or "") for row in rows.slice(0, room).to_pylist()]


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    pairs: list[dict[str, Any]] = pc.value_counts(column.drop_null().combine_chunks()).to_pylist()
    return {pair["values"]: pair["counts"] for pair in pairs}
