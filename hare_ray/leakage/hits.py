"""All hits of a searched table, part by part: rows for hits.parquet, and their sums for the certificate.

    searched table (the columns of Decontaminate), document ids  ->  HITS rows, Tally

A hit is a row that names an item or has a reason; without a reason it is under the rule's threshold and was kept.
Stretches of parts are read in parallel, and nothing that grows with the corpus is held: a stretch leaves its rows in
the desk's lasting folder (what a Make puts aside would be among its files), and gives back counts, the names of items
and a few examples.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hare_ray.stage import Table
from hare_ray.store import Root

if TYPE_CHECKING:
    from hare_ray.gather import Desk

HITS = pa.schema(
    [
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("benchmark", pa.string()),
        pa.field("split", pa.string()),
        pa.field("item", pa.string()),
        pa.field("method", pa.string()),
        pa.field("overlap", pa.float32(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("document", pa.string()),
        pa.field("url", pa.string()),
        pa.field("snippet", pa.string()),
    ]
)
"""`document`: id in hexadecimal; `reason`: null where the row was kept; `overlap`: share of the row's n-grams."""

COLUMNS = ("leak_benchmark", "leak_split", "leak_item", "leak_method", "leak_overlap", "leak_snippet", "reason")
DOCUMENT = "leak_document"
"""Column of ids, where the searched table has its own."""

STRETCH_PARTS = 16
"""Parts looked at in one go."""

EXAMPLES = 3
"""Shown of each corpus and split."""


class Corpus(NamedTuple):
    """What was searched, under which name, and where the ids of its documents are."""

    name: str
    table: Table
    documents: Table | None
    """None: in the table itself."""


Whose = tuple[str, str]
"""Benchmark and split; two empty strings where no item is named."""


@dataclass
class Found:
    """Hits of one corpus in one split of a benchmark."""

    documents: int = 0
    removed: int = 0
    items: set[str] = field(default_factory=set)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Sum up; of the examples the first stay."""
        self.documents += other.documents
        self.removed += other.removed
        self.items |= other.items
        self.examples = (self.examples + other.examples)[:EXAMPLES]


@dataclass
class Tally:
    """Hits of one corpus."""

    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    found: dict[Whose, Found] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    """Names of the files with the rows, in order."""

    def add(self, other: Tally) -> None:
        """Sum up, in order."""
        self.rows += other.rows
        self.kept += other.kept
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        for whose, found in other.found.items():
            self.found.setdefault(whose, Found()).add(found)

    @property
    def hits(self) -> int:
        """Rows with a hit."""
        return sum(found.documents for found in self.found.values())

    @property
    def removed(self) -> int:
        """Rows with a reason."""
        return sum(found.removed for found in self.found.values())

    @property
    def below(self) -> int:
        """Rows with something in common that the rule keeps."""
        return self.hits - self.removed


@dataclass(frozen=True)
class Look:
    """Looks through a stretch of parts; travels to workers."""

    desk: Desk
    corpus: Corpus

    def __call__(self, stretch: range) -> Tally:
        """Sums of the stretch; its rows are left in the lasting folder."""
        tally, tables = Tally(), [HITS.empty_table()]
        for part in stretch:
            rows, hits = self._part(part)
            tally.add(tallied(hits))
            tally.rows += rows
            tables.append(hits)
        hits = pa.concat_tables(tables)
        if len(hits):
            buffer = io.BytesIO()
            pq.write_table(hits, buffer, compression="zstd")
            name = f"hits-{self.corpus.table.name}-{stretch.start:06d}"
            Root(self.desk.lasting).write(name, buffer.getvalue())
            tally.kept.append(name)
        return tally

    def _part(self, part: int) -> tuple[int, pa.Table]:
        """Rows of a part, and those with a hit as they go into hits.parquet."""
        corpus, own = self.corpus, self.corpus.documents is None
        leaks = self.desk.read(corpus.table, part, (*COLUMNS, *([DOCUMENT] if own else [])))
        hit = pc.or_(leaks.column("leak_item").is_valid(), leaks.column("reason").is_valid())
        places = pc.indices_nonzero(hit)
        rows, leaks = len(leaks), leaks.take(places)
        if not len(places):
            return rows, HITS.empty_table()
        url: pa.Array | pa.ChunkedArray = pa.nulls(len(places), pa.string())
        if corpus.documents is None:
            ids = leaks.column(DOCUMENT)
        else:
            wanted = [name for name in ("id", "url") if name in corpus.documents.schema().names]
            documents = self.desk.read(corpus.documents, part, wanted).take(places)
            ids, url = documents.column("id"), documents.column("url") if "url" in wanted else url
        names = [None if one is None else one.hex() for one in ids.to_pylist()]
        columns = [pa.array([corpus.name] * len(places)), *(leaks.column(name) for name in COLUMNS[:5])]
        columns += [leaks.column("reason"), pa.array(names, pa.string()), url, leaks.column("leak_snippet")]
        return rows, pa.table(columns, HITS.names).cast(HITS)


def tallied(hits: pa.Table) -> Tally:
    """Sums of some rows of hits."""
    tally = Tally()
    if not len(hits):
        return tally
    for reason, count in zip(*_counted(hits.column("reason").drop_null()), strict=True):
        tally.reasons[reason] = count
    groups = hits.group_by(["benchmark", "split"], use_threads=False).aggregate(
        [("corpus", "count"), ("reason", "count"), ("item", "distinct")]
    )
    for group in groups.to_pylist():
        items = {item for item in group["item_distinct"] if item is not None}
        whose = (group["benchmark"] or "", group["split"] or "")
        tally.found[whose] = Found(group["corpus_count"], group["reason_count"], items)
        same = pc.and_(_equal(hits, "benchmark", group), _equal(hits, "split", group))
        # What was removed is shown first.
        shown = hits.filter(same)
        removed = shown.filter(shown.column("reason").is_valid())
        kept = shown.filter(shown.column("reason").is_null())
        tally.found[whose].examples = pa.concat_tables([removed, kept]).slice(0, EXAMPLES).to_pylist()
    return tally


def _counted(column: pa.ChunkedArray) -> tuple[list[str], list[int]]:
    counts = column.combine_chunks().value_counts()
    return counts.field("values").to_pylist(), counts.field("counts").to_pylist()


def _equal(hits: pa.Table, name: str, group: dict[str, Any]) -> pa.ChunkedArray:
    column = hits.column(name)
    return column.is_null() if group[name] is None else pc.fill_null(pc.equal(column, group[name]), False)


def look_through(desk: Desk, corpora: Iterable[Corpus]) -> dict[str, Tally]:
    """The sums of every corpus, by name."""
    found = {}
    for corpus in corpora:
        parts = desk.parts(corpus.table)
        stretches = [range(first, min(first + STRETCH_PARTS, parts)) for first in range(0, parts, STRETCH_PARTS)]
        tally = Tally()
        for some in desk.map(Look(desk, corpus), stretches):
            tally.add(some)
        found[corpus.name] = tally
    return found


def write_hits(desk: Desk, tallies: Iterable[Tally], name: str) -> int:
    """Put the rows of all corpora into one file, a stretch at a time; returns how many."""
    rows = 0
    with pq.ParquetWriter(desk.folder / name, HITS, compression="zstd") as writer:
        for tally in tallies:
            for kept in tally.kept:
                hits = pq.read_table(io.BytesIO(Root(desk.lasting).read(kept))).cast(HITS)
                writer.write_table(hits)
                rows += len(hits)
    return rows
