"""Rows of Parquet and Arrow files by stretches of stored bytes: whatever the cuts, each row is read once, in order.

    Parquet                a row group lies at the share of the file that the rows before it are of all rows
    Arrow stream or file   a record batch lies where its message begins (`datasets` keeps its tables in such streams)

[start, end) holds the groups or batches that begin in it; end -1 is the end of the file. One group or batch cannot be
cut. Rows are numbered through the file, from the footer or from the heads of the messages, so nothing outside the
stretch is read or decoded. What is damaged is one `Batch` without rows and with the parser's words; reading goes on
with the next group or batch. Damage of the whole file (a footer, a schema) lies at byte 0. An error of the disk or the
network is no damage, and is raised.

Where a row group is stored to the byte is not asked: on a damaged footer the question ends the process, inside Arrow.

Arrow's own stream reader cannot skip: it reads every message before the one wanted. So the heads (8 bytes and a
flatbuffer) are walked here, and Arrow is handed the schema, the dictionaries and one batch at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_BYTES = 16 << 20
"""Rows decoded at a time come to about this much, by the footer's average."""
BATCH_ROWS = 1024
BUFFER_BYTES = 4 << 20
"""Of a column chunk this much is read ahead; left to itself Arrow takes the whole row group into memory."""

ARROW_FILE = b"ARROW1"
ARROW_FILE_HEAD_BYTES = 8
CONTINUATION = 0xFFFFFFFF
DICTIONARY, RECORDS = 2, 3
"""Kinds of message, as the format numbers them."""
PLAIN = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
MOST_METADATA_BYTES = 1 << 28
MOST_WORDS = 300
"""Characters of an error that are passed on."""
MOST_ROWS = 1 << 48
"""A count of rows above this is damage: it would not fit an offset."""


class Batch(NamedTuple):
    """Some rows, or what is wrong at that row."""

    row: int
    """Number of the first in the file."""
    rows: pa.RecordBatch | None
    error: str = ""


def words_of(failed: Exception) -> str:
    """What Arrow says of damage; raises `failed` again where it is an error of the disk or the network."""
    if isinstance(failed, OSError) and (type(failed) is not OSError or failed.errno is not None):
        raise failed
    return f"{type(failed).__name__}: {failed}".split("\n", 1)[0][:MOST_WORDS]


DAMAGE = (pa.ArrowException, OSError, ValueError, struct.error, OverflowError)
"""What Arrow raises on damaged files; UnicodeDecodeError, a ValueError, on names."""


def within(position: int, start: int, end: int) -> bool:
    """Whether a stored position lies in the stretch."""
    return start <= position and (end < 0 or position < end)


