"""The desk a Gather or Make works at: it reads finished tables and files, and writes its own.

A desk travels to workers (`desk.map`), so it holds only names and places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hare_ray.catalog import Catalog, commits, write_part
from hare_ray.manifest import Manifest, encode, folder, load
from hare_ray.schema import conform
from hare_ray.stage import Rebalance, Stage, Table
from hare_ray.store import Root
from hare_ray.work import characters, reasons

LASTING = "-lasting"
"""Ending of the folder beside a stage's own that outlives a killed run."""

Mapper = Callable[[Callable[[Any], Any], list[Any]], list[Any]]
"""Applies a function to every item, somewhere; results in order."""


@dataclass(frozen=True)
class Desk:
    """What a Gather or Make sees of the run."""

    stage: Stage
    root: Root
    catalog: Catalog
    mapper: Mapper
    folder: Path
    """A local folder of its own; what a Make leaves in it becomes its files."""
    earlier: tuple[Root, ...] = ()
    """Roots with folders of this stage's earlier recipes, whose answers it may take over (`hare_ray.earlier`)."""

    def parts(self, stage: Stage) -> int:
        """Number of parts of a finished table."""
        return len(self.catalog.rows(stage))

    def rows(self, stage: Stage) -> list[int]:
        """Rows of each part of a finished table."""
        return list(self.catalog.rows(stage))

    def read(self, stage: Stage, part: int, columns: Iterable[str] | None = None) -> pa.Table:
        """One part of a finished table."""
        return self.catalog.read(stage, part, tuple(columns) if columns is not None else None)

    def files(self, stage: Stage) -> Path:
        """The local folder with the files of a Source or Make."""
        return self.catalog.files(stage)

    def read_file(self, stage: Stage, name: str) -> bytes:
        """One file of a Source or Make; the others stay where they are."""
        return self.catalog.read_file(stage, name)

    def names(self, stage: Stage) -> tuple[str, ...]:
        """Names of the files of a Source or Make; a Source's folder may hold others that are not its."""
        return self.catalog.names(stage)

    def manifest(self, stage: Stage) -> Manifest:
        """The manifest of a finished input."""
        found = load(self.root, stage.name)
        if found is None:
            raise ValueError(f"{stage!r} is not finished; make it an input of {self.stage!r}")
        return found

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """`function` of every item, in parallel; results in the order of the items."""
        return self.mapper(function, list(items))

    def done(self) -> set[int]:
        """Parts that are written already, by a run that was stopped."""
        return set(commits(self.root, folder(self.stage)))

    def folder_url(self, stage: Stage) -> str:
        """Where the parts of a finished table lie: a path, or a URL."""
        where = self.catalog.places[stage.fingerprint]
        return f"{where.root.url.rstrip('/')}/{where.folder}"

    @property
    def lasting(self) -> str:
        """A path or URL below the root that outlives a killed run, until the stage is finished: for checkpoints."""
        return f"{self.root.url.rstrip('/')}/{folder(self.stage)}{LASTING}"

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes for later steps of the same stage; gone when it is done."""
        self.root.write(f"{folder(self.stage)}/scratch/{name}", data)

    def kept(self) -> tuple[str, ...]:
        """Names that `put` has kept, also in a run that was stopped."""
        return tuple(self.root.names(f"{folder(self.stage)}/scratch"))

    def get(self, name: str) -> bytes:
        """Bytes that `put` kept."""
        return self.root.read(f"{folder(self.stage)}/scratch/{name}")

    def write(self, part: int, table: pa.Table) -> None:
        """Write and commit one part."""
        assert isinstance(self.stage, Table)
        rows = conform(table, self.stage.schema(), repr(self.stage))
        written = write_part(self.root, self.stage, part, rows)
        books = {"rows": len(rows), "reasons": reasons(rows), **characters(rows), **self.stage.counts(rows)}
        commit = {**written, "ledger_rows": 0, "books": {self.stage.name: books}}
        self.root.write(f"{folder(self.stage)}/part-{part:05d}.json", encode(commit))


def check_aligned(desk: Desk) -> None:
    """Refuse an opinion whose parts do not match its base."""
    place = folder(desk.stage)
    expected = list(desk.catalog.rows(desk.stage.base))
    got = commits(desk.root, place)
    rows = [got[part]["rows"] for part in sorted(got)]
    if rows != expected:
        raise ValueError(f"{desk.stage!r} wrote parts of {rows} rows for a base of {expected}")


def groups(sizes: tuple[int, ...], part_bytes: int) -> list[list[int]]:
    """Neighbouring parts whose sizes add up to at most `part_bytes`; a larger one stands alone."""
    found: list[list[int]] = []
    filled = 0
    for part, size in enumerate(sizes):
        if not found or filled + size > part_bytes:
            found.append([])
            filled = 0
        found[-1].append(part)
        filled += size
    return found


def rebalance(desk: Desk) -> None:
    """Write the parts of a Rebalance: planned from the manifests, joined in order."""
    stage = desk.stage
    assert isinstance(stage, Rebalance)
    places = [desk.catalog.places[docs.fingerprint] for docs in stage.members]
    parts = [(number, part) for number, place in enumerate(places) for part in range(len(place.rows))]
    planned = groups(tuple(size for place in places for size in place.bytes), stage.part_bytes)
    rows = desk.map(_Join(desk), [(part, [parts[member] for member in some]) for part, some in enumerate(planned)])
    came = sum(sum(place.rows) for place in places)
    if sum(rows) != came:
        raise RuntimeError(f"{stage!r} wrote {sum(rows)} rows of {came}")


@dataclass(frozen=True)
class _Join:
    desk: Desk

    def __call__(self, item: tuple[int, list[tuple[int, int]]]) -> int:
        part, members = item
        stage = self.desk.stage
        assert isinstance(stage, Rebalance)
        tables = (self.desk.read(stage.members[number], member) for number, member in members)
        joined = pa.concat_tables([conform(table, stage.schema(), repr(stage)) for table in tables])
        self.desk.write(part, joined)
        return len(joined)
