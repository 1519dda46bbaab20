"""Tiny real stages for the tests of the frame: numbers in text files become documents."""

import json
import os
import time
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from hare_ray.gather import Desk
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Annotate, Files, Gather, Make, Map, PartFunction, Stage, Table

FAULT = "raise judge"
"""A text that makes Longer raise an ordinary exception."""


class Lines(Map):
    """One document a line; empty lines are dropped."""

    files: Stage
    slow_seconds: float = 0.0
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "slow_seconds"})
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        return self.read

    def read(self, splits: pa.Table) -> pa.Table:
        time.sleep(self.slow_seconds)
        rows = []
        for split in splits.to_pylist():
            lines = Path(split["path"]).read_text().splitlines()
            end = len(lines) if split["end"] < 0 else split["end"]
            for number in range(split["start"], end):
                line = lines[number]
                if line.startswith("kill reader"):
                    os._exit(9)
                url = f"https://example.org/{split['file']}/{number}"
                rows.append(
                    {
                        "id": xxhash.xxh3_128_digest(f"{url} {line}".encode()),
                        "url": url,
                        "file": split["file"],
                        "offset": number,
                        "title": None,
                        "text": line,
                        "reason": None if line else "empty",
                    }
                )
        return pa.Table.from_pylist(rows, schema=DOCUMENT.append(REASON))

    def explode(self, rows: pa.Table, files: Files) -> pa.Table:
        made = []
        for split in rows.to_pylist():
            count = len(Path(split["path"]).read_text().splitlines())
            made += [{**split, "start": n, "end": n + 1} for n in range(count)]
        return pa.Table.from_pylist(made, schema=rows.schema)


class Longer(Annotate):
    """Short documents get a reason; the counts of characters are kept. Some texts kill or hang or raise."""

    docs: Table
    min_chars: int
    writes: ClassVar[pa.Schema] = pa.schema([("chars", pa.int32()), REASON])

    def prepare(self, files: Files) -> PartFunction:
        return self.judge

    def judge(self, docs: pa.Table) -> pa.Table:
        text = docs.column("text")
        if pc.any(pc.equal(text, "kill judge")).as_py():
            os._exit(9)
        if pc.any(pc.equal(text, "hang judge")).as_py():
            time.sleep(3600)
        if pc.any(pc.equal(text, FAULT)).as_py():
            raise ValueError("a fault of the stage")
        chars = pc.cast(pc.utf8_length(text), pa.int32())
        reason = pc.if_else(pc.less(chars, self.min_chars), "short", pa.scalar(None, pa.string()))
        return pa.table({"chars": chars, "reason": reason})


class FirstOfKind(Gather):
    """Over all parts, the first document of each text stays."""

    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def gather(self, desk: Desk) -> None:
        seen: set[str] = set()
        for part in range(desk.parts(self.docs)):
            verdicts = []
            for text in desk.read(self.docs, part, ["text"]).column("text").to_pylist():
                verdicts.append("repeated" if text in seen else None)
                seen.add(text)
            desk.write(part, pa.table({"reason": pa.array(verdicts, pa.string())}))


class Count(Make):
    """Documents and characters, as JSON."""

    docs: Table
    unit: str

    def make(self, desk: Desk) -> dict[str, int]:
        tables = [desk.read(self.docs, part, ["text"]) for part in range(desk.parts(self.docs))]
        texts = [text for table in tables for text in table.column("text").to_pylist()]
        found = {"documents": len(texts), self.unit: sum(map(len, texts))}
        (desk.folder / "count.json").write_text(json.dumps(found, sort_keys=True))
        return {"rows": len(texts)}


class Share(Annotate):
    """Each document's share of all characters, from the file that Count made."""

    docs: Table
    count: Make
    writes: ClassVar[pa.Schema] = pa.schema([("share", pa.float64())])
    reads: ClassVar[tuple[str, ...] | None] = ("text",)

    def prepare(self, files: Files) -> PartFunction:
        total = json.loads((files(self.count) / "count.json").read_text())["characters"]

        def share(docs: pa.Table) -> pa.Table:
            return pa.table({"share": pc.divide(pc.cast(pc.utf8_length(docs.column("text")), pa.float64()), total)})

        return share


def refuse(item: int) -> int:
    """A fault of the user, found in a task of a task."""
    raise ValueError(f"given {item}, expected less; give less")


class Refusing(Make):
    """Refuses its input."""

    files: Stage

    def make(self, desk: Desk) -> dict[str, int]:
        return {"rows": sum(desk.map(refuse, [3]))}


class Dying(Make):
    """Takes its process with it."""

    files: Stage

    def make(self, desk: Desk) -> dict[str, int]:
        os._exit(9)
