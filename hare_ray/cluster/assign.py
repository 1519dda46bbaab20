"""The topic of every document: the centroid its vector is most like.

    embedding, centroids.npy -> cluster int32, similarity float32 (cosine with that centroid, -1 to 1)

Vectors and centroids have length 1, so the nearest centroid is the largest of one matrix product, done in
blocks of rows. That is exact; an approximate index would pay off beyond some 100,000 topics. Of equal
centroids the first wins. Lengths are 1 to rounding, so products are clipped to what a cosine can be. A zero
vector (a document without text) goes to cluster 0 with similarity 0.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa

from hare_ray.cluster.kmeans import CENTROIDS, vectors_of
from hare_ray.stage import Annotate, Files, Make, PartFunction, Table

BLOCK_BYTES = 64 << 20
"""Room for the similarities of one block of rows with all centroids."""


class Assign(Annotate):
    """Nearest topic, and how near."""

    embeddings: Table
    centroids: Make

    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("cluster", pa.int32(), nullable=False),
            pa.field("similarity", pa.float32(), nullable=False),
        ]
    )
    reads: ClassVar[tuple[str, ...] | None] = ("embedding",)

    def prepare(self, files: Files) -> PartFunction:
        """Load the centroids."""
        from threadpoolctl import ThreadpoolController

        centroids = np.load(files(self.centroids) / CENTROIDS)
        threads = ThreadpoolController()
        block = max(1, BLOCK_BYTES // (4 * len(centroids)))

        def assign(embeddings: pa.Table) -> pa.Table:
            vectors = vectors_of(embeddings)
            if vectors.shape[1] != centroids.shape[1]:
                raise ValueError(
                    f"{self!r}: given vectors of {vectors.shape[1]} dimensions and centroids of "
                    f"{centroids.shape[1]}; make both from one model"
                )
            cluster = np.empty(len(vectors), np.int32)
            similarity = np.empty(len(vectors), np.float32)
            with threads.limit(limits=1):  # a product split over threads is another one in the last bits
                for start in range(0, len(vectors), block):
                    alike = vectors[start : start + block] @ centroids.T
                    best = alike.argmax(axis=1)
                    cluster[start : start + block] = best
                    similarity[start : start + block] = np.clip(alike[np.arange(len(best)), best], -1, 1)
            return pa.table([pa.array(cluster), pa.array(similarity)], schema=self.writes)

        return assign
