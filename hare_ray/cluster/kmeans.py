"""Topics as centroids: k-means over a sample of the sentence vectors.

    embedding -> centroids.npy float32[clusters, dimensions], each of length 1

The HARE paper clusters D1 to draw seeds by topic and leaves open with what and into how many. We take
k-means over sentence vectors (faiss): its cost is linear in rows, every topic has a centre that new
documents can be compared with, and it needs no threshold. A density method would leave a large part of the
web as "noise", without a topic.

The sample is stratified: the rows of all parts, in order, are cut into `sample_rows` equal stretches and
each gives one row, drawn by `seed`. It depends on the number of rows alone, not on how they are cut into
parts, and covers every stretch of the crawl. faiss runs in one thread: sums in another order would be other
centroids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.stage import Make, Stage, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

CENTROIDS = "centroids.npy"

MIN_ROWS_PER_CLUSTER = 20
"""Fewer documents do not make a topic: its words and examples would be accidents."""

SEED_LIMIT = 2**31
"""faiss takes a 32-bit signed seed."""


def suggested_clusters(rows: int) -> int:
    """Number of topics to begin with: sqrt(rows), as long as a topic has 20 rows on average.

    Our choice, the papers give none: topics and documents per topic then grow at the same rate.
    """
    if rows < 1:
        raise ValueError(f"given rows={rows}, expected at least 1")
    return max(1, min(math.isqrt(rows), rows // MIN_ROWS_PER_CLUSTER))


class KMeans(Make):
    """Centroids of the topics."""

    embeddings: Table
    clusters: int | None
    """Number of topics; None: `suggested_clusters` of the rows there are."""
    sample_rows: int
    """Rows that are looked at; 100 to 250 per cluster are enough, all where there are fewer."""
    iterations: int
    seed: int
    spherical: bool
    """True: centroids get length 1 after every iteration (k-means by cosine), not only at the end."""

    imports: ClassVar[tuple[str, ...]] = ("faiss",)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("clusters", "sample_rows", "iterations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{self!r}: given {name}={value}, expected at least 1")
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 to {SEED_LIMIT - 1}")

    def make(self, desk: Desk) -> dict[str, int]:
        """Sample, cluster, write the centroids."""
        rows = sum(desk.rows(self.embeddings))
        sample = stratified(rows, self.sample_rows, self.seed)
        clusters = self.clusters or suggested_clusters(rows)
        if clusters > len(sample):
            raise ValueError(
                f"{self!r}: given clusters={clusters} for {len(sample)} sampled of {rows} rows; "
                f"expected at most one per row, and {suggested_clusters(max(rows, 1))} is a good number here"
            )
        vectors = vectors_of(take(desk, self.embeddings, sample, ("embedding",)))
        np.save(desk.folder / CENTROIDS, self._centroids(vectors, clusters))
        return {"rows": rows, "sampled": len(sample)}

    def _centroids(self, vectors: NDArray[np.float32], clusters: int) -> NDArray[np.float32]:
        import faiss
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            kmeans = faiss.Kmeans(
                vectors.shape[1],
                clusters,
                niter=self.iterations,
                seed=self.seed,
                spherical=self.spherical,
                min_points_per_centroid=1,
                max_points_per_centroid=len(vectors),  # the sample is ours: faiss must not draw another one
            )
            kmeans.train(vectors)
        return normalised(np.asarray(kmeans.centroids, np.float32))


def stratified(rows: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """`wanted` of `rows` row numbers, ascending, one from each of as many equal stretches; all of fewer."""
    if wanted >= rows:
        return np.arange(rows)
    edges = np.arange(wanted + 1, dtype=np.int64) * rows // wanted
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


def edges_of(desk: Desk, stage: Table) -> NDArray[np.int64]:
    """Number of the first row of every part, over all parts, and of the row after the last."""
    return np.concatenate([[0], np.cumsum(desk.rows(stage), dtype=np.int64)])


def check_one_base(stage: Stage, first: Table, *others: Table) -> None:
    """Refuse tables whose rows are not the same documents."""
    for other in others:
        if other.base is not first.base:
            raise ValueError(
                f"{stage!r} joins {first!r} on base {first.base!r} with {other!r} on base {other.base!r}; "
                "rows join by position, so all must speak of one and the same base object"
            )


def take(desk: Desk, stage: Table, rows: NDArray[np.int64], columns: Iterable[str]) -> pa.Table:
    """Rows of a table, by ascending number over all its parts."""
    edges = edges_of(desk, stage)
    cuts = np.searchsorted(rows, edges)
    items = [
        (part, rows[cuts[part] : cuts[part + 1]] - edges[part])
        for part in range(len(edges) - 1)
        if cuts[part] < cuts[part + 1]
    ]
    names = tuple(columns)
    nothing = pa.schema([stage.schema().field(name) for name in names]).empty_table()
    return pa.concat_tables([nothing, *desk.map(partial(_take, desk, stage, names), items)])


def _take(desk: Desk, stage: Table, columns: tuple[str, ...], item: tuple[int, NDArray[np.int64]]) -> pa.Table:
    part, rows = item
    return desk.read(stage, part, columns).take(pa.array(rows))


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors brought to length 1; zero vectors stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def vectors_of(table: pa.Table) -> NDArray[np.float32]:
    """The column `embedding` as a matrix [rows, dimensions]."""
    column = table.column("embedding")
    flat = np.concatenate([np.empty(0, np.float16), *(chunk.flatten().to_numpy() for chunk in column.chunks)])
    return flat.reshape(len(column), column.type.list_size).astype(np.float32)
