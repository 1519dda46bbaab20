"""Run a stage on one part in child processes, and find the row that kills it.

Used only for parts whose workers died again and again. `survive` gives the whole part to a child first; where the
child dies or does not end in time, it halves the rows; a single row that still kills its child is cut finer where the
stage can (`Map.explode`: a file into its records) and is lost, with a reason, where it cannot.

Time. The first child has the seconds of a part, each half has half of its parent's, none has less than those of a
record: finding one hanging row among n takes at most twice a part's seconds and log2(n) times a record's.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pyarrow as pa
import xxhash

from hare_ray.catalog import Catalog
from hare_ray.stage import Map, PartWise

if TYPE_CHECKING:
    from hare_ray.work import Limits

CRASHED = "crashed"
TIMEOUT = "timeout"
PR_SET_PDEATHSIG = 1
"""Linux prctl: the signal a process gets when its parent dies."""

Tables = list[Any]


class ChildError(RuntimeError):
    """The stage raised an ordinary exception in a child process: not poison, a fault that ends the run."""


@dataclass(frozen=True)
class _Patient:
    """A stage under isolation and what its children need."""

    stage: PartWise
    catalog: Catalog
    limits: Limits

    def run(self, tables: Tables, seconds: float, finest: bool = False) -> pa.Table:
        """Output for the rows, without those that kill; `seconds` is what they get in one child."""
        got = self.child("run", tables, seconds)
        if isinstance(got, pa.Table):
            return got
        rows = _rows(tables)
        if rows > 1:
            halves = [_cut(tables, 0, rows // 2), _cut(tables, rows // 2, rows)]
            return _joined([self.run(half, seconds / 2, finest) for half in halves])
        if isinstance(self.stage, Map) and not finest:
            finer = self.child("explode", tables[:1], seconds)
            if isinstance(finer, pa.Table) and len(finer) > 1:
                return self.run([finer, *tables[1:]], seconds, finest=True)
        return _lost(self.stage, tables, got)

    def child(self, what: str, tables: Tables, seconds: float) -> pa.Table | str:
        """What a child makes of the tables, or why there is nothing."""
        allowed = self.limits.start_seconds + max(seconds, self.limits.record_seconds)
        return _child((self.stage, what, self.catalog, tables), allowed)


def survive(stage: PartWise, catalog: Catalog, tables: Tables, limits: Limits) -> pa.Table:
    """The stage's output for the part, without the rows that kill its process; those carry a reason."""
    return _Patient(stage, catalog, limits).run(tables, limits.part_seconds)


def _first(tables: Tables) -> pa.Table:
    return tables[0][0] if isinstance(tables[0], tuple) else tables[0]


def _rows(tables: Tables) -> int:
    return len(_first(tables))


def _cut(tables: Tables, start: int, end: int) -> Tables:
    """Rows [start, end), copied: a pickled slice carries all the bytes of the table it was cut from."""
    rows = pa.array(range(start, end))
    return [tuple(t.take(rows) for t in item) if isinstance(item, tuple) else item.take(rows) for item in tables]


def _joined(pieces: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(pieces, promote_options="permissive")


def _lost(stage: PartWise, tables: Tables, reason: str) -> pa.Table:
    """The one row that can't be worked on: nulls, and its reason."""
    row = _first(tables)
    known: dict[str, Any] = {"reason": pa.array([reason], pa.string())}
    if isinstance(stage, Map):
        if "id" in row.column_names:
            known |= {"id": row.column("id"), "url": row.column("url")}
        else:
            split = row.to_pylist()[0]
            url = f"{split['file']}#{split['start']}" + (f".{split['row']}" if split["row"] >= 0 else "")
            known |= {
                "id": pa.array([xxhash.xxh3_128_digest(url.encode())], pa.binary(16)),
                "url": pa.array([url]),
            }
    elif "reason" not in stage.schema().names:
        raise RuntimeError(f"{stage!r} cannot survive row {row.to_pylist()[0].get('url')}: {reason}")
    return pa.table({**{field.name: pa.nulls(1, field.type) for field in stage.schema()}, **known})


def _child(job: tuple[PartWise, str, Catalog, Tables], seconds: float) -> pa.Table | str:
    """The table a child process computes, or why there is none: `crashed` or `timeout`."""
    with tempfile.TemporaryDirectory(prefix="hare_ray-") as scratch:
        given, answer = Path(scratch) / "job", Path(scratch) / "answer"
        given.write_bytes(cloudpickle.dumps(job))  # a recipe's own stages are in no module
        # The child must find the stage's class wherever this process found it.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "hare_ray.isolated", str(given), str(answer), str(os.getpid())]
        try:
            subprocess.run(command, env=environment, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return TIMEOUT
        if not answer.is_file():
            return CRASHED
        got = pickle.loads(answer.read_bytes())
    if isinstance(got, str):
        raise ChildError(got)
    return got


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends: a row that hangs would keep it for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the worker died before its child began")


def main(given: str, answer: str, parent: str) -> None:
    """Body of a child process: a pickled job in, a pickled table (or the text of an exception) out."""
    _end_with(int(parent))
    stage, what, catalog, tables = pickle.loads(Path(given).read_bytes())
    try:
        finer = what == "explode"
        got = stage.explode(tables[0], catalog.files) if finer else stage.prepare(catalog.files)(*tables)
    except Exception as error:
        Path(answer).write_bytes(pickle.dumps(f"{type(error).__name__}: {error}"))
        raise
    whole = Path(answer).with_suffix(".part")
    whole.write_bytes(pickle.dumps(got, protocol=5))
    whole.rename(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
