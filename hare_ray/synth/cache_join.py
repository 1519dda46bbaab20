"""Joining the rows that are to be asked with the rows that were answered before, by key, in bounded memory.

    keys      of the rows to ask (hashed from the prompts) and of the answers on record (their column `request`)
    match     a row to ask with the first answer of the same key, in the order of folders, parts and rows
    fetch     the answers that were matched, piece by piece, into the journal of this run

A hash join, partitioned as in GRACE (Kitsuregawa et al. 1983): both sides are cut by the first bits of the key into
so many buckets that the two halves of one fit BUCKET_BYTES, and buckets are joined one by one, as tasks. Up to one
bucket's worth the keys go from hand to hand and no file is written; beyond, they lie in files below the stage's
lasting folder meanwhile. Answers are read once, only of pieces with a match, and never all at a time.

Keys are hashes and spread evenly, so buckets are equal; equal keys meet in one bucket, and one answer serves them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.catalog import Place, opened
from hare_ray.gather import LASTING, Desk, groups
from hare_ray.manifest import folder
from hare_ray.stage import Stage, Table
from hare_ray.store import Root
from hare_ray.synth.journal import ANSWERED, answered, missing, put_rows
from hare_ray.synth.prompt import GENERATED, LENGTH, STOP

BUCKET_BYTES = 256 << 20
"""Memory of the join of one bucket: that of one worker is a gigabyte or more."""

ROW_BYTES = 64
"""Of one row of either side in a join: 24 of key and place, 40 of Arrow's hash table and what it takes to grow."""

GROUP_ROWS = 1 << 19
"""Rows of the parts that one task takes the keys of: with prompts of 4 kB some 10 s of reading and hashing."""

FETCH_BYTES = 64 << 20
"""Answers that a task holds before it puts them: segments stay few, and a part of 64 Ki answers fits."""

KEYS = pa.schema([("key", GENERATED.field("request").type), ("part", pa.int32()), ("row", pa.int32())])
"""`part`: of the prompts, or the number of a piece."""

MATCH = pa.schema([("part", pa.int32()), ("row", pa.int32()), ("piece", pa.int32()), ("at", pa.int32())])
"""A row of the prompts, and row `at` of the piece that answers it."""

_FIRST_BITS = 16


class _Former(Stage):
    """Stands for the recipe whose journal lies in a folder `<named>/<recipe>`."""

    named: str
    recipe_id: str

    @property
    def name(self) -> str:
        """The folder's parent."""
        return self.named

    @cached_property
    def fingerprint(self) -> str:
        """The folder's own name."""
        return self.recipe_id


@dataclass(frozen=True)
class Piece:
    """A part of answers on record, or what a journal has of one."""

    root: Root
    folder: str
    part: int
    journal: bool

    def rows(self, desk: Desk, columns: list[str]) -> pa.Table | None:
        """These columns of its rows; None where it was written before answers had keys."""
        if self.journal:
            named, _, last = self.folder.rpartition("/")
            at = replace(desk, root=self.root, stage=_Former(named=named, recipe_id=last))
            return answered(at, self.part).select(columns)
        with opened(Place(self.root, self.folder), self.part) as file:
            known = file.schema_arrow.names
            return file.read(columns=columns) if set(columns) <= set(known) else None

    def count(self, desk: Desk) -> int:
        """How many rows it has."""
        if self.journal:
            return len(self.rows(desk, ["row"]) or ())
        with opened(Place(self.root, self.folder), self.part) as file:
            return file.metadata.num_rows


@dataclass(frozen=True)
class Matches:
    """What a join found, by groups of pieces."""

    rows: int
    members: list[list[int]]
    """Numbers of the pieces of each group."""
    given: list[pa.Table] | list[int]
    """MATCH of each group; its number where that lies in files, one of each bucket."""
    buckets: int


