"""Texts out of files of rows, and files that are one document.

    format                    row                        url
    .parquet                  row of the file            column `url`, or file#row
    .jsonl .ndjson .json      line; blank ones count,    key `url`, or file#row
    (.gz, .zst)               but are no rows
    .txt (.gz, .zst)          the file                   the file name
    .html .htm (.gz, .zst)    the file                   the file name

The text is the first of `text`, `content`, `raw_content` that is there; `title` is taken where it is a
string. What a cut or corrupt file holds before the damage is kept, and the damage is one `bad_record`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import count
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from hare_ray.corpus import fetched as why
from hare_ray.corpus.fetched import Fetched, complete

TEXT_COLUMNS = ("text", "content", "raw_content")
BATCH_ROWS = 1024
UTF8 = "utf-8"
CODECS = {"gz": "gzip", "zst": "zstd"}


def inflated(file: BinaryIO, name: str) -> BinaryIO:
    """The bytes of a file that may be compressed, by its name; a cut or corrupt stream raises OSError.

    Arrow's streams notice a cut zstd stream, and are twice as fast as the gzip module.
    """
    codec = CODECS.get(name.lower().rpartition(".")[2])
    return file if codec is None else io.BufferedReader(cast(Any, pa.CompressedInputStream(file, codec)))


def _row(name: str, row: int, values: dict[str, Any]) -> Fetched:
    """One row as a record."""
    url, title = values.get("url"), values.get("title")
    url = url if isinstance(url, str) and url else f"{name}#{row}"
    column = next((column for column in TEXT_COLUMNS if column in values), None)
    if column is None:
        return Fetched(url, row, None, reason=why.BAD_ROW, detail=f"none of {', '.join(TEXT_COLUMNS)}")
    text = values[column]
    if isinstance(text, str):
        text = text.encode(UTF8, "replace")
    if not isinstance(text, bytes):
        return Fetched(url, row, None, reason=why.BAD_ROW, detail=f"{column} is {type(text).__name__}")
    return Fetched(url, row, text, why.PLAIN, UTF8, title if isinstance(title, str) else None)


def json_rows(file: BinaryIO, name: str, start: int, end: int) -> Iterator[Fetched]:
    """The lines [start, end) of a file of JSON objects."""
    lines = iter(inflated(file, name))
    for row in count():
        try:
            line = next(lines, None)
        except OSError as failed:
            if row >= start:
                yield Fetched(f"{name}#{row}", row, None, reason=why.BAD_RECORD, detail=str(failed))
            return
        if line is None or (0 <= end <= row):
            return
        if row >= start and line.strip():
            yield _json_row(name, row, line)


def _json_row(name: str, row: int, line: bytes) -> Fetched:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as failed:
        return Fetched(f"{name}#{row}", row, None, reason=why.BAD_ROW, detail=str(failed))
    if not isinstance(values, dict):
        wrong = f"expected an object, got {type(values).__name__}"
        return Fetched(f"{name}#{row}", row, None, reason=why.BAD_ROW, detail=wrong)
    return _row(name, row, values)


def parquet_rows(file: BinaryIO, name: str, start: int, end: int) -> Iterator[Fetched]:
    """The rows [start, end) of a Parquet file; row groups outside are not read.

    Raises ValueError where the file has no column with text.
    """
    row = start
    try:
        opened = pq.ParquetFile(file)
        wanted = _columns(opened.schema_arrow, name)
        groups, first = _groups(opened, start, end)
        row = first
        for batch in opened.iter_batches(BATCH_ROWS, row_groups=groups, columns=wanted):
            for values in batch.to_pylist():
                if row >= start and (end < 0 or row < end):
                    yield _row(name, row, values)
                row += 1
    except (pa.ArrowException, OSError) as failed:
        yield Fetched(f"{name}#{row}", row, None, reason=why.BAD_RECORD, detail=str(failed))


def _columns(schema: pa.Schema, name: str) -> list[str]:
    text = next((column for column in TEXT_COLUMNS if column in schema.names), None)
    if text is None:
        raise ValueError(
            f"{name} has the columns {', '.join(schema.names)}; expected one of {', '.join(TEXT_COLUMNS)} "
            "with the text: rename the column, or leave the file out of the source"
        )
    return [text, *(column for column in ("url", "title") if column in schema.names)]


def _groups(opened: pq.ParquetFile, start: int, end: int) -> tuple[list[int], int]:
    """The row groups that hold rows of [start, end), and the number of the first row in them."""
    groups, first, row = [], start, 0
    for group in range(opened.num_row_groups):
        rows = opened.metadata.row_group(group).num_rows
        if row + rows > start and (end < 0 or row < end):
            first = first if groups else row
            groups.append(group)
        row += rows
    return groups, first


def document(file: BinaryIO, name: str, media: str, max_payload_bytes: int) -> Iterator[Fetched]:
    """A file that is one document."""
    try:
        payload = inflated(file, name).read(max_payload_bytes + 1)
    except OSError as failed:
        yield Fetched(name, 0, None, reason=why.BAD_RECORD, detail=str(failed))
        return
    yield complete(Fetched(name, 0, payload, media), max_payload_bytes)


def json_count(file: BinaryIO, name: str) -> int:
    """Lines that can be read, and one for the damage after them."""
    lines = 0
    try:
        for _ in inflated(file, name):
            lines += 1
    except OSError:
        return lines + 1
    return lines


def parquet_count(file: BinaryIO) -> int:
    """Rows of a Parquet file; one for a file that cannot be opened."""
    try:
        return pq.ParquetFile(file).metadata.num_rows
    except (pa.ArrowException, OSError):
        return 1
