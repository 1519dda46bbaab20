"""Single rows of packed parts, which are Arrow IPC files of one record batch: of a disk, or of an object store.

    parts, places -> tokens [T], lengths of the pieces, of each row in turn

On a disk a part is mapped into memory and nothing is copied but the rows. Its file is closed at once: a mapping stays
valid without it, so the number of parts is not bound by the files that a process may open.

Of an object store only the bytes of the rows are fetched, in two calls for all rows of a step, each of many requests
at a time: the tokens of every row with the bounds of its pieces; then their lengths. Where they lie follows from the
head of a part, which is read when the part is first met: the message of the schema, then that of the record batch
(https://arrow.apache.org/docs/format/Columnar.html, "Serialization and Interprocess Communication"), whose metadata
is a FlatBuffer with the number of rows and the place of every buffer.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from hare_ray.store import filesystem

TOKEN_TYPES = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
"""Token ids by their bytes."""

MAPPED_PARTS = 1 << 14
"""Parts of a table that stay mapped; Linux lets a process have 65,530 mappings."""

HEAD_BYTES = 1 << 16
"""Read of a part to know where its columns lie; the two messages take one or two thousand."""

_MAGIC = b"ARROW1\0\0"
_OFFSET = np.dtype("<i4")
_LENGTH = np.dtype("<u4")

Row = tuple[NDArray[Any], NDArray[np.uint32]]
"""Tokens of a row, and the lengths of its pieces."""


def part_name(part: int) -> str:
    """Of the file of a part, in the folder of its table."""
    return f"part-{part:05d}.arrow"


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

    @cached_property
    def on_disk(self) -> bool:
        """Whether its parts can be mapped."""
        return isinstance(filesystem(self.url)[0], LocalFileSystem)

    def part_url(self, part: int) -> str:
        """Path or URL of a part."""
        return f"{self.url.rstrip('/')}/{part_name(part)}"


@dataclass(frozen=True)
class Width:
    """What a row holds, as the packing stage has it."""

    tokens: int
    token_bytes: int

    @property
    def row_bytes(self) -> int:
        """Of the tokens of a row."""
        return self.tokens * self.token_bytes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a token."""
        return TOKEN_TYPES[self.token_bytes]

    def check(self, table: PackedTable, part: int, schema: pa.Schema, rows: int) -> None:
        """Refuse a part that is not what the table and the numbers say."""
        found = {name: schema.field(name).type for name in ("tokens", "lengths") if name in schema.names}
        if found.keys() < {"tokens", "lengths"} or not pa.types.is_fixed_size_binary(found["tokens"]):
            raise ValueError(
                f"{table.part_url(part)}: given the columns {schema.names}, expected tokens of fixed width and "
                "lengths; give tables of packed sequences"
            )
        if found["tokens"].byte_width != self.row_bytes:
            raise ValueError(
                f"{table.part_url(part)}: given rows of {found['tokens'].byte_width} bytes, expected {self.tokens} "
                f"tokens of {self.token_bytes} bytes; give the numbers of the packing stage"
            )
        if rows != table.rows[part]:
            raise ValueError(
                f"{table.part_url(part)}: given {rows} rows, expected {table.rows[part]}; "
                "take url and rows from one and the same run"
            )


def damaged(table: PackedTable, part: int, why: object) -> ValueError:
    """What to do about a part that cannot be read."""
    return ValueError(
        f"{table.part_url(part)}: given a file that is no Arrow file of packed rows, or a damaged one ({why}), "
        "expected what the packing stage wrote; make the stage anew with --redo"
    )


def gone(table: PackedTable, part: int) -> ValueError:
    """What to do about a part that is not there."""
    return ValueError(
        f"{table.part_url(part)}: it, or one that follows, is gone, though the manifest says it is there; make the "
        "stage anew with --redo"
    )


class _Mapped(NamedTuple):
    """A part in memory."""

    tokens: NDArray[Any]
    """[rows, T]."""
    bounds: NDArray[np.int32]
    lengths: NDArray[np.uint32]


class Disk:
    """Rows of a table on a disk."""

    def __init__(self, table: PackedTable, width: Width) -> None:
        """Open nothing yet."""
        self.table, self.width = table, width
        self._mapped: OrderedDict[int, _Mapped] = OrderedDict()

    def rows(self, parts: list[int], places: list[int]) -> Iterator[Row]:
        """Rows by part and number in it; the arrays are views of the file."""
        for part, place in zip(parts, places, strict=True):
            tokens, bounds, lengths = self._part(part)
            yield tokens[place], lengths[bounds[place] : bounds[place + 1]]

    def _part(self, part: int) -> _Mapped:
        if part in self._mapped:
            self._mapped.move_to_end(part)
            return self._mapped[part]
        self._mapped[part] = found = self._map(part)
        if len(self._mapped) > MAPPED_PARTS:
            self._mapped.popitem(last=False)
        return found

    def _map(self, part: int) -> _Mapped:
        path = filesystem(self.table.part_url(part))[1]
        try:
            with pa.memory_map(path) as file:
                reader = pa.ipc.open_file(file)
                batch = reader.get_batch(0) if reader.num_record_batches else pa.RecordBatch.from_pylist([])
                self.width.check(self.table, part, reader.schema, batch.num_rows)
                batch.validate()
                tokens, lengths = batch.column("tokens"), batch.column("lengths")
        except FileNotFoundError as error:
            raise gone(self.table, part) from error
        except (pa.ArrowInvalid, OSError) as error:
            raise damaged(self.table, part, error) from error
        flat = np.frombuffer(memoryview(tokens.buffers()[1]), self.width.dtype, len(tokens) * self.width.tokens)
        shaped = flat.reshape(len(tokens), self.width.tokens)
        return _Mapped(shaped, lengths.offsets.to_numpy(), lengths.values.to_numpy())