@dataclass(frozen=True)
class Join:
    """What every task of one join knows."""

    desk: Desk
    prompts: Table
    keys_of: Callable[[pa.Table], pa.Array]
    pieces: tuple[Piece, ...]
    resumed: frozenset[int]
    """Parts of which the journal of this run has rows."""
    token: str
    """Names the files of this join: an earlier try's are never taken for them."""
    bucket_bytes: int = BUCKET_BYTES
    group_rows: int = GROUP_ROWS

    def matches(self, parts: list[int]) -> Matches:
        """The rows of these parts of the prompts that were answered before."""
        rows, counts = self.desk.rows(self.prompts), self.desk.map(self._count, range(len(self.pieces)))
        asked = [[parts[n] for n in some] for some in groups(tuple(rows[part] for part in parts), self.group_rows)]
        members = groups(tuple(counts), self.group_rows)
        total = sum(rows[part] for part in parts) + sum(counts)
        buckets = min(max(1, -(-total * ROW_BYTES // self.bucket_bytes)), 1 << _FIRST_BITS)
        if buckets == 1:
            asked_keys = pa.concat_tables(self.desk.map(self.asked, asked))
            found = match(asked_keys, pa.concat_tables(self.desk.map(self.earlier, members)))
            return Matches(len(found), members, [_of_pieces(found, some) for some in members], buckets)
        self.desk.map(partial(self._shelve, "asked", self.asked, buckets), list(enumerate(asked)))
        self.desk.map(partial(self._shelve, "earlier", self.earlier, buckets), list(enumerate(members)))
        rows = sum(self.desk.map(partial(self._match, len(asked), members), range(buckets)))
        return Matches(rows, members, list(range(len(members))), buckets)

    def fetch(self, found: Matches) -> None:
        """Put the answers that were found into the journal."""
        self.desk.map(partial(self._fetch, found.buckets), list(zip(found.given, found.members, strict=True)))
        self.desk.root.delete(self._path(""))

    def _count(self, number: int) -> int:
        return self.pieces[number].count(self.desk)

    def asked(self, parts: list[int]) -> pa.Table:
        """KEYS of the rows of these parts that have no answer yet."""
        return pa.concat_tables([KEYS.empty_table(), *(self._asked(part) for part in parts)])

    def _asked(self, part: int) -> pa.Table:
        columns = [name for name in ("id", "prompt", "schema") if name in self.prompts.schema().names]
        table = self.desk.read(self.prompts, part, columns)
        rows = pa.array(np.arange(len(table), dtype=np.int32))
        if part in self.resumed:
            rows = pa.array(missing(self.desk, part, len(table)))
        rows = rows.filter(table["prompt"].take(rows).combine_chunks().is_valid())
        return _keys(self.keys_of(table if len(rows) == len(table) else table.take(rows)), part, rows)

    def earlier(self, numbers: list[int]) -> pa.Table:
        """KEYS of the rows of these pieces that were answered; an error is asked again."""
        tables = [KEYS.empty_table()]
        for number in numbers:
            table = self.pieces[number].rows(self.desk, ["request", "finish"])
            if table is not None:
                good = pc.is_in(table["finish"], value_set=pa.array([STOP, LENGTH])).combine_chunks()
                rows = pc.indices_nonzero(good).cast(pa.int32())
                tables.append(_keys(table["request"].take(rows).combine_chunks(), number, rows))
        return pa.concat_tables(tables)

    def _shelve(
        self, side: str, keys: Callable[[list[int]], pa.Table], buckets: int, item: tuple[int, list[int]]
    ) -> None:
        number, members = item
        table = keys(members).combine_chunks()
        bucket = bucket_of(table["key"].combine_chunks(), buckets)
        order = np.argsort(bucket, kind="stable")
        ends = np.searchsorted(bucket[order], np.arange(buckets + 1))
        for n, (start, end) in enumerate(itertools.pairwise(ends)):
            self._put(f"{side}-{n:05d}-{number:05d}", table.take(order[start:end]))

    def _match(self, asked: int, earlier: list[list[int]], bucket: int) -> int:
        sides = (("asked", asked), ("earlier", len(earlier)))
        asked_keys, earlier_keys = (
            pa.concat_tables([self._get(f"{side}-{bucket:05d}-{n:05d}") for n in range(many)]) for side, many in sides
        )
        matches = match(asked_keys, earlier_keys)
        for number, some in enumerate(earlier):
            self._put(f"match-{number:05d}-{bucket:05d}", _of_pieces(matches, some))
        return len(matches)

    def _fetch(self, buckets: int, item: tuple[pa.Table | int, list[int]]) -> None:
        given, numbers = item
        if isinstance(given, int):
            given = pa.concat_tables([self._get(f"match-{given:05d}-{bucket:05d}") for bucket in range(buckets)])
        matches = given.sort_by([("piece", "ascending"), ("at", "ascending")])
        ends = np.searchsorted(matches["piece"].to_numpy(), [*numbers, numbers[-1] + 1])
        held: list[pa.Table] = []
        for number, (start, end) in zip(numbers, itertools.pairwise(ends), strict=True):
            if start == end:
                continue
            wanted = matches.slice(start, end - start)
            table = self.pieces[number].rows(self.desk, GENERATED.names)
            assert table is not None, "a piece without keys matches nothing"
            answers = table.take(wanted["at"])
            held.append(pa.table([wanted["part"], wanted["row"], *answers.columns], names=["part", *ANSWERED.names]))
            if sum(table.nbytes for table in held) > FETCH_BYTES:
                self._journal(held)
                held = []
        self._journal(held)

    def _journal(self, tables: list[pa.Table]) -> None:
        """Put answers, those of a part as one segment."""
        if not tables:
            return
        table = pa.concat_tables(tables).sort_by([("part", "ascending"), ("row", "ascending")])
        parts, starts = np.unique(table["part"].to_numpy(), return_index=True)
        for part, (start, end) in zip(parts, itertools.pairwise([*starts, len(table)]), strict=True):
            put_rows(self.desk, int(part), table.slice(start, end - start).select(ANSWERED.names))

    def _path(self, name: str) -> str:
        return f"{folder(self.desk.stage)}{LASTING}/{self.token}{f'/{name}.arrow' if name else ''}"

    def _put(self, name: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        self.desk.root.write(self._path(name), sink.getvalue().to_pybytes())

    def _get(self, name: str) -> pa.Table:
        return pa.ipc.open_file(self.desk.root.read(self._path(name))).read_all()


def _keys(keys: pa.Array, part: int, rows: pa.Array) -> pa.Table:
    parts = pa.array(np.full(len(rows), part, dtype=np.int32))
    return pa.table([keys, parts, rows], schema=KEYS)


def _of_pieces(matches: pa.Table, numbers: list[int]) -> pa.Table:
    """The matches in neighbouring pieces."""
    piece = matches["piece"]
    return matches.filter(pc.and_(pc.greater_equal(piece, numbers[0]), pc.less_equal(piece, numbers[-1])))


def bucket_of(keys: pa.Array, buckets: int) -> np.ndarray:
    """The bucket of each key, by its first bits."""
    width = KEYS.field("key").type.byte_width
    data = np.frombuffer(keys.buffers()[1], np.uint8)[keys.offset * width : (keys.offset + len(keys)) * width]
    first = data.reshape(-1, width)[:, :2].astype(np.int64)
    return ((first[:, 0] << 8 | first[:, 1]) * buckets) >> _FIRST_BITS


def match(asked: pa.Table, earlier: pa.Table) -> pa.Table:
    """MATCH: each row of KEYS that is asked with the first earlier row of equal key, where there is one."""
    found = pc.index_in(asked["key"].combine_chunks(), value_set=earlier["key"].combine_chunks())
    rows, taken = asked.filter(found.is_valid()), earlier.take(found.drop_null())
    return pa.table([rows["part"], rows["row"], taken["part"], taken["row"]], schema=MATCH)
