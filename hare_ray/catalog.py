"""Where finished tables and files lie, in a form small enough to travel to every worker."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hare_ray.listing import splits
from hare_ray.manifest import Manifest, folder
from hare_ray.schema import LEDGER, SPLIT
from hare_ray.stage import PARQUET, Make, Source, Stage, Table
from hare_ray.storage import decoded, encoded
from hare_ray.store import Root, filesystem


@dataclass(frozen=True)
class Place:
    """A finished stage: its folder under a root, and the rows of each part (or the names of its files)."""

    root: Root
    folder: str
    rows: tuple[int, ...] = ()
    bytes: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    content: str = ""
    """Hashes of the files: what a copy of them is kept under."""
    storage: str = PARQUET
    """Of the parts of a table."""


def place(root: Root, manifest: Manifest) -> Place:
    """Where a manifest under `root` says the stage lies."""
    at = Root(manifest["location"]) if "location" in manifest else root
    rows = tuple(part["rows"] for part in manifest.get("parts", ()))
    sizes = tuple(part["bytes"] for part in manifest.get("parts", ()))
    files = tuple(entry["name"] for entry in manifest.get("files", ()))
    content = " ".join(entry.get("sha256", "") for entry in manifest.get("files", ()))
    storage = next((part["storage"] for part in manifest.get("parts", ()) if "storage" in part), PARQUET)
    return Place(at, f"{manifest['name']}/{manifest['fingerprint'][:12]}", rows, sizes, files, content, storage)


@dataclass
class Catalog:
    """Finished stages by fingerprint."""

    places: dict[str, Place] = field(default_factory=dict)

    def rows(self, stage: Stage) -> tuple[int, ...]:
        """Rows of each part of a finished table."""
        return self.places[stage.fingerprint].rows

    def read(self, stage: Stage, part: int, columns: tuple[str, ...] | None = None) -> pa.Table:
        """One part of a finished table, or some of its columns."""
        where = self.places[stage.fingerprint]
        try:
            return read_part(where, part, columns)
        except FileNotFoundError as error:
            raise ValueError(
                f"{where.root.url}/{part_name(where, part)} is gone, though the manifest says it is there; "
                f"make it again with --redo {stage.name}"
            ) from error

    def ledger(self, stage: Stage, part: int) -> pa.Table:
        """What one part of a finished base dropped."""
        where = self.places[stage.fingerprint]
        return read_ledger(where, part)

    def files(self, stage: Stage) -> Path:
        """The local folder with the files of a Source or a finished Make, but for those that it sets apart."""
        if isinstance(stage, Source):
            return Root(stage.resolved[0]).folder("", self.names(stage), stage.fingerprint)
        where = self.places[stage.fingerprint]
        apart = stage.apart if isinstance(stage, Make) else ()
        wanted = (name for name in where.files if not name.startswith(apart))
        return where.root.folder(where.folder, wanted, f"{where.folder} {where.content}")

    def read_file(self, stage: Stage, name: str) -> bytes:
        """One file of a Source or a finished Make."""
        if isinstance(stage, Source):
            return Root(stage.resolved[0]).read(name)
        where = self.places[stage.fingerprint]
        return where.root.read(f"{where.folder}/{name}")

    def names(self, stage: Stage) -> tuple[str, ...]:
        """Names of the files of a Source or a finished Make, below its folder. The folder may hold others."""
        if isinstance(stage, Source):
            return tuple(entry.name for entry in stage.resolved[1])
        return self.places[stage.fingerprint].files

    def splits(self, stage: Stage) -> list[pa.Table]:
        """One SPLIT table per part of a Source or Make; each file of a Make is a part."""
        if isinstance(stage, Source):
            return splits(*stage.resolved, stage.part_bytes)
        where = self.places[stage.fingerprint]
        base = f"{where.root.url}/{where.folder}"
        rows = [{"file": name, "path": f"{base}/{name}", "start": 0, "end": -1, "row": -1} for name in where.files]
        return [pa.Table.from_pylist([row], schema=SPLIT) for row in rows]


def part_name(where: Place, part: int) -> str:
    """Name under its root of one part of a table."""
    return f"{where.folder}/part-{part:05d}.{where.storage}"


@contextmanager
def _stored(where: Place, part: int) -> Iterator[Any]:
    """The bytes of one part of a table; FileNotFoundError where there is none."""
    name = part_name(where, part)
    if where.root.local is not None:
        with pa.memory_map(str(where.root.local / name)) as file:
            yield file
        return
    fs, path = filesystem(where.root.url)
    with fs.open(f"{path}/{name}", "rb") as file:
        yield file


@contextmanager
def opened(where: Place, part: int) -> Iterator[pq.ParquetFile]:
    """One part of a table in Parquet, to read columns or the footer of."""
    with _stored(where, part) as file:
        yield pq.ParquetFile(file)


def read_part(where: Place, part: int, columns: Sequence[str] | None = None) -> pa.Table:
    """One part of a finished table by place; of `columns`, those that exist, and only these are read."""
    with _stored(where, part) as file:
        return decoded(file, where.storage, columns)


def read_ledger(where: Place, part: int) -> pa.Table:
    """The ledger of one part; empty where nothing was dropped."""
    try:
        return pq.read_table(io.BytesIO(where.root.read(f"{where.folder}/ledger-{part:05d}.parquet")))
    except FileNotFoundError:
        return LEDGER.empty_table()


def write_part(root: Root, stage: Table, part: int, rows: pa.Table) -> dict[str, Any]:
    """Write the rows of one part; what its commit says of them."""
    storage, data = encoded(stage, rows)
    root.write(f"{folder(stage)}/part-{part:05d}.{storage}", data)
    return {
        "rows": len(rows),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "storage": storage,
    }


def commits(root: Root, folder: str) -> dict[int, dict[str, Any]]:
    """The committed parts of a stage in progress, by number."""
    names = [n for n in root.names(folder) if n.startswith("part-") and n.endswith(".json")]
    return {int(name[5:-5]): json.loads(root.read(f"{folder}/{name}")) for name in names}
