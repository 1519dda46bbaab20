"""Texts of a benchmark as documents, and vectors made of row numbers, for tests/bench/cluster.py.

Made vectors: a mixture of `TOPICS` directions, drawn once; a row is its topic's direction plus noise of `SPREAD` times
its length, brought to length 1, so that two rows of a topic have a cosine of about 1 / (1 + SPREAD^2) = 0.41. One row
in ten is noise alone. Every `COPY_EVERY`-th row is its predecessor but `COPY_BACK` with a little noise: a cosine of
about 0.99 that no other pair comes near. A part is drawn from its first row's number.
"""

import json
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Annotate, Files, Map, PartFunction, Source, Table

DIMENSIONS = 384
TOPICS = 2000
SPREAD = 1.2
NOISE_SHARE = 0.1
COPY_EVERY, COPY_BACK = 10, 3
COPY_SPREAD = 0.15
NOISE = -1
"""The topic of rows that have none."""


class Texts(Map):
    """JSON lines with a text."""

    files: Source
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        return self._read

    def _read(self, splits: pa.Table) -> pa.Table:
        rows = []
        for path in splits.column("path").to_pylist():
            name = Path(path).name
            for number, line in enumerate(Path(path).read_text().splitlines()):
                url = f"{name}/{number}"
                row = {"id": xxhash.xxh3_128_digest(url.encode()), "url": url, "file": name, "offset": number}
                rows.append({**row, "text": json.loads(line)["text"]})
        return pa.Table.from_pylist(rows, DOCUMENT).append_column(REASON, pa.nulls(len(rows), pa.string()))


@cache
def directions() -> NDArray[np.float32]:
    """Of the topics."""
    drawn = np.random.default_rng(0).standard_normal((TOPICS, DIMENSIONS), np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def topics_of(first: int, rows: int) -> NDArray[np.int64]:
    """The topic of each row of a part, `NOISE` where it has none; a copy has that of its original."""
    rng = np.random.default_rng((1, first))
    topic = np.where(rng.random(rows) < NOISE_SHARE, NOISE, rng.integers(TOPICS, size=rows))
    copies = copies_of(rows)
    topic[copies] = topic[copies - COPY_BACK]
    return topic


def copies_of(rows: int) -> NDArray[np.int64]:
    """Rows of a part that are copies of the row `COPY_BACK` before."""
    return np.arange(COPY_EVERY - 1, rows, COPY_EVERY)


def made(first: int, rows: int) -> NDArray[np.float16]:
    """The vectors of a part."""
    rng = np.random.default_rng((2, first))
    topic = topics_of(first, rows)
    vectors = rng.standard_normal((rows, DIMENSIONS), np.float32) * np.float32(SPREAD / DIMENSIONS**0.5)
    vectors[topic != NOISE] += directions()[topic[topic != NOISE]]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    copies = copies_of(rows)
    noise = rng.standard_normal((len(copies), DIMENSIONS), np.float32)
    vectors[copies] = vectors[copies - COPY_BACK] + noise * np.float32(COPY_SPREAD / DIMENSIONS**0.5)
    vectors[copies] /= np.linalg.norm(vectors[copies], axis=1, keepdims=True)
    return vectors.astype(np.float16)


class Made(Annotate):
    """Made vectors."""

    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([pa.field("embedding", pa.list_(pa.float16(), DIMENSIONS))])
    reads: ClassVar[tuple[str, ...] | None] = ("offset",)

    def prepare(self, files: Files) -> PartFunction:
        def make(docs: pa.Table) -> pa.Table:
            flat = made(docs.column("offset")[0].as_py(), len(docs)).ravel()
            return pa.table([pa.FixedSizeListArray.from_arrays(pa.array(flat), DIMENSIONS)], schema=self.writes)

        return make
