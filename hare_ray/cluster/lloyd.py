"""k-means over blocks of rows: sums per block, added in the order of the blocks.

An iteration takes every block to its nearest centroids and adds its vectors up by cluster; where that happens does
not matter, and the sums of blocks are added in float64 in one fixed order. So the same blocks give the same bits in
one process and in a hundred. What a process holds is one block, the centroids and one set of sums.

Nearest is a matrix product and the largest of each row. The product is all of the time (16,384 rows with 1,000
centroids of 384 dimensions: 0.116 s of 0.118), so an index of faiss, which does the same product, is no faster on a
CPU; on a GPU it is faiss that does it.

Start: greedy k-means++ (of 2 + log k candidates the one that helps most), several times on a bounded sample, each
taken some iterations further; the best mean similarity goes on. Among starts of the same vectors that mean goes along
with NMI against human labels (correlation 0.5 to 0.75 at 20 topics, none at 60), and the best of ten starts gains
0.01 to 0.02 of NMI over one. Many clusters get a single start: the gain is gone and the price is not.

A cluster without rows is given half of the widest one, that of the largest sum of distances: both centroids move
apart by a thousandth, in a drawn direction at right angles to the centroid; rows lie on both sides, unless all are
equal. The row farthest away, the other usual choice, is mostly noise and stays alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hare_ray.cluster.gpu import nearest_by_faiss
from hare_ray.cluster.sample import normalised, stratified

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

BLOCK_ROWS = 16_384
"""Rows of a block: 25 MB of float32 at 384 dimensions, an eighth of a second of work for 1,000 clusters."""

PRODUCT_ROWS = 1024
"""Rows of one product: with 4,096 centroids 16 MiB of similarities, which are read once and overwritten."""

START_ROWS_PER_CLUSTER = 4
"""Of 1,000 clusters, 16 rows each instead of 4 raise the mean similarity by 0.001; a drawn start lowers it by 0.005."""
MIN_START_ROWS = 8192
STARTS = 10
START_ITERATIONS = 10
START_WORK = 3 * 10**10
"""Multiplications of k-means++ in all starts, 3 s of one core: 100 clusters get ten starts, from 1,000 on one."""

SPLIT = 1 / 1024
"""How far the halves of a cluster begin from its centroid."""

TINY = 1e-12
"""Square of a length that is none: the mean of rows that cancel each other."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Partial:
    """What one block says of given centroids."""

    sums: Matrix
    cluster: NDArray[np.int32]
    scores: NDArray[np.float64]
    """Sum of the scores of every cluster's rows."""


@dataclass(frozen=True)
class Fit:
    """Centroids and how they came about."""

    centroids: Matrix
    score: float
    """Mean similarity (not spherical: half the squared distance less, up to a constant) in the last iteration."""
    iterations: int
    moved: int
    """Rows that changed their cluster in the last iteration."""
    empty: int
    """Clusters without rows in the last iteration."""


Step = Callable[[Matrix], Iterable[Partial]]
"""All blocks, in order, for given centroids."""


@cache
def _threads() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """Products in one thread: split over threads they are other ones in the last bits."""
    return _threads().limit(limits=1)


def nearest(vectors: Matrix, centroids: Matrix, spherical: bool = True) -> tuple[NDArray[np.int32], Matrix]:
    """The first of the nearest centroids of every row, and its product with it (less half its square)."""
    cluster = np.empty(len(vectors), np.int32)
    score = np.empty(len(vectors), np.float32)
    room = np.empty((min(PRODUCT_ROWS, len(vectors)), len(centroids)), np.float32)
    half = np.float32(0.5) * np.einsum("ij,ij->i", centroids, centroids)
    for start in range(0, len(vectors), PRODUCT_ROWS):
        rows = vectors[start : start + PRODUCT_ROWS]
        alike = np.matmul(rows, centroids.T, out=room[: len(rows)])
        if not spherical:
            alike -= half
        best = alike.argmax(axis=1)
        cluster[start : start + len(rows)] = best
        score[start : start + len(rows)] = alike[np.arange(len(rows)), best]
    return cluster, score


def added(vectors: Matrix, cluster: NDArray[np.int32], clusters: int) -> Matrix:
    """Sum of the vectors of every cluster, in the order of the rows."""
    from scipy.sparse import csr_array

    order = np.argsort(cluster, kind="stable")
    ends = np.cumsum(np.bincount(cluster, minlength=clusters))
    ones = np.ones(len(vectors), np.float32)
    return csr_array((ones, order, np.concatenate([[0], ends])), shape=(clusters, len(vectors))) @ vectors


def partial_of(block: NDArray[np.float16], centroids: Matrix, spherical: bool, gpu: bool = False) -> Partial:
    """One block."""
    vectors = block.astype(np.float32)
    with one_thread():
        found = nearest_by_faiss(vectors, centroids, spherical, gpu) if gpu else nearest(vectors, centroids, spherical)
        cluster, score = found
        scores = np.bincount(cluster, weights=score, minlength=len(centroids)).astype(np.float64)
        return Partial(added(vectors, cluster, len(centroids)), cluster, scores)


def here(blocks: Sequence[NDArray[np.float16]], spherical: bool, gpu: bool = False) -> Step:
    """All blocks in this process, one after the other."""
    return lambda centroids: (partial_of(block, centroids, spherical, gpu) for block in blocks)