class _Layout(NamedTuple):
    """Where the columns of a part lie in it, in bytes."""

    tokens: int
    bounds: int
    lengths: int


class Store:
    """Rows of a table on an object store."""

    def __init__(self, table: PackedTable, width: Width) -> None:
        """Ask for nothing yet."""
        self.table, self.width = table, width
        self._layouts: dict[int, _Layout] = {}

    def rows(self, parts: list[int], places: list[int]) -> Iterator[Row]:
        """Rows by part and number in it."""
        new = sorted(set(parts) - self._layouts.keys())
        for part, head in zip(new, self._fetch([(part, 0, HEAD_BYTES) for part in new]), strict=True):
            self._layouts[part] = self._layout(part, head)
        layouts = [self._layouts[part] for part in parts]
        size, pair = self.width.row_bytes, 2 * _OFFSET.itemsize
        asked = [(part, at.tokens + n * size, size) for part, n, at in zip(parts, places, layouts, strict=True)]
        asked += [
            (part, at.bounds + n * _OFFSET.itemsize, pair) for part, n, at in zip(parts, places, layouts, strict=True)
        ]
        came = self._fetch(asked, whole=True)
        tokens, bounds = came[: len(parts)], [np.frombuffer(data, _OFFSET).tolist() for data in came[len(parts) :]]
        for part, (first, stop) in zip(parts, bounds, strict=True):
            if not 0 <= first < stop <= first + self.width.tokens:  # before as many bytes are asked for
                raise damaged(self.table, part, f"pieces {first} to {stop} in a row of {self.width.tokens} tokens")
        each = _LENGTH.itemsize
        lengths = self._fetch(
            [
                (part, at.lengths + first * each, (stop - first) * each)
                for part, at, (first, stop) in zip(parts, layouts, bounds, strict=True)
            ],
            whole=True,
        )
        for row, pieces in zip(tokens, lengths, strict=True):
            yield np.frombuffer(row, self.width.dtype), np.frombuffer(pieces, _LENGTH)

    def _fetch(self, asked: list[tuple[int, int, int]], whole: bool = False) -> list[bytes]:
        """Stretches of parts by first byte and number of bytes."""
        if not asked:
            return []
        system, folder = filesystem(self.table.url)
        paths = [f"{folder.rstrip('/')}/{part_name(part)}" for part, _, _ in asked]
        starts = [first for _, first, _ in asked]
        try:
            came = system.cat_ranges(paths, starts, [first + size for _, first, size in asked], on_error="raise")
        except FileNotFoundError as error:
            raise gone(self.table, min(part for part, _, _ in asked)) from error
        for (part, first, size), data in zip(asked, came, strict=True):
            if whole and len(data) != size:
                raise damaged(self.table, part, f"{len(data)} of {size} bytes at {first}")
        return came

    def _layout(self, part: int, head: bytes) -> _Layout:
        try:
            schema, at, metadata = _messages(head)
            rows, buffers = _record_batch(metadata)
        except (pa.ArrowInvalid, struct.error, OSError) as error:
            raise damaged(self.table, part, error) from error
        self.width.check(self.table, part, schema, rows)
        # Buffers of a column: what is null, then its own; a list has those of its values behind.
        before = [0, *np.cumsum([field.type.num_buffers + _inner(field.type) for field in schema]).tolist()]
        tokens, lengths = (before[schema.get_field_index(name)] for name in ("tokens", "lengths"))
        return _Layout(at + buffers[tokens + 1], at + buffers[lengths + 1], at + buffers[lengths + 3])


def _inner(kind: pa.DataType) -> int:
    """Buffers of the values of a list."""
    return kind.value_type.num_buffers if pa.types.is_list(kind) else 0


def _messages(head: bytes) -> tuple[pa.Schema, int, bytes]:
    """The schema of a file, where the body of its record batch begins, and the batch's metadata."""
    if not head.startswith(_MAGIC):
        raise pa.ArrowInvalid(f"it begins with {head[: len(_MAGIC)]!r}")
    reader = pa.BufferReader(head)
    reader.seek(len(_MAGIC))
    schema = pa.ipc.read_schema(pa.ipc.read_message(reader))
    first = reader.tell()
    _, size = struct.unpack_from("<II", head, first)
    first += struct.calcsize("<II")
    return schema, first + size, head[first : first + size]


def _record_batch(metadata: bytes) -> tuple[int, list[int]]:
    """Rows of a record batch, and the first byte of every buffer within its body."""

    def field(table: int, number: int) -> int:
        """Where a field of a FlatBuffer's table lies, by its number in the schema."""
        vtable = table - struct.unpack_from("<i", metadata, table)[0]
        return table + struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)[0]

    def followed(place: int) -> int:
        return place + struct.unpack_from("<I", metadata, place)[0]

    batch = followed(field(followed(0), 2))  # Message: version, type, header, ...
    rows = struct.unpack_from("<q", metadata, field(batch, 0))[0]  # RecordBatch: length, nodes, buffers
    buffers = followed(field(batch, 2))
    count = struct.unpack_from("<I", metadata, buffers)[0]
    return rows, [struct.unpack_from("<q", metadata, buffers + 4 + 16 * n)[0] for n in range(count)]
