"""One part through one pass: read, every member in turn, write, commit. Runs in a worker; knows nothing of Ray.

Each member is a pure function of its part. Rows that get a reason leave the flow and go to the ledger of the next
base that is written, so later members never see them. A part is committed by its JSON, written last.

Poison. Every operator notes on disk that it tries a part before it works on it, and takes the note back when it ends
in any way that leaves its process alive. Where `Limits.attempts` notes were left behind (the process died, or the
watchdog ended it), the operator's members run in child processes on halves of their rows until the row that kills
them stands alone; that row gets the reason `crashed` or `timeout` and the rest goes on. As many deaths again, and the
part fails.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray import isolated
from hare_ray.catalog import Catalog, write_part
from hare_ray.manifest import encode, folder
from hare_ray.schema import LEDGER, SNIPPET_CHARS, conform
from hare_ray.stage import Keep, Map, PartFunction, PartWise, Stage, Table
from hare_ray.storage import parquet
from hare_ray.store import Root

_prepared: dict[str, PartFunction] = {}
"""Functions this worker process has prepared, by fingerprint."""


@dataclass(frozen=True)
class Limits:
    """When a part counts as poison."""

    attempts: int = 3
    part_seconds: float = 6 * 3600
    """Wall clock for one part in a worker; the worker is ended after it."""
    record_seconds: float = 60
    """Wall clock a child process has at least, however few its rows; a single row that needs more is lost."""
    start_seconds: float = 120
    """Wall clock a child process gets for its imports and models, on top."""


@dataclass
class Flow:
    """One part on its way through a pass; it travels between operators."""

    part: int
    tables: dict[str, pa.Table] = field(default_factory=dict)
    dropped: dict[str, pa.Table] = field(default_factory=dict)
    books: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    isolated: list[str] = field(default_factory=list)
    """Members that run in child processes."""


@dataclass
class PassWork:
    """What a worker needs to take any part through a pass."""

    root: Root
    members: list[PartWise]
    outputs: list[PartWise]
    catalog: Catalog
    splits: list[pa.Table]
    limits: Limits
    watched: bool
    """Whether a watchdog ends the process after `Limits.part_seconds`."""
    driver: str = ""
    """Marks the notes of this run. A worker's death leaves its driver alive, so only notes of the same driver tell of
    poison; empty: notes of all runs count, as where the work runs in the driver itself."""

    def run(self, flow: Flow, members: list[PartWise], last: bool) -> dict[str, int]:
        """Take the part through some of the members; after the last of all, commit it and say its rows by output."""
        with self._noted(flow, members), self._watched(flow, members):
            for stage in members:
                began = time.perf_counter()
                self._step(flow, stage)
                flow.seconds[stage.name] = time.perf_counter() - began
                self._release(flow, stage)
            if not last:
                return {}
            commits = {stage: self._write(flow, stage) for stage in self.outputs}
            self.root.delete(self._attempts(flow))  # before the commits: what follows them may never happen
            for stage, commit in commits.items():
                self.root.write(f"{folder(stage)}/part-{flow.part:05d}.json", encode(commit))
        return {stage.name: len(flow.tables[stage.name]) for stage in self.outputs}

    def _release(self, flow: Flow, stage: PartWise) -> None:
        """Let go of the tables that nothing after `stage` looks at: raw pages are many times the text."""
        after = self.members[self.members.index(stage) + 1 :]
        wanted = {parent.name for later in after for parent in later.parents} | {out.name for out in self.outputs}
        flow.tables = {name: table for name, table in flow.tables.items() if name in wanted}

    def whole(self, part: int) -> dict[str, int]:
        """All of it, in this process."""
        return self.run(Flow(part), self.members, last=True)

    def _attempts(self, flow: Flow) -> str:
        return f"{folder(self.outputs[-1])}/attempts/part-{flow.part:05d}"

    @contextlib.contextmanager
    def _noted(self, flow: Flow, members: list[PartWise]) -> Iterator[None]:
        """Leave a note on disk if the process dies inside; where there are too many already, isolate the members."""
        notes = f"{self._attempts(flow)}/{members[0].name}"
        died = sum(name.startswith(self.driver) for name in self.root.names(notes))
        if died >= 2 * self.limits.attempts:
            self.root.delete(notes)
            raise RuntimeError(f"the worker died {died} times, {died - self.limits.attempts} of them in isolation")
        if died >= self.limits.attempts:
            flow.isolated += [stage.name for stage in members]
        note = f"{notes}/{self.driver}-{died:03d}-{uuid.uuid4().hex[:8]}"
        self.root.write(note, b"")
        try:
            yield
        finally:  # an exception is no crash: it would come again in a child process
            self.root.delete(note)

    @contextlib.contextmanager
    def _watched(self, flow: Flow, members: list[PartWise]) -> Iterator[None]:
        """End the process where the part takes too long; the children of isolated members have times of their own."""
        if not self.watched or members[0].name in flow.isolated:
            yield
            return
        faulthandler.dump_traceback_later(self.limits.part_seconds, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _input(self, flow: Flow, stage: Stage) -> pa.Table:
        if not isinstance(stage, Table):
            return self.splits[flow.part]
        if stage.name in flow.tables:
            return flow.tables[stage.name]
        flow.tables[stage.name] = self.catalog.read(stage, flow.part, self._columns(stage))
        return flow.tables[stage.name]

    def _columns(self, stage: Stage) -> tuple[str, ...] | None:
        """What the members look at of a table from outside; they share it, read once. None: all columns."""
        asked = [
            member.reads if parent is member.tables[0] else None
            for member in self.members
            for parent in member.parents
            if parent.name == stage.name
        ]
        return None if None in asked else tuple(dict.fromkeys(name for names in asked for name in names or ()))

    def _step(self, flow: Flow, stage: PartWise) -> None:
        if isinstance(stage, Keep):
            self._keep(flow, stage)
        elif isinstance(stage, Map):
            self._map(flow, stage)
        else:
            tables = self._arguments(flow, stage)
            got = self._call(flow, stage, tables)
            rows = len(tables[0][0] if isinstance(tables[0], tuple) else tables[0])
            if len(got) != rows:
                raise ValueError(f"{stage!r} returned {len(got)} rows for {rows}; an opinion has one row per row")
            flow.tables[stage.name] = conform(got, stage.schema(), repr(stage))
            flow.books[stage.name] = {"rows": rows, "reasons": reasons(got)}

    def _arguments(self, flow: Flow, stage: PartWise) -> list[Any]:
        return [
            tuple(self._input(flow, s) for s in item) if isinstance(item, tuple) else self._input(flow, item)
            for item in stage.tables
        ]

    def _call(self, flow: Flow, stage: PartWise, tables: list[Any]) -> pa.Table:
        if stage.name in flow.isolated:
            return isolated.survive(stage, self.catalog, tables, self.limits)
        if stage.fingerprint not in _prepared:
            _prepared[stage.fingerprint] = stage.prepare(self.catalog.files)
        return _prepared[stage.fingerprint](*tables)

    def _map(self, flow: Flow, stage: Map) -> None:
        docs = self._input(flow, stage.origin)
        others = [self._input(flow, s) for s in stage.parents[1:] if isinstance(s, Table)]
        got = self._call(flow, stage, [docs, *others])
        arrived = len(docs) if isinstance(stage.origin, Table) else 0
        if len(got) < arrived and not stage.derives:
            raise ValueError(f"{stage!r} lost {arrived - len(got)} of {arrived} rows; a dropped row needs a `reason`")
        live, lost = parted(got)
        live = conform(live, stage.schema(), repr(stage))
        flow.tables[stage.name] = live
        flow.dropped[stage.name] = ledger(lost, pa.repeat(pa.scalar(stage.name), len(lost)))
        came = {"read": arrived, "made": len(got)} if stage.derives else {"in": arrived, "made": len(got) - arrived}
        flow.books[stage.name] = {
            **came,
            "out": len(live),
            "dropped": reasons(lost),
            **characters(live),
            **stage.counts(live),
        }

    def _keep(self, flow: Flow, stage: Keep) -> None:
        docs = self._input(flow, stage.docs)
        verdicts = [self._input(flow, verdict) for verdict in stage.verdicts]
        verdict = judged(verdicts, [v.name for v in stage.verdicts])
        gone = pc.is_valid(verdict.column("reason"))
        row = pa.array(range(len(docs)), pa.uint32())
        opinions = [self._input(flow, opinion) for opinion in stage.opinions]
        for opinion in (*verdicts, *opinions):
            for name in set(stage.carry) & set(opinion.column_names):
                docs = docs.drop_columns([name]) if name in docs.column_names else docs
                docs = docs.append_column(opinion.schema.field(name), opinion.column(name))
        docs = docs.drop_columns(["base_row"]) if "base_row" in docs.column_names else docs
        docs = docs.append_column("base_row", row)
        live = conform(docs.filter(pc.invert(gone)), stage.schema(), repr(stage))
        lost = docs.append_column("reason", verdict["reason"]).append_column("detail", verdict["detail"]).filter(gone)
        flow.tables[stage.name] = live
        flow.dropped[stage.name] = ledger(lost, verdict["judge"].filter(gone))
        flow.books[stage.name] = {
            "in": len(docs),
            "made": 0,
            "out": len(live),
            "dropped": reasons(lost),
            **characters(live),
        }

    def _path(self, stage: PartWise) -> list[str]:
        """Members whose drops belong to the ledger of the base `stage`: back to the last base that is written."""
        names, at = [], stage
        inside = {member.name for member in self.members}
        stops = {output.name for output in self.outputs} - {stage.name}
        while isinstance(at, (Map, Keep)) and at.name in inside and at.name not in stops:
            names.append(at.name)
            if isinstance(at, Keep):
                names.extend(v.name for v in at.verdicts if v.name in inside)
                at = at.docs
            else:
                at = at.origin
        return names[::-1] or [stage.name]

    def _write(self, flow: Flow, stage: PartWise) -> dict[str, Any]:
        """Write rows and ledger of an output; what commits them."""
        place, name = folder(stage), f"{flow.part:05d}"
        path = self._path(stage)
        rows = flow.tables[stage.name]
        written = write_part(self.root, stage, flow.part, rows)
        lost = [flow.dropped[m] for m in path if m in flow.dropped]
        gone = pa.concat_tables(lost) if lost else LEDGER.empty_table()
        commit: dict[str, Any] = {
            **written,
            "ledger_rows": len(gone),
            "books": {member: flow.books[member] for member in path},
            "run": {"seconds": {m: round(flow.seconds[m], 4) for m in path}, "isolated": flow.isolated},
        }
        if len(gone):
            data = parquet(gone)
            self.root.write(f"{place}/ledger-{name}.parquet", data)
            commit["ledger_sha256"] = hashlib.sha256(data).hexdigest()
        return commit


def parted(got: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows without a reason; and what is told of the others."""
    lost = got.select([name for name in ("id", "url", "text", "reason", "detail") if name in got.column_names])
    if got.column("reason").null_count == len(got):
        return got, lost.slice(0, 0)
    gone = pc.is_valid(got.column("reason"))
    live = pc.invert(gone)
    return pa.table([thinned(column, live) for column in got.columns], schema=got.schema), lost.filter(gone)


