"""Texts out of Parquet and Arrow files, column by column.

    payload   the first of `text`, `content`, `raw_content` that holds strings or bytes
    url       `url`, `metadata.url`, `meta.url`: per row the first that is there; else file#row
    title     the same way
    license   the same way, `license` before `licence`
    offset    the number of the row in the file

Strings come in any of Arrow's ways to store them. Columns of another type are passed over, other columns not read.
A file without a column of text is one `bad_record` that names what it has, not an exception: one odd file in a
listing of thousands must not end a run, and where no file has one the run ends anyway, because nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.corpus import fetched as why
from hare_ray.corpus.fetched import Fetched, complete
from hare_ray.stretch import DAMAGE, ArrowRows, Batch, ParquetRows, within, words_of

TEXT_COLUMNS = ("text", "content", "raw_content")
NESTS = ("metadata", "meta")
"""Structs in which some collections keep a document's origin."""
URLS = ("url", *(f"{nest}.url" for nest in NESTS))
TITLES = ("title", *(f"{nest}.title" for nest in NESTS))
LICENSES = tuple(prefix + key for key in ("license", "licence") for prefix in ("", *(f"{nest}." for nest in NESTS)))
UTF8 = "utf-8"
NAMED_COLUMNS = 50
"""Columns told of a file without text."""


def parquet_rows(file: BinaryIO, name: str, start: int, end: int, max_payload_bytes: int) -> Iterator[Fetched]:
    """The rows of the row groups that begin in [start, end)."""
    return _rows(ParquetRows, file, name, (start, end), max_payload_bytes)


def arrow_rows(file: BinaryIO, name: str, start: int, end: int, max_payload_bytes: int) -> Iterator[Fetched]:
    """The rows of the record batches that begin in [start, end)."""
    return _rows(ArrowRows, file, name, (start, end), max_payload_bytes)


def _rows(
    kind: Callable[[BinaryIO], ParquetRows | ArrowRows],
    file: BinaryIO,
    name: str,
    stretch: tuple[int, int],
    max_payload_bytes: int,
) -> Iterator[Fetched]:
    try:
        opened = kind(file)
        error, text = "", _text_column(opened.schema)
        if text is None:
            columns = ", ".join(f"{field.name} ({field.type})" for field in list(opened.schema)[:NAMED_COLUMNS])
            error = (
                f"columns {columns or 'none'}; expected one of {', '.join(TEXT_COLUMNS)} with strings: rename the "
                "column, or leave the file out of the source"
            )
    except DAMAGE as failed:
        error, opened, text = words_of(failed), None, None
    if opened is None or text is None:
        if within(0, *stretch):
            yield _broken(name, 0, error)
        return
    wanted = _Wanted(opened.schema, text)
    for batch in opened.batches(*stretch, wanted.columns):
        if batch.rows is None:
            yield _broken(name, batch.row, batch.error)
        else:
            yield from wanted.fetched(batch, batch.rows, name, max_payload_bytes)


def _broken(name: str, row: int, error: str) -> Fetched:
    return Fetched(f"{name}#{row}", row, None, reason=why.BAD_RECORD, detail=error)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    strings = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    plain = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_null)
    return any(test(kind) for test in (*strings, *plain))


def _text_column(schema: pa.Schema) -> str | None:
    return next((name for name in TEXT_COLUMNS if _holds_text(schema, name)), None)


def _holds_text(schema: pa.Schema, column: str) -> bool:
    """Whether there is one such column (`struct.field`: in a struct), of text."""
    outer, _, inner = column.partition(".")
    index = schema.get_field_index(outer)  # -1 also where two have the name
    if index < 0:
        return False
    kind = schema.field(index).type
    if inner:
        index = kind.get_field_index(inner) if pa.types.is_struct(kind) else -1
        return index >= 0 and _is_text(kind.field(index).type)
    return _is_text(kind)


class _Wanted:
    """The columns that are read, and how their rows become records."""

    def __init__(self, schema: pa.Schema, text: str) -> None:
        self.text = text
        self.url, self.title, self.license = (
            [name for name in names if _holds_text(schema, name)] for names in (URLS, TITLES, LICENSES)
        )
        self.columns = [text, *self.url, *self.title, *self.license]

    def fetched(self, batch: Batch, rows: pa.RecordBatch, name: str, max_payload_bytes: int) -> Iterator[Fetched]:
        """The rows of a batch as records."""
        try:
            texts = _values(rows, self.text)
            origins = [_first(rows, names) for names in (self.url, self.title, self.license)]
        except DAMAGE as failed:  # An index that points behind its dictionary shows only here.
            yield _broken(name, batch.row, words_of(failed))
            return
        for row, (text, url, title, terms) in enumerate(zip(texts, *origins, strict=True), batch.row):
            address = url or f"{name}#{row}"
            if text is None:
                yield Fetched(address, row, None, reason=why.BAD_ROW, detail=f"{self.text} is null")
            else:
                record = Fetched(address, row, text, why.PLAIN, UTF8, title, license=terms)
                yield complete(record, max_payload_bytes)


def _values(rows: pa.RecordBatch, column: str) -> list[bytes | None]:
    outer, _, inner = column.partition(".")
    values = rows.column(outer)
    if inner:
        values = pc.struct_field(values, inner)
    return values.cast(pa.large_binary()).to_numpy(zero_copy_only=False).tolist()


def _first(rows: pa.RecordBatch, columns: list[str]) -> list[str | None]:
    """Per row the first string that is not empty."""
    found: list[str | None] = [None] * len(rows)
    for column in reversed(columns):
        values = _values(rows, column)
        found = [
            value.decode(UTF8, "replace") if value else before for value, before in zip(values, found, strict=True)
        ]
    return found
