"""The tables that rooms hand to each other.

    SPLIT      what a reader gets of a Source or Make: a stretch of one file
    RECORD     what a reader gives: one fetched record, payload undecoded
    DOCUMENT   text with its origin; every later base is a DOCUMENT with more columns
    LEDGER     one row per dropped document

`id` is the xxh3-128 of URL and raw payload, so that the same record has one id in every file that holds it and
deduplication knows it again. (`file`, `offset`) lead back to the record.
"""

from __future__ import annotations

import pyarrow as pa

SPLIT = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)
"""`file`: name in the listing; `path`: where to open it; [start, end): a stretch of its stored bytes, end -1 = to the
end. The stretch holds the records that begin in it; `row` is the number of the one that is asked for, -1 = all."""

ID = pa.field("id", pa.binary(16), nullable=False)

RECORD = pa.schema(
    [
        ID,
        pa.field("url", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("media", pa.string(), nullable=False),
        pa.field("charset", pa.string()),
        pa.field("title", pa.string()),
        pa.field("license", pa.string()),
        pa.field("robots", pa.string()),
        pa.field("payload", pa.large_binary()),
    ]
)
"""`media`: text/html or text/plain; `charset`: as declared by the server, null where it was silent; `license`:
a URL or name where the source states one; `robots`: directives to crawlers such as `noindex, noai`."""

DOCUMENT = pa.schema(
    [
        ID,
        pa.field("url", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("text", pa.large_string()),
    ]
)

LEDGER = pa.schema(
    [
        ID,
        pa.field("url", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("snippet", pa.string()),
    ]
)
"""`detail`: what the judging stage can add, such as the URL of the copy that was kept; `snippet`: the first
`SNIPPET_CHARS` of the text, null where there was none."""

SNIPPET_CHARS = 300
"""Enough for a person to see whether the reason is right."""

REASON = pa.field("reason", pa.string())
DETAIL = pa.field("detail", pa.string())
BASE_ROW = pa.field("base_row", pa.uint32(), nullable=False)
"""Row in the part of the same number of the base before."""


def conform(table: pa.Table, schema: pa.Schema, whose: str) -> pa.Table:
    """`table` with exactly the columns of `schema`, or a ValueError that names the difference."""
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise ValueError(f"{whose} returned no column {missing}; expected {schema.names}, got {table.column_names}")
    table = table.select(schema.names)
    for field, got in zip(schema, table.schema, strict=True):
        if got.type != field.type:
            raise ValueError(f"{whose} returned column {field.name!r} as {got.type}, expected {field.type}; cast it")
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"{whose} returned nulls in column {field.name!r}, which allows none")
    return table.cast(schema).combine_chunks()
