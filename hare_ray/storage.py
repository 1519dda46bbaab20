"""Parts of tables as bytes: equal tables become equal files, whatever their chunks.

    parquet   compressed; whole parts are read, or some of their columns
    arrow     an Arrow IPC file of one record batch, as it lies in memory: mapped, a row's place is arithmetic

`Table.storage` says which.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from hare_ray.stage import ARROW, Table

COMPRESSION = "zstd"
ROW_GROUP_ROWS = 1 << 16
"""Fixed, as is everything that shapes the bytes."""


def encoded(stage: Table, rows: pa.Table) -> tuple[str, bytes]:
    """What the file of a part of `stage` ends in, and its bytes."""
    return stage.storage, arrow(rows) if stage.storage == ARROW else parquet(rows)


def parquet(table: pa.Table) -> bytes:
    """The Parquet bytes of a table."""
    buffer = io.BytesIO()
    pq.write_table(
        table.combine_chunks(), buffer, compression=COMPRESSION, row_group_size=ROW_GROUP_ROWS, store_schema=True
    )
    return buffer.getvalue()


def arrow(table: pa.Table) -> bytes:
    """The Arrow bytes of a table, not compressed."""
    # With an empty table behind it, one of a single chunk is copied too: what is null in a slice is written as it is.
    whole = pa.concat_tables([table, table.schema.empty_table()]).combine_chunks()
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(whole)
    return buffer.getvalue()


def decoded(file: Any, storage: str, columns: Sequence[str] | None) -> pa.Table:
    """The rows in an open file; of `columns`, those that exist, and only these are read."""
    if storage == ARROW:
        return _arrow_rows(file, columns)
    table = pq.ParquetFile(file)
    known = None if columns is None else [name for name in columns if name in table.schema_arrow.names]
    return table.read(columns=known)


def _arrow_rows(file: Any, columns: Sequence[str] | None) -> pa.Table:
    reader = pa.ipc.open_file(file)
    if columns is None:
        return reader.read_all()
    known = [name for name in columns if name in reader.schema.names]
    places = sorted(reader.schema.get_field_index(name) for name in known)
    return pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=places)).read_all().select(known)
