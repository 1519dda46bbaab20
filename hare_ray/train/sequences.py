"""Random access to packed rows, for a training worker.

    source, row -> tokens int64[B, T], segments int32[B, T], positions int32[B, T]

T is `sequence_tokens`. A segment is the number of the piece in its row, -1 on padding; positions restart at 0 with
every piece, and with the padding. Attention stays within a segment and targets are the next token of the same one.

A table is the folder of a packing stage, part-00000.parquet and on, and the rows of each part, so that a row's place
is arithmetic. Of a part only the row group that holds the row is read and decoded (`Pack.row_group_rows`); local files
are mapped into memory. Some files stay open, because a footer costs more than a row group, and some decoded groups
are kept for rows that come back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from hare_ray.store import filesystem

TOKEN_TYPES = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
"""Token ids by their bytes."""

OPEN_FILES = 256
"""Parts kept open; under the thousand files that a process may usually open, with room for others."""

CACHED_BYTES = 64 << 20
"""Decoded row groups kept. Rows come at random, so more helps only where the whole source fits."""

PADDING = -1


class Batch(NamedTuple):
    """Rows as training takes them; B rows of T tokens."""

    tokens: NDArray[np.int64]
    segments: NDArray[np.int32]
    positions: NDArray[np.int32]


@dataclass(frozen=True)
class PackedTable:
    """Where the rows of a packing stage lie."""

    url: str
    """The stage's folder."""
    rows: tuple[int, ...]
    """Rows of each part."""

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Number of the first row of every part, and of the row after the last."""
        return np.cumsum((0, *self.rows), dtype=np.int64)


class _Group(NamedTuple):
    """A decoded row group."""

    first: int
    """Row of the part that comes first."""
    tokens: NDArray[Any]
    offsets: NDArray[np.int32]
    lengths: NDArray[np.int64]


class _File:
    """An open part."""

    def __init__(self, url: str) -> None:
        system, path = filesystem(url)
        local = isinstance(system, LocalFileSystem)
        self._source: Any = pa.memory_map(path) if local else system.open(path, "rb")
        # Over a network the column chunks of a group come in one request.
        self.parquet = pq.ParquetFile(self._source, pre_buffer=not local)
        metadata = self.parquet.metadata
        groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        self.edges = np.cumsum((0, *groups), dtype=np.int64)

    def group_of(self, row: int) -> int:
        return int(np.searchsorted(self.edges, row, side="right")) - 1

    def close(self) -> None:
        self.parquet.close()
        self._source.close()


class Sequences:
    """Rows of several packed tables. It travels without what it holds open, and serves one thread."""

    def __init__(self, tables: tuple[PackedTable, ...], sequence_tokens: int, token_bytes: int) -> None:
        if token_bytes not in TOKEN_TYPES:
            raise ValueError(f"given token_bytes={token_bytes}, expected 2 or 4, as the packing stage has it")
        self.tables = tables
        self.sequence_tokens = sequence_tokens
        self.token_bytes = token_bytes
        self._files: OrderedDict[tuple[int, int], _File] = OrderedDict()
        self._groups: OrderedDict[tuple[int, int, int], _Group] = OrderedDict()
        self._cached_bytes = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Only the arguments travel."""
        return type(self), (self.tables, self.sequence_tokens, self.token_bytes)

    def read(self, source: NDArray[np.int64], row: NDArray[np.int64]) -> Batch:
        """Rows by number of their table and number in it, over all its parts."""
        width = self.sequence_tokens
        tokens = np.empty((len(row), width), np.int64)
        pieces: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(row)
        for at in np.lexsort((row, source)).tolist():  # Rows of one group come together.
            group, place = self._group_with(int(source[at]), int(row[at]))
            tokens[at] = group.tokens[place]
            pieces[at] = group.lengths[group.offsets[place] : group.offsets[place + 1]]
        return Batch(tokens, *segments_and_positions(pieces, width))

    def documents(self, source: NDArray[np.int64], row: NDArray[np.int64]) -> pa.Table:
        """Where rows come from: `documents`, `starts` and `lengths` of their pieces, a row for each, in order."""
        found = []
        for table, number in zip(source.tolist(), row.tolist(), strict=True):
            part, place = self._place(table, number)
            file = self._file(table, part)
            group = file.group_of(place)
            rows = file.parquet.read_row_group(group, columns=["documents", "starts", "lengths"])
            found.append(rows.slice(place - int(file.edges[group]), 1))
        return pa.concat_tables(found).select(["documents", "starts", "lengths"])

    def _place(self, table: int, row: int) -> tuple[int, int]:
        """Part of a row, and its number there."""
        edges = self.tables[table].edges
        if not 0 <= row < edges[-1]:
            raise ValueError(f"given row {row} of {self.tables[table].url}, expected 0 to {edges[-1] - 1}")
        part = int(np.searchsorted(edges, row, side="right")) - 1
        return part, row - int(edges[part])

    def _file(self, table: int, part: int) -> _File:
        key = (table, part)
        if key not in self._files:
            file = _File(f"{self.tables[table].url.rstrip('/')}/part-{part:05d}.parquet")
            if file.edges[-1] != self.tables[table].rows[part]:
                raise ValueError(
                    f"{self.tables[table].url}, part {part}: given {file.edges[-1]} rows, expected "
                    f"{self.tables[table].rows[part]}; take url and rows from one and the same run"
                )
            self._files[key] = file
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(key)
        return self._files[key]

    def _group_with(self, table: int, row: int) -> tuple[_Group, int]:
        """The decoded row group of a row, and the row's place in it."""
        part, place = self._place(table, row)
        file = self._file(table, part)
        number = file.group_of(place)
        key = (table, part, number)
        if key not in self._groups:
            group = self._decoded(file, number)
            self._groups[key] = group
            self._cached_bytes += group.tokens.nbytes
            while self._cached_bytes > CACHED_BYTES and len(self._groups) > 1:
                self._cached_bytes -= self._groups.popitem(last=False)[1].tokens.nbytes
        self._groups.move_to_end(key)
        return self._groups[key], place - self._groups[key].first

    def _decoded(self, file: _File, number: int) -> _Group:
        rows = file.parquet.read_row_group(number, columns=["tokens", "lengths"], use_threads=False).combine_chunks()
        packed, lengths = (rows.column(name).chunk(0) for name in ("tokens", "lengths"))
        width = self.sequence_tokens * self.token_bytes
        if packed.type.byte_width != width:
            raise ValueError(
                f"given rows of {packed.type.byte_width} bytes, expected {self.sequence_tokens} tokens of "
                f"{self.token_bytes} bytes; give the numbers of the packing stage"
            )
        dtype = TOKEN_TYPES[self.token_bytes]
        count, start = len(packed) * self.sequence_tokens, packed.offset * width
        tokens = np.frombuffer(memoryview(packed.buffers()[1]), dtype, count, start)
        return _Group(
            int(file.edges[number]),
            tokens.reshape(len(packed), self.sequence_tokens),
            lengths.offsets.to_numpy(),
            lengths.values.to_numpy().astype(np.int64),
        )


def segments_and_positions(pieces: list[NDArray[np.int64]], width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Number of the piece and place in it, of every token of rows whose pieces have these lengths."""
    rows = len(pieces)
    filled = np.array([lengths.sum() for lengths in pieces], np.int64)
    per_row = np.array([len(lengths) for lengths in pieces], np.int64) + 1  # The padding is the last, if empty.
    stops = np.cumsum(per_row)
    lengths = np.zeros(int(per_row.sum()), np.int64)
    padding = np.zeros(len(lengths), np.bool_)
    padding[stops - 1] = True
    lengths[padding] = width - filled
    lengths[~padding] = np.concatenate([np.empty(0, np.int64), *pieces])
    number = np.arange(len(lengths)) - np.repeat(stops - per_row, per_row)
    number[padding] = PADDING
    begins = np.cumsum(lengths) - lengths
    segments = np.repeat(number.astype(np.int32), lengths)
    positions = np.arange(rows * width, dtype=np.int32) - np.repeat(begins.astype(np.int32), lengths)
    return segments.reshape(rows, width), positions.reshape(rows, width)
