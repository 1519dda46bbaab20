"""Files of rows, and files that are one document: what `hare_ray.corpus.read` asks for, format by format.

    format                                   record                    details
    .parquet                                 row                       `hare_ray.corpus.rows_table`
    .arrow (Hugging Face `save_to_disk`)     row                       the same
    .jsonl .ndjson .json (.gz .zst .bz2 .xz) line that is not blank    `hare_ray.corpus.rows_json`
    .txt .html .htm (.gz .zst .bz2 .xz)      the file                  here; the url is the file name

Readers of rows take a stretch [start, end) of stored bytes, end -1: to the end of the file, and give the records that
begin in it: over any cuts each record once, in order. What a cut or corrupt file holds beside the damage is kept, and
the damage is a `bad_record`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from hare_ray.corpus import fetched as why
from hare_ray.corpus.fetched import Fetched, complete
from hare_ray.corpus.rows_json import json_rows
from hare_ray.corpus.rows_lines import DamagedError, chunks, joined
from hare_ray.corpus.rows_table import arrow_rows, parquet_rows

__all__ = ["arrow_rows", "document", "json_rows", "parquet_rows"]


def document(file: BinaryIO, name: str, media: str, max_payload_bytes: int) -> Iterator[Fetched]:
    """A file that is one document."""
    try:
        payload = joined(chunks(file, name, 0), max_payload_bytes + 1)
    except DamagedError as damage:
        yield Fetched(name, 0, None, reason=why.BAD_RECORD, detail=str(damage))
        return
    yield complete(Fetched(name, 0, payload, media), max_payload_bytes)