class ParquetRows:
    """A Parquet file. Raises `DAMAGE` where its footer cannot be read."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = file.seek(0, 2)
        file.seek(0)
        self.opened = pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
        self.schema: pa.Schema = self.opened.schema_arrow
        metadata = self.opened.metadata
        self.groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if any(not 0 <= rows < MOST_ROWS for rows in self.groups):
            raise pa.ArrowInvalid(f"row groups of {self.groups} rows")

    @cached_property
    def positions(self) -> list[int]:
        """Where each group lies."""
        before = accumulate(self.groups[:-1], initial=0)
        return [self.size * rows // max(sum(self.groups), 1) for rows in before]

    def batches(self, start: int, end: int, columns: list[str]) -> Iterator[Batch]:
        """The rows of the stretch; a column inside a struct is `struct.field`."""
        first = 0
        for group, rows in enumerate(self.groups):
            if rows and within(self.positions[group], start, end):
                yield from self._group(group, first, columns)
            first += rows

    def _group(self, group: int, first: int, columns: list[str]) -> Iterator[Batch]:
        rows, row = self.groups[group], first
        average = max(self.opened.metadata.row_group(group).total_byte_size // rows, 1)
        most = max(min(BATCH_BYTES // average, BATCH_ROWS), 1)
        try:
            for batch in self.opened.iter_batches(most, row_groups=[group], columns=columns, use_threads=False):
                yield Batch(row, batch)
                row += len(batch)
        except DAMAGE as failed:
            yield Batch(row, None, words_of(failed))
            return
        if row < first + rows:
            yield Batch(row, None, f"row group {group} ends after {row - first} of {rows} rows")


class _Message(NamedTuple):
    """Where a message is stored, and what its head says; `error` where it is damaged."""

    position: int
    bytes: int
    kind: int = 0
    rows: int = 0
    error: str = ""


class ArrowRows:
    """An Arrow IPC stream or file. Raises `DAMAGE` where its schema cannot be read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        file.seek(0)
        self.first = ARROW_FILE_HEAD_BYTES if file.read(len(ARROW_FILE)) == ARROW_FILE else 0
        head = self._message(self.first)
        if head.error or head.bytes == 0:
            raise pa.ArrowInvalid(head.error or "no schema")
        self.head = self._stored(head)
        self.schema: pa.Schema = pa.ipc.open_stream(pa.py_buffer(self.head)).schema
        self.first += head.bytes

    def batches(self, start: int, end: int, columns: list[str]) -> Iterator[Batch]:
        """The rows of the stretch; of a column inside a struct, `struct.field`, the whole struct is read."""
        names = list(dict.fromkeys(column.split(".")[0] for column in columns))
        options = pa.ipc.IpcReadOptions(included_fields=[self.schema.get_field_index(name) for name in names])
        before, row = [self.head], 0
        for message in self._messages(end):
            mine = within(message.position, start, end)
            if message.error and mine:
                yield Batch(row, None, message.error)
            if message.kind == DICTIONARY:
                before.append(self._stored(message))
            elif message.kind == RECORDS:
                if mine:
                    yield self._batch(row, b"".join([*before, self._stored(message)]), options)
                row += message.rows

    def _batch(self, row: int, stream: bytes, options: pa.ipc.IpcReadOptions) -> Batch:
        try:
            batch = pa.ipc.open_stream(pa.py_buffer(stream), options=options).read_next_batch()
            # Arrow trusts the offsets of what it is sent; followed unchecked, wrong ones end the process.
            arrays = [_unjudged(column) for column in batch.columns]
            for array in arrays:
                array.validate(full=True)
            return Batch(row, pa.RecordBatch.from_arrays(arrays, names=batch.schema.names))
        except (*DAMAGE, StopIteration) as failed:
            return Batch(row, None, words_of(failed))

    def _messages(self, end: int) -> Iterator[_Message]:
        """The messages that begin before `end`, up to the end of the stream or to damage."""
        position = self.first
        while within(position, 0, end) and position < self.size:
            message = self._message(position)
            if message.error or message.bytes:
                yield message
            if message.error or not message.bytes:
                return
            position += message.bytes

    def _message(self, position: int) -> _Message:
        """The message at a position; of 0 bytes at the end of the stream."""
        self.file.seek(position)
        head = self.file.read(8)
        mark, length = struct.unpack("<II", head) if len(head) == 8 else (0, 0)
        if mark != CONTINUATION or length > min(MOST_METADATA_BYTES, self.size - position):
            return _Message(position, 0, error="no Arrow message where one should begin")
        if length == 0:
            return _Message(position, 0)
        metadata = self.file.read(length)
        try:
            root = _number(metadata, "<I", 0)
            kind = _number(metadata, "<B", _field(metadata, root, 1))
            body = _number(metadata, "<q", at) if (at := _field(metadata, root, 3)) else 0
            header = _field(metadata, root, 2)
            header += _number(metadata, "<I", header)
            rows = _number(metadata, "<q", at) if kind == RECORDS and (at := _field(metadata, header, 0)) else 0
        except struct.error as failed:
            return _Message(position, 0, error=f"the head of an Arrow message: {failed}")
        if not 0 <= body <= self.size - position - 8 - length or not 0 <= rows < MOST_ROWS:
            return _Message(position, 0, error=f"an Arrow message of {body} bytes and {rows} rows in what is left")
        return _Message(position, 8 + length + body, kind, rows)

    def _stored(self, message: _Message) -> bytes:
        self.file.seek(message.position)
        return self.file.read(message.bytes)


def _number(data: bytes, form: str, at: int) -> int:
    if at < 0:
        raise struct.error("an offset before the beginning")
    return struct.unpack_from(form, data, at)[0]


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a flatbuffer table lies; 0 where it is left out."""
    entries = table - _number(data, "<i", table)
    at = 4 + 2 * number
    offset = _number(data, "<H", entries + at) if at < _number(data, "<H", entries) else 0
    return table + offset if offset else 0


def _unjudged(array: pa.Array) -> pa.Array:
    """Strings as bytes: that some are no UTF-8 is no damage of the file."""
    plain = PLAIN.get(array.type)
    return array if plain is None else array.view(plain)
