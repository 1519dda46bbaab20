"""The journal of answers: each row is kept on the root as it ends, so that whatever dies costs the rows in flight.

    scratch/<part>/<nanoseconds>-<xxh3-128>.arrow      a segment: some rows of one part, in any order

A segment is written once and never changed, under a name made of the time and the hash of its bytes. So any number of
processes may write at the same time without asking each other: two drivers, or a task that is tried again while the
first try still runs, at worst leave a row twice, of which the first kept counts. A segment whose bytes are not those
of its name is refused.

A part is written from its segments when every row has an answer, and only then they are deleted: killed between the
two, the part is there and its segments are cleared up by the next who comes by. The folder holds what is unfinished,
never the corpus.

`Journal` gathers rows in an asyncio process and puts them together: as soon as the last put is through and
JOURNAL_SECONDS have passed since it began (group commit). A kill loses those seconds beside what is in flight, and an
hour is 1,800 objects a part instead of one per row. One file to which every row is appended is no choice: an object
store cannot append, and a torn tail would have to be told from a whole one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.gather import Desk
from hare_ray.manifest import folder
from hare_ray.synth.endpoint import Answer
from hare_ray.synth.prompt import GENERATED

ANSWERED = pa.schema([pa.field("row", pa.int32(), nullable=False), *GENERATED])
"""An answer and the row of its prompt in the part."""

JOURNAL_SECONDS = 2.0
"""Between two puts: short beside the half minute that a long answer takes, long beside a PUT of 50 ms."""

READERS = 16
"""Segments read at a time: on an object store each is a round trip."""

SEGMENT = re.compile(r"\d{20}-([0-9a-f]{32})\.arrow")


def _folder(desk: Desk, part: int) -> str:
    return f"{folder(desk.stage)}/scratch/{part:05d}"


def _written(desk: Desk, part: int) -> str:
    return f"{folder(desk.stage)}/part-{part:05d}.json"


def put_rows(desk: Desk, part: int, table: pa.Table) -> None:
    """Keep rows of ANSWERED as one segment."""
    if not len(table):
        return
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, ANSWERED, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table.cast(ANSWERED))
    data = sink.getvalue().to_pybytes()
    desk.put(f"{part:05d}/{time.time_ns():020d}-{xxhash.xxh3_128_hexdigest(data)}.arrow", data)


def _segment(desk: Desk, path: str) -> pa.Table:
    data = desk.root.read(path)
    name = SEGMENT.fullmatch(path.rsplit("/", 1)[-1])
    if name is None or name[1] != xxhash.xxh3_128_hexdigest(data):
        raise ValueError(
            f"{desk.root.url}/{path} is no segment of the journal, or not all of one ({len(data)} bytes); expected the "
            "bytes that its name is the hash of; delete it and run the same command again: its rows are asked again"
        )
    table = pa.ipc.open_file(data).read_all()
    if table.schema != ANSWERED:
        raise ValueError(
            f"{desk.root.url}/{path} holds the columns {table.column_names}, expected {ANSWERED.names}; it was written "
            "by another version of hare_ray: delete the folder above it and run the same command again"
        )
    return table


def _segments(desk: Desk, part: int) -> list[str]:
    return [f"{_folder(desk, part)}/{name}" for name in desk.root.names(_folder(desk, part))]


def _joined(desk: Desk, paths: list[str]) -> pa.Table:
    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(lambda path: _segment(desk, path), paths))
    table = pa.concat_tables([ANSWERED.empty_table(), *tables])
    return table.take(np.unique(table["row"].to_numpy(), return_index=True)[1])


def answered(desk: Desk, part: int) -> pa.Table:
    """ANSWERED: the rows of the part that have an answer, each once (the first kept), sorted by row."""
    return _joined(desk, _segments(desk, part))


def _check(desk: Desk, part: int, found: np.ndarray, rows: int) -> None:
    if len(found) and (found[0] < 0 or found[-1] >= rows):
        raise ValueError(
            f"{desk.root.url}/{_folder(desk, part)} holds answers to rows {found[0]} to {found[-1]}, expected rows of "
            f"a part of {rows}; delete the folder and run the same command again"
        )


def missing(desk: Desk, part: int, rows: int) -> np.ndarray:
    """The rows of a part of `rows` that have no answer yet, in order (int32); none where the part is written.

    Another process may write it meanwhile and clear its segments up. It writes before it clears, so that whether the
    part is there is asked after its segments were read.
    """
    gone: FileNotFoundError | None = None
    found = np.empty(0, np.int32)
    try:
        found = answered(desk, part)["row"].to_numpy()
    except FileNotFoundError as error:
        gone = error
    if desk.root.exists(_written(desk, part)):
        return np.empty(0, np.int32)
    if gone is not None:
        raise gone
    _check(desk, part, found, rows)
    return np.setdiff1d(np.arange(rows, dtype=np.int32), found, assume_unique=True)


def finish_part(desk: Desk, part: int, rows: int) -> bool:
    """Write the part if each of its rows has an answer, then clear its segments up; False where some have none."""
    written = _written(desk, part)
    paths = _segments(desk, part)
    if not desk.root.exists(written):
        try:
            table = _joined(desk, paths)
        except FileNotFoundError:  # another process finishes it, too, and is clearing up
            if desk.root.exists(written):
                return True
            raise
        _check(desk, part, table["row"].to_numpy(), rows)
        if len(table) < rows:
            return False
        desk.write(part, table.drop_columns(["row"]))
    for path in paths:
        desk.root.delete(path)
    return True


def table_of(rows: Iterable[tuple[int, Answer, bytes]]) -> pa.Table:
    """ANSWERED of (row, answer, request key)."""
    given = list(rows)
    columns = (
        [row for row, _, _ in given],
        [answer.text for _, answer, _ in given],
        [answer.finish for _, answer, _ in given],
        [answer.prompt_tokens for _, answer, _ in given],
        [answer.completion_tokens for _, answer, _ in given],
        [request for _, _, request in given],
    )
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, ANSWERED, strict=True)], schema=ANSWERED)


@dataclass
class _Open:
    """A part that is to be finished with the last of its missing rows."""

    left: int
    rows: int


class Journal:
    """Group commit for one asyncio process.

    `add` returns at once. Rows are put by a task of the running loop, in a thread; `close` puts what is left. What a
    put raises comes out of the next `add` or of `close`.
    """

    def __init__(self, desk: Desk, seconds: float = JOURNAL_SECONDS) -> None:
        """Keep rows on `desk`, with `seconds` between the starts of two puts."""
        self._desk, self._seconds = desk, seconds
        self._rows: dict[int, list[tuple[int, Answer, bytes]]] = {}
        self._open: dict[int, _Open] = {}
        self._writer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def expect(self, part: int, missing: int, rows: int) -> None:
        """Finish the part of `rows` rows when the last of its `missing` ones is kept."""
        self._open[part] = _Open(missing, rows)
        if missing == 0:
            self._rows.setdefault(part, [])
            self._start()

    def add(self, part: int, row: int, answer: Answer, request: bytes) -> None:
        """Keep an answer with the next put."""
        self._rows.setdefault(part, []).append((row, answer, request))
        self._start()

    async def close(self) -> None:
        """Put what is left, and end."""
        self._closing.set()
        if self._writer is not None:
            await self._writer
        if self._rows:
            await self._commit()

    def _start(self) -> None:
        if self._writer is not None and self._writer.done():
            self._writer.result()
            self._writer = None
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Put until there is nothing left; the next row starts it again."""
        while self._rows:
            began = time.monotonic()
            await self._commit()
            pause = began + self._seconds - time.monotonic()
            if pause > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._closing.wait()

    async def _commit(self) -> None:
        taken, self._rows = self._rows, {}
        await asyncio.to_thread(self._put, taken)

    def _put(self, taken: dict[int, list[tuple[int, Answer, bytes]]]) -> None:
        for part, rows in taken.items():
            put_rows(self._desk, part, table_of(rows))
            opened = self._open.get(part)
            if opened is None:
                continue
            opened.left -= len(rows)
            if opened.left == 0:
                if not finish_part(self._desk, part, opened.rows):
                    raise RuntimeError(f"{self._desk.stage!r}: part {part} lacks rows although each was kept")
                del self._open[part]
