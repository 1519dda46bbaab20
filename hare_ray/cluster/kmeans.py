"""Topics as centroids: k-means over a sample of the sentence vectors.

    embedding -> centroids.npy float32[clusters, dimensions], each of length 1
                 above 4,096 clusters also coarse.npy float32[cells, dimensions] and offsets.npy int64[cells + 1]:
                 the centroids of cell i are offsets[i] to offsets[i + 1]

The HARE paper clusters D1 to draw seeds by topic and leaves open with what and into how many. We take k-means over
sentence vectors: its cost is linear in rows, every topic has a centre that new documents can be compared with, and it
needs no threshold. A density method would leave a large part of the web as "noise", without a topic.

Looked at are `ROWS_PER_CLUSTER` rows per cluster, at most `sample_rows`, spread over the whole table (`sample`). Zero
vectors, of documents without text, are left out. Blocks of the sample go through Lloyd's iterations in parallel, with
the same centroids for every number of workers (`blocks`, `lloyd`), or cell by cell (`two_level`). `iterations` is the
most there are: it ends when no row moves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hare_ray.cluster.blocks import Blocks, blocks_of
from hare_ray.cluster.gpu import resources
from hare_ray.cluster.lloyd import How, lloyd, start_rows, started
from hare_ray.cluster.sample import normalised, stratified
from hare_ray.cluster.two_level import MOST_ON_ONE_LEVEL, two_levels
from hare_ray.stage import Make, Needs, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

CENTROIDS = "centroids.npy"
COARSE = "coarse.npy"
OFFSETS = "offsets.npy"

MIN_ROWS_PER_CLUSTER = 20
"""Fewer documents do not make a topic: its words and examples would be accidents."""

SEED_LIMIT = 2**31
"""A 32-bit signed number, for the libraries that take no more."""

ROWS_PER_CLUSTER = 256
"""The rule of faiss. Mean similarity of 47,500 texts (MiniLM) to the nearest of 40 centroids that were made of 64,
128, 256 or 1,024 rows each: 0.408, 0.420, 0.427, 0.431; four times the work for the last hundredth part."""


def suggested_clusters(rows: int) -> int:
    """Number of topics to begin with: sqrt(rows), as long as a topic has 20 rows on average.

    Topics and documents per topic then grow at the same rate, and comparing all documents of a topic with each other
    costs rows ** 1.5. Beyond a million rows, rows / 1000 would be more: topics of a fixed size. 100,000 of them for
    10 ** 8 documents are no longer looked through by anybody, and would need a sample of 25 million rows.
    """
    if rows < 1:
        raise ValueError(f"given rows={rows}, expected at least 1")
    return max(1, min(math.isqrt(rows), rows // MIN_ROWS_PER_CLUSTER))


class KMeans(Make):
    """Centroids of the topics."""

    embeddings: Table
    clusters: int | None
    """Number of topics; None: `suggested_clusters` of the rows there are, or as many as have different vectors."""
    sample_rows: int
    """Rows that are looked at, at most; 256 per cluster are nearly as good as all, and more are not taken."""
    iterations: int
    seed: int
    spherical: bool
    """True: centroids get length 1 after every iteration (k-means by cosine), not only at the end."""
    gpus: int = 0
    """1: faiss on the GPU of one process does the work; 0: all CPUs do."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("scipy", "threadpoolctl")
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "gpus"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing; say what the stage takes."""
        if self.gpus not in (0, 1):
            raise ValueError(f"{self!r}: given gpus={self.gpus}, expected 0 or 1; the sample is little work for one")
        if self.gpus:
            object.__setattr__(self, "needs", Needs(gpus=1))
        for name in ("clusters", "sample_rows", "iterations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{self!r}: given {name}={value}, expected at least 1")
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 to {SEED_LIMIT - 1}")

    def required_packages(self) -> tuple[str, ...]:
        """With a GPU also faiss, which nothing uses on a CPU."""
        return (*self.imports, "faiss") if self.gpus else self.imports

    def make(self, desk: Desk) -> dict[str, int]:
        """Sample, cluster, write the centroids."""
        if self.gpus:
            resources()
        rows = sum(desk.rows(self.embeddings))
        if rows == 0:
            raise ValueError(
                f"{self!r}: given no rows at all in {self.embeddings!r}, expected at least one per cluster"
            )
        wanted = self.clusters or suggested_clusters(rows)
        sample = stratified(rows, min(self.sample_rows, ROWS_PER_CLUSTER * wanted), self.seed)
        if self.clusters and self.clusters > len(sample):
            raise ValueError(
                f"{self!r}: given clusters={wanted} for {len(sample)} sampled of {rows} rows; "
                f"expected at most one per row, and {suggested_clusters(rows)} is a good number here"
            )
        blocks = blocks_of(desk, self.embeddings, sample, gpu=self.gpus > 0)
        distinct = blocks.distinct
        clusters = self._possible(wanted, distinct, blocks)
        fit = self._fit(desk, blocks, clusters)
        books = {"rows": rows, "sampled": len(sample), "zero": blocks.zero, "distinct": distinct, "clusters": clusters}
        return {**books, **fit}

    def _possible(self, wanted: int, distinct: int, blocks: Blocks) -> int:
        """No more clusters than different vectors: two equal centroids would share their rows by accident."""
        if distinct == 0:
            raise ValueError(
                f"{self!r}: given {blocks.zero} sampled rows that are all zero vectors, expected some that are not; "
                "these documents have no text"
            )
        if self.clusters and self.clusters > distinct:
            raise ValueError(
                f"{self!r}: given clusters={self.clusters} for {distinct} different vectors in {blocks.rows} sampled "
                f"rows; expected at most one per different vector: give clusters={distinct} or fewer, or None"
            )
        return min(wanted, distinct)

    def _fit(self, desk: Desk, blocks: Blocks, clusters: int) -> dict[str, int]:
        if clusters > MOST_ON_ONE_LEVEL:
            how = How(self.iterations, self.seed, self.spherical, blocks.gpu)
            both = two_levels(blocks, clusters, how, ROWS_PER_CLUSTER)
            np.save(desk.folder / CENTROIDS, normalised(both.fine))
            np.save(desk.folder / COARSE, normalised(both.coarse))
            np.save(desk.folder / OFFSETS, both.offsets)
            return {
                "cells": len(both.coarse),
                "iterations": both.iterations,
                "moved": both.moved,
                "empty": both.empty,
            }
        first = blocks.take(stratified(blocks.rows, start_rows(blocks.rows, clusters), self.seed))
        start = started(first, clusters, self.seed, self.spherical)
        fit = lloyd(blocks.step(self.spherical), start, self.iterations, self.spherical)
        np.save(desk.folder / CENTROIDS, normalised(fit.centroids))
        return {"iterations": fit.iterations, "moved": fit.moved, "empty": fit.empty}
