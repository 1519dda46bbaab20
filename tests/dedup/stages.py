"""Documents out of text files, for tests that run deduplication on the engine; importable by workers."""

import sys
from itertools import chain
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import xxhash

from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Annotate, Files, Map, PartFunction, Source, Table


class Texts(Map):
    """One document a line: its URL, a space, its text."""

    files: Source
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = chain.from_iterable(map(_documents, splits.to_pylist()))
            return pa.Table.from_pylist(list(rows), schema=DOCUMENT.append(REASON))

        return read


class KeepAll(Annotate):
    """Verdicts that drop nothing."""

    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def prepare(self, files: Files) -> PartFunction:
        return lambda docs: pa.table({"reason": pa.nulls(len(docs), pa.string())})


def _documents(split):
    lines = Path(split["path"]).read_text().splitlines()
    for number, line in enumerate(lines[split["start"] : sys.maxsize if split["end"] < 0 else split["end"]]):
        url, _, text = line.partition(" ")
        ident = xxhash.xxh3_128_digest(line.encode())
        yield {"id": ident, "url": url, "file": split["file"], "offset": number, "title": None, "text": text}