def cut(vectors: NDArray[np.float16]) -> list[NDArray[np.float16]]:
    """A matrix in blocks."""
    return [vectors[start : start + BLOCK_ROWS] for start in range(0, len(vectors), BLOCK_ROWS)]


def lloyd(step: Step, start: Matrix, iterations: int, spherical: bool) -> Fit:
    """Iterate until no row moves, at most `iterations` times."""
    centroids = start
    before = np.empty(0, np.int32)
    fit = Fit(start, -math.inf, 0, 0, 0)
    for iteration in range(1, iterations + 1):
        found: list[NDArray[np.int32]] = []
        sums, scores = np.zeros(start.shape), np.zeros(len(start))
        for partial in step(centroids):
            sums += partial.sums
            scores += partial.scores
            found.append(partial.cluster)
        cluster = np.concatenate(found)
        moved = int(np.count_nonzero(cluster != before)) if iteration > 1 else len(cluster)
        counts = np.bincount(cluster, minlength=len(start))
        wide = counts * (1.0 if spherical else 0.5) - scores  # half the squared distances of vectors of length 1
        centroids = _refilled(_updated(centroids, sums, counts, spherical), counts, wide, iteration)
        empty = int(np.count_nonzero(counts == 0))
        fit = Fit(centroids, float(scores.sum()) / len(cluster), iteration, moved, empty)
        if moved == 0 and fit.empty == 0:
            break
        before = cluster
    return fit


def _updated(centroids: Matrix, sums: NDArray[np.float64], counts: NDArray[np.int64], spherical: bool) -> Matrix:
    """The means; a spherical cluster whose rows cancel each other has no direction, and keeps the one it had."""
    means = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    if not spherical:
        return means
    lost = np.einsum("ij,ij->i", means, means) < TINY
    return np.where(lost[:, None], centroids, normalised(means))


def _refilled(centroids: Matrix, counts: NDArray[np.int64], wide: NDArray[np.float64], iteration: int) -> Matrix:
    rng = np.random.default_rng(iteration)
    left = wide.copy()
    for empty in np.flatnonzero(counts == 0):
        widest = left.argmax()
        apart = rng.normal(size=centroids.shape[1]).astype(np.float32)
        centre = centroids[widest].copy()
        apart -= centre * (apart @ centre) / max(float(centre @ centre), TINY)
        apart *= np.float32(SPLIT) / np.linalg.norm(apart)
        centroids[empty], centroids[widest] = centre + apart, centre - apart
        left[empty] = left[widest] = left[widest] / 2
    return centroids


def _candidates(clusters: int) -> int:
    return 2 + int(math.log(clusters))


def plus_plus(vectors: Matrix, clusters: int, rng: np.random.Generator) -> Matrix:
    """Greedy k-means++: rows drawn by squared distance from those chosen, the best of a few each time."""
    candidates = _candidates(clusters)
    squares = np.einsum("ij,ij->i", vectors, vectors)
    chosen = np.empty(clusters, np.int64)
    chosen[0] = rng.integers(len(vectors))
    distance = np.full(len(vectors), np.inf, np.float32)
    distance = np.minimum(distance, _distances(vectors, squares, chosen[:1])[:, 0])
    for at in range(1, clusters):
        heights = np.cumsum(distance, dtype=np.float64)
        drawn = np.searchsorted(heights, rng.random(candidates) * heights[-1], side="right")
        drawn = np.minimum(drawn, len(vectors) - 1)
        closer = np.minimum(distance[:, None], _distances(vectors, squares, drawn))
        best = closer.sum(axis=0, dtype=np.float64).argmin()
        chosen[at] = drawn[best]
        distance = np.ascontiguousarray(closer[:, best])
    return vectors[chosen]


def _distances(vectors: Matrix, squares: Matrix, rows: NDArray[np.int64]) -> Matrix:
    apart = squares[:, None] + squares[rows] - 2 * (vectors @ vectors[rows].T)
    apart[rows, np.arange(len(rows))] = 0  # a row is at its own place, whatever the rounding
    return np.maximum(apart, 0)


def started(rows: NDArray[np.float16], clusters: int, seed: int, spherical: bool) -> Matrix:
    """Centroids to begin with, from the rows of the start."""
    starts = min(STARTS, max(1, START_WORK // (rows.size * clusters * _candidates(clusters))))
    vectors = rows.astype(np.float32)
    step = here(cut(rows), spherical)
    best: Fit | None = None
    with one_thread():
        for number in range(starts):
            first = plus_plus(vectors, clusters, np.random.default_rng((seed, number)))
            fit = lloyd(step, first, START_ITERATIONS, spherical)
            best = fit if best is None or fit.score > best.score else best
    assert best is not None
    return best.centroids


def start_rows(rows: int, clusters: int) -> int:
    """How many of the rows the start looks at."""
    return min(rows, max(MIN_START_ROWS, START_ROWS_PER_CLUSTER * clusters))


@dataclass(frozen=True)
class How:
    """What a k-means in one process must know."""

    iterations: int
    seed: int
    spherical: bool
    gpu: bool


def fitted(vectors: NDArray[np.float16], clusters: int, how: How) -> Fit:
    """k-means of a matrix in this process."""
    first = vectors[stratified(len(vectors), start_rows(len(vectors), clusters), how.seed)]
    start = started(first, clusters, how.seed, how.spherical)
    return lloyd(here(cut(vectors), how.spherical, how.gpu), start, how.iterations, how.spherical)