def thinned(column: pa.ChunkedArray, live: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """`column` where `live`; the bytes stay where they are if those of the other rows are none, as of unread pages."""
    if column.type != pa.large_binary() or column.num_chunks != 1:
        return column.filter(live)
    values = column.chunk(0)
    bounds = np.frombuffer(values.buffers()[1], np.int64, len(values) + 1, values.offset * np.int64().itemsize)
    rows = np.flatnonzero(live)
    starts, stops = bounds[:-1][rows], bounds[1:][rows]
    if not len(rows) or (starts[1:] != stops[:-1]).any():
        return column.filter(live)
    valid = pa.array(values.is_valid().filter(live.combine_chunks()).to_numpy(zero_copy_only=False)).buffers()[1]
    offsets = pa.py_buffer(np.append(starts, stops[-1]))
    return pa.Array.from_buffers(column.type, len(rows), [valid, offsets, values.buffers()[2]])


def reasons(table: pa.Table) -> dict[str, int]:
    """Rows by reason."""
    if "reason" not in table.column_names:
        return {}
    counts = table.select(["reason"]).group_by("reason").aggregate([([], "count_all")]).to_pylist()
    return dict(sorted((c["reason"], c["count_all"]) for c in counts if c["reason"] is not None))


def characters(table: pa.Table) -> dict[str, int]:
    """Characters and bytes of text, where there is text."""
    if "text" not in table.column_names:
        return {}
    text = table.column("text")
    total = {"characters": pc.sum(pc.utf8_length(text)), "text_bytes": pc.sum(pc.binary_length(text))}
    return {name: value.as_py() or 0 for name, value in total.items()}


def ledger(lost: pa.Table, stage: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Dropped rows as a LEDGER table."""
    if not len(lost):
        return LEDGER.empty_table()
    nulls = pa.nulls(len(lost), pa.string())
    detail = lost.column("detail") if "detail" in lost.column_names else nulls
    text = lost.column("text") if "text" in lost.column_names else nulls
    snippet = pc.utf8_slice_codeunits(text, 0, SNIPPET_CHARS)
    columns = [*_identity(lost), stage, lost.column("reason"), detail, snippet]
    return pa.table(columns, names=LEDGER.names).cast(LEDGER)


def _identity(lost: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray | pa.Array]:
    """Id and URL of dropped rows; a packed sequence has the id of its first document, and no URL."""
    if "id" in lost.column_names:
        return lost.column("id"), lost.column("url")
    return pc.list_element(lost.column("documents"), 0), pa.repeat(pa.scalar(""), len(lost))


def judged(verdicts: list[pa.Table], names: list[str]) -> pa.Table:
    """Per row, the first verdict that gives a reason: `reason`, its name as `judge`, its own `detail`."""
    none = pa.nulls(len(verdicts[0]), pa.string())
    reason, judge, detail = none, none, none
    for verdict, name in zip(reversed(verdicts), reversed(names), strict=True):
        speaks = pc.is_valid(verdict.column("reason"))
        reason = pc.if_else(speaks, verdict.column("reason"), reason)
        judge = pc.if_else(speaks, name, judge)
        detail = pc.if_else(speaks, verdict.column("detail") if "detail" in verdict.column_names else none, detail)
    return pa.table({"reason": reason, "judge": judge, "detail": detail})
