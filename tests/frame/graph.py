"""The toy graph the frame is tried on, the files it reads, and the digest that tells two runs apart."""

import hashlib
import json
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from hare_ray.gather import Desk
from hare_ray.schema import REASON
from hare_ray.stage import Gather, Keep, Rebalance, Source, Stage, Table
from hare_ray.store import ASIDE, filesystem
from tests.frame.stages import Count, FirstOfKind, Lines, Longer, Share

UNCOUNTED = {".lock", ".lease"}
"""What a run leaves under its root that is no result."""


class Copies(Gather):
    """How often each text occurs in all parts: counted part by part, in parallel, through scratch objects."""

    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([("copies", pa.int32()), REASON])

    def gather(self, desk: Desk) -> None:
        names = desk.map(partial(self.count, desk), range(desk.parts(self.docs)))
        total = Counter[str]()
        for name in names:
            total.update(json.loads(desk.get(name)))
        desk.put("total", json.dumps(total).encode())
        desk.map(partial(self.judge, desk), range(desk.parts(self.docs)))

    def texts(self, desk: Desk, part: int) -> list[str]:
        return desk.read(self.docs, part, ["text"]).column("text").to_pylist()

    def count(self, desk: Desk, part: int) -> str:
        desk.put(f"count-{part}", json.dumps(Counter(self.texts(desk, part))).encode())
        return f"count-{part}"

    def judge(self, desk: Desk, part: int) -> None:
        total = json.loads(desk.get("total"))
        copies = pa.array([total[text] for text in self.texts(desk, part)], pa.int32())
        desk.write(part, pa.table({"copies": copies, "reason": pa.nulls(len(copies), pa.string())}))


def build(source: str | Path, min_chars: int = 5, slow_seconds: float = 0.0, prefix: str = "") -> Stage:
    """Every kind of stage: read, judge, keep, two gathers, keep, join parts, a file, and an opinion that reads it."""
    docs = Lines(files=Source(label="crawl", location=str(source), part_bytes=1), slow_seconds=slow_seconds)
    longer = Longer(label=f"{prefix}longer", docs=docs, min_chars=min_chars)
    clean = Keep(label=f"{prefix}clean", docs=docs, verdicts=(longer,), carry=("chars",))
    verdicts = (FirstOfKind(label=f"{prefix}first", docs=clean), Copies(label=f"{prefix}copies", docs=clean))
    unique = Keep(label=f"{prefix}unique", docs=clean, verdicts=verdicts, carry=("copies",))
    joined = Rebalance(label=f"{prefix}joined", docs=unique, part_bytes=8000)
    count = Count(label=f"{prefix}count", docs=joined, unit="characters")
    return Share(label=f"{prefix}share", docs=joined, count=count)


def reader(source: str | Path, min_chars: int = 5, part_bytes: int = 1) -> Stage:
    """Only the first pass of `build`: what is read, judged and kept; as a rule a part a file."""
    docs = Lines(files=Source(label="crawl", location=str(source), part_bytes=part_bytes))
    return Keep(label="clean", docs=docs, verdicts=(Longer(docs=docs, min_chars=min_chars),), carry=("chars",))


def lines(file: int, rows: int) -> list[str]:
    """Texts of one file: distinct ones, an empty one, one that every file has, and one that is too short."""
    return [
        *(f"document {row} of file {file}" for row in range(rows)),
        "",
        "the same text in every file",
        "x",
    ]


def write_source(folder: Path, files: int = 12, rows: int = 20, shuffle: int | None = None) -> Path:
    """A folder of text files, each a part of its own; `shuffle` seeds the order in which they are made."""
    folder.mkdir(parents=True)
    order = list(range(files))
    if shuffle is not None:
        random.Random(shuffle).shuffle(order)
    for file in order:
        (folder / f"{file:04d}.txt").write_text("\n".join(lines(file, rows)))
    return folder


def digest(root: str | Path) -> dict[str, str]:
    """Name -> sha256 of every object under a root; the `run` sections of JSON count for nothing."""
    fs, top = filesystem(str(root))
    found = {}
    for path in fs.find(top):
        name = path[len(top) :].lstrip("/")
        if name in UNCOUNTED:
            continue
        data = fs.cat_file(path)
        if name.endswith(".json"):
            value = json.loads(data)
            value.pop("run", None)
            data = json.dumps(value, sort_keys=True).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def halves(root: str | Path, calm: dict[str, str]) -> list[str]:
    """Objects under a final name that are not what an undisturbed run puts there."""
    passing = ("/attempts/", "/scratch/", f"{ASIDE}/")
    return [
        name for name, mark in digest(root).items() if calm.get(name) != mark and not any(p in name for p in passing)
    ]


def in_a_process(function: Callable[..., object], *arguments: object) -> int | None:
    """Exit code of a process of its own that calls the function; the frame is imported there already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.frame.drive", "pandas", "fsspec.implementations.local"])
    process = context.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode
