"""A finished or half-finished run, read by the names of its stages.

The recipe is not at hand when a report is made, only the directory: manifests say what was done, and parts, ledgers
and files are read by name, a part at a time, so memory does not grow with the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hare_ray.catalog import place, read_ledger, read_part
from hare_ray.inspect import finished
from hare_ray.manifest import Manifest, recorded
from hare_ray.schema import LEDGER
from hare_ray.store import Root, filesystem

FINAL = "d1"
"""Name of the base that is trained on."""


@dataclass(frozen=True)
class Run:
    """The manifests under a root and what they lead to."""

    root: Root
    manifests: dict[str, Manifest]

    @classmethod
    def of(cls, url: str) -> Run:
        """The run in the directory `url`; ValueError where nothing is finished there."""
        root = Root(url if "://" in url else str(Path(url).absolute()))
        manifests = finished(root)
        if not manifests:
            raise ValueError(f"given {url!r}, expected the directory of a run with a finished stage; check --root")
        return cls(root, manifests)

    @cached_property
    def known(self) -> dict[str, Manifest]:
        """Every recorded stage by name, also those that ran inside a pass and were not written."""
        return recorded(self.manifests)

    @cached_property
    def order(self) -> list[str]:
        """Names of the recorded stages, inputs before users, each close to its user; what D1 needs comes first."""
        used = {parent for name in self.known for parent in self.parents(name)}
        last = sorted((set(self.known) - used) | ({FINAL} & set(self.known)), key=lambda name: (name != FINAL, name))
        found: list[str] = []
        stack = [(name, False) for name in reversed(last)]
        while stack:
            name, ready = stack.pop()
            if ready:
                found.append(name)
            elif name in self.known and name not in found:
                stack.append((name, True))
                stack.extend((parent, False) for parent in reversed(self.parents(name)) if parent not in found)
        return list(dict.fromkeys(found))

    def parents(self, name: str) -> list[str]:
        """Names of the inputs of a recorded stage."""
        return [parent for names in self.known[name]["inputs"].values() for parent in names]

    def class_of(self, name: str) -> str:
        """Class of a recorded stage."""
        return self.known[name]["recipe"]["class"]

    def of_class(self, *classes: str) -> list[str]:
        """Names of the recorded stages of these classes, inputs before users."""
        return [name for name in self.order if self.class_of(name) in classes]

    def given(self, name: str) -> dict[str, Any]:
        """The fields of a recorded stage, as its recipe has them."""
        return self.known[name]["recipe"]["fields"]

    def owner(self, name: str) -> Manifest:
        """The manifest that a recorded stage is found in: its own, or that of its pass."""
        if name in self.manifests:
            return self.manifests[name]
        return next(m for m in self.manifests.values() if any(x["name"] == name for x in m.get("members", ())))

    def books(self, name: str) -> dict[str, Any]:
        """The books of a recorded stage; empty where it keeps none."""
        return self.known.get(name, {}).get("books", {})

    def rows(self, name: str) -> int | None:
        """Rows of a recorded table, or None where there is no such table."""
        books = self.books(name)
        if self.parts(name):
            return sum(part["rows"] for part in self.manifests[name]["parts"])
        found = books.get("out", books.get("rows"))
        return found if self.known.get(name, {}).get("kind") not in (None, "make") else None

    def parts(self, name: str) -> int:
        """Number of parts of a table on disk; 0 where it was not written."""
        return len(self.manifests.get(name, {}).get("parts", ()))

    def missing(self, *names: str) -> tuple[str, ...]:
        """Those of the names that are not on disk."""
        return tuple(name for name in names if name not in self.manifests)

    def read(self, name: str, part: int, columns: list[str]) -> pa.Table:
        """Some columns of one part of a table on disk."""
        return read_part(place(self.root, self.manifests[name]), part, columns)

    def ledgers(self, name: str) -> Iterator[pa.Table]:
        """The ledger of every part of a base on disk that dropped something."""
        for part, entry in enumerate(self.manifests.get(name, {}).get("parts", ())):
            if entry.get("ledger_rows"):
                yield read_ledger(place(self.root, self.manifests[name]), part)

    def ledger(self, name: str, part: int, columns: list[str]) -> pa.Table:
        """Some columns of the ledger of one part; no rows where there is none."""
        parts = self.manifests[name].get("parts", ())
        if part >= len(parts) or not parts[part].get("ledger_rows"):
            return LEDGER.empty_table().select(columns)
        where = place(self.root, self.manifests[name])
        fs, path = filesystem(where.root.url)
        with fs.open(f"{path}/{where.folder}/ledger-{part:05d}.parquet", "rb") as file:
            return pq.ParquetFile(file).read(columns=columns)

    def file(self, name: str, file: str) -> bytes | None:
        """A file that a Make made, or None where it made none of that name."""
        manifest = self.manifests.get(name)
        if manifest is None or all(entry["name"] != file for entry in manifest.get("files", ())):
            return None
        where = place(self.root, manifest)
        return where.root.read(f"{where.folder}/{file}")

    def json(self, name: str, file: str) -> Any:
        """A JSON file that a Make made, or None."""
        data = self.file(name, file)
        return None if data is None else json.loads(data)
