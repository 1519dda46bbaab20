"""Planted topics as stages, importable by workers."""

import numpy as np
import pyarrow as pa

from hare_ray.cluster import Assign, KMeans
from hare_ray.stage import Annotate, Files, PartFunction, Source, Stage, Table
from tests.frame.stages import Lines


class Planted(Annotate):
    """The vector of a document that says its number: near the centre of one of the topics."""

    docs: Table
    topics: int
    dimensions: int

    def schema(self) -> pa.Schema:
        return pa.schema([pa.field("embedding", pa.list_(pa.float16(), self.dimensions))])

    def prepare(self, files: Files) -> PartFunction:
        centres = np.random.default_rng(0).normal(size=(self.topics, self.dimensions))

        def plant(docs: pa.Table) -> pa.Table:
            numbers = np.array(docs.column("text").to_pylist(), np.int64)
            noise = np.stack([np.random.default_rng(n).normal(size=self.dimensions) for n in numbers.tolist()])
            vectors = centres[numbers % self.topics] + 0.3 * noise
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            flat = pa.array(vectors.astype(np.float16).ravel())
            return pa.table([pa.FixedSizeListArray.from_arrays(flat, self.dimensions)], schema=self.schema())

        return plant


def graph(crawl: Source, clusters: int) -> tuple[Stage, ...]:
    docs = Lines(files=crawl)
    vectors = Planted(docs=docs, topics=50, dimensions=16)
    kmeans = KMeans(embeddings=vectors, clusters=clusters, sample_rows=10**6, iterations=5, seed=1, spherical=True)
    return (Assign(embeddings=vectors, centroids=kmeans),)
