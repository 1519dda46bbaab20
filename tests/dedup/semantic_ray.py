"""Tables and stages for the tests of semantic duplicates; importable by workers."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.dedup.semantic import SemanticDuplicates
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Annotate, Files, Map, PartFunction, Source, Stage, Table


def embedding_column(vectors):
    flat = np.ascontiguousarray(vectors, np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


def embedding_schema(dimensions):
    return pa.schema([pa.field("embedding", pa.list_(pa.float16(), dimensions))])


CLUSTERS = pa.schema(
    [pa.field("cluster", pa.int32(), nullable=False), pa.field("similarity", pa.float32(), nullable=False)]
)


class Items(Map):
    """One document a JSON line: its cluster and its vector, as text."""

    files: Source
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        return self.read

    def read(self, splits: pa.Table) -> pa.Table:
        rows = []
        for split in splits.to_pylist():
            for number, line in enumerate(Path(split["path"]).read_text().splitlines()):
                url, identity = f"https://{split['file']}/{number}", xxhash.xxh3_128_digest(f"{number} {line}".encode())
                rows.append({"id": identity, "url": url, "file": split["file"], "offset": number, "text": line})
        return pa.Table.from_pylist(rows, DOCUMENT).append_column(REASON, pa.nulls(len(rows), pa.string()))


def _values(docs, name):
    return [json.loads(text)[name] for text in docs.column("text").to_pylist()]


class Vectors(Annotate):
    """The vectors that the documents say."""

    docs: Table
    dimensions: int

    def schema(self) -> pa.Schema:
        return embedding_schema(self.dimensions)

    def prepare(self, files: Files) -> PartFunction:
        def read(docs: pa.Table) -> pa.Table:
            vectors = np.array(_values(docs, "vector"), np.float16).reshape(-1, self.dimensions)
            return pa.table([embedding_column(vectors)], schema=self.schema())

        return read


class Clusters(Annotate):
    """The clusters that the documents say."""

    docs: Table
    writes: ClassVar[pa.Schema] = CLUSTERS

    def prepare(self, files: Files) -> PartFunction:
        def read(docs: pa.Table) -> pa.Table:
            cluster = pa.array(_values(docs, "cluster"), pa.int32())
            return pa.table([cluster, pa.array(np.zeros(len(docs), np.float32))], schema=CLUSTERS)

        return read


def graph(folder: Path, dimensions: int, memory_bytes: int) -> tuple[Stage, ...]:
    docs = Items(files=Source(label="crawl", location=str(folder), part_bytes=1))
    embeddings = Vectors(docs=docs, dimensions=dimensions)
    clusters = Clusters(docs=docs)
    semantic = SemanticDuplicates(
        docs=docs, embeddings=embeddings, clusters=clusters, min_similarity=0.9, prefer=(), memory_bytes=memory_bytes
    )
    return (semantic,)
