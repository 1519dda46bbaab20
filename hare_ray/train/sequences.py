"""Random access to packed rows, for a training worker.

    source, row -> tokens int64[B, T], segments int32[B, T], positions int32[B, T]

T is `sequence_tokens`. A segment is the number of the piece in its row, -1 on padding; positions restart at 0 with
every piece, and with the padding. Attention stays within a segment and targets are the next token of the same one.

A table is the folder of a packing stage, part-00000.arrow and on, and the rows of each part, so that a row's place is
arithmetic; `hare_ray.train.packed_parts` reads it there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.catalog import Place, read_part
from hare_ray.stage import ARROW
from hare_ray.store import Root
from hare_ray.train.packed_parts import TOKEN_TYPES, Disk, PackedTable, Store, Width, damaged

PADDING = -1


class Batch(NamedTuple):
    """Rows as training takes them; B rows of T tokens."""

    tokens: NDArray[np.int64]
    segments: NDArray[np.int32]
    positions: NDArray[np.int32]


class Sequences:
    """Rows of several packed tables. It travels without what it holds open, and serves one thread."""

    def __init__(self, tables: tuple[PackedTable, ...], sequence_tokens: int, token_bytes: int) -> None:
        if token_bytes not in TOKEN_TYPES:
            raise ValueError(f"given token_bytes={token_bytes}, expected 2 or 4, as the packing stage has it")
        self.tables = tables
        self.sequence_tokens = sequence_tokens
        self.token_bytes = token_bytes
        width = Width(sequence_tokens, token_bytes)
        self._readers = [(Disk if table.on_disk else Store)(table, width) for table in tables]

    def __reduce__(self) -> tuple[Any, ...]:
        """Only the arguments travel."""
        return type(self), (self.tables, self.sequence_tokens, self.token_bytes)

    def read(self, source: NDArray[np.int64], row: NDArray[np.int64]) -> Batch:
        """Rows by number of their table and number in it, over all its parts."""
        tokens = np.empty((len(row), self.sequence_tokens), np.int64)
        pieces: list[NDArray[Any]] = [np.empty(0, np.int64)] * len(row)
        for table in np.unique(source).tolist():
            chosen = np.flatnonzero(source == table)
            chosen = chosen[np.argsort(row[chosen], kind="stable")]  # Neighbours in a file come together.
            part, place = self._places(table, row[chosen])
            found = self._readers[table].rows(part.tolist(), place.tolist())
            for at, (words, lengths) in zip(chosen.tolist(), found, strict=True):
                tokens[at] = words
                pieces[at] = lengths
            wrong = _impossible([pieces[at] for at in chosen.tolist()], self.sequence_tokens)
            if len(wrong):
                first = pieces[chosen[wrong[0]]][:8].tolist()
                why = f"pieces of {first} tokens in a row of {self.sequence_tokens}"
                raise damaged(self.tables[table], int(part[wrong[0]]), why)
        return Batch(tokens, *segments_and_positions(pieces, self.sequence_tokens))

    def documents(self, source: NDArray[np.int64], row: NDArray[np.int64]) -> pa.Table:
        """Where rows come from: `documents`, `starts` and `lengths` of their pieces, a row for each, in order."""
        found = []
        for table, number in zip(source.tolist(), row.tolist(), strict=True):
            (part,), (place,) = self._places(table, np.array([number]))
            root, folder = self.tables[table].url.rstrip("/").rsplit("/", 1)
            where = Place(Root(root), folder, storage=ARROW)
            found.append(read_part(where, int(part), ("documents", "starts", "lengths")).slice(int(place), 1))
        return pa.concat_tables(found)

    def _places(self, table: int, row: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Part of each row, and its number there."""
        edges = self.tables[table].edges
        outside = row[(row < 0) | (row >= edges[-1])]
        if len(outside):
            raise ValueError(f"given row {outside[0]} of {self.tables[table].url}, expected 0 to {edges[-1] - 1}")
        part = np.searchsorted(edges, row, side="right") - 1
        return part, row - edges[part]


def _filled(pieces: list[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Lengths of all pieces, number of them in each row, and tokens of each row."""
    lengths = np.concatenate([np.empty(0, np.int64), *pieces])
    per_row = np.array([len(row) for row in pieces], np.int64)
    before = np.concatenate([[0], np.cumsum(lengths)])
    stops = np.cumsum(per_row)
    return lengths, per_row, before[stops] - before[stops - per_row]


def _impossible(pieces: list[NDArray[Any]], width: int) -> NDArray[np.int64]:
    """Rows whose pieces are none, empty, or more than fits."""
    lengths, per_row, filled = _filled(pieces)
    empty = np.repeat(np.arange(len(pieces)), per_row)[lengths == 0]
    return np.union1d(np.flatnonzero((filled < 1) | (filled > width)), empty)


def segments_and_positions(pieces: list[NDArray[Any]], width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Number of the piece and place in it, of every token of rows whose pieces have these lengths."""
    rows = len(pieces)
    known, per_row, filled = _filled(pieces)
    per_row += 1  # The padding is the last, if empty.
    stops = np.cumsum(per_row)
    lengths = np.zeros(len(known) + rows, np.int64)
    padding = np.zeros(len(lengths), np.bool_)
    padding[stops - 1] = True
    lengths[padding] = width - filled
    lengths[~padding] = known
    number = np.arange(len(lengths)) - np.repeat(stops - per_row, per_row)
    number[padding] = PADDING
    begins = np.cumsum(lengths) - lengths
    segments = np.repeat(number.astype(np.int32), lengths)
    positions = np.arange(rows * width, dtype=np.int32) - np.repeat(begins.astype(np.int32), lengths)
    return segments.reshape(rows, width), positions.reshape(rows, width)
