"""k-means into very many clusters: coarse cells first, then every cell into its share of the clusters.

    sampled blocks -> coarse centroids [cells, dimensions], fine centroids [clusters, dimensions] cell by cell

An iteration costs rows x clusters, and with it the partial sums of a block grow to more than the block. With sqrt(k)
cells of sqrt(k) clusters each it costs 2 x rows x sqrt(k); a cell is a k-means of its own and fits into one process.
A cell's share of the clusters is proportional to its rows (Webster's method), so that clusters come out about
equally large everywhere, at least one, and no more than it has different vectors. Cells are trained on a part of the
sample. Rows travel through the scratch: tasks of `STRETCH` blocks write one file per cell, a task per cell reads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hare_ray.cluster.blocks import Blocks, Half, block_name, kept_matrix
from hare_ray.cluster.lloyd import Fit, How, Matrix, fitted, nearest, one_thread
from hare_ray.cluster.sample import stratified

if TYPE_CHECKING:
    from hare_ray.gather import Desk

MOST_ON_ONE_LEVEL = 4096
"""Clusters: an iteration of a block takes half a second of one core, and its partial sums are a quarter of it."""

STRETCH = 8
"""Blocks of one task that cuts rows by cell: 100 MB at 384 dimensions."""

COARSE_NAME = "coarse"


@dataclass(frozen=True)
class TwoLevels:
    """Centroids of both levels."""

    coarse: Matrix
    offsets: NDArray[np.int64]
    """Number of the first fine centroid of every cell, and of all."""
    fine: Matrix
    iterations: int
    moved: int
    empty: int


def two_levels(blocks: Blocks, clusters: int, how: How, rows_per_cluster: int) -> TwoLevels:
    """Fit both levels."""
    blocks.keep()
    desk = blocks.desk
    cells = math.isqrt(clusters)
    trained = blocks.take(stratified(blocks.rows, rows_per_cluster * cells, how.seed))
    coarse = fitted(trained, cells, how).centroids
    desk.put(COARSE_NAME, coarse.tobytes())
    starts = range(0, len(blocks.sizes), STRETCH)
    items = [(start, min(start + STRETCH, len(blocks.sizes))) for start in starts]
    cell = np.concatenate(desk.map(partial(_cut, desk, blocks.dimensions, how.spherical), items))
    sizes = np.bincount(cell, minlength=cells)
    _, first = np.unique(blocks.hashes, return_index=True)
    distinct = np.maximum(np.bincount(cell[first], minlength=cells), np.minimum(sizes, 1))
    wanted = shares(sizes, distinct, clusters)
    filled = np.flatnonzero(sizes)
    tasks = [(int(number), [start for start, _ in items], int(wanted[number])) for number in filled]
    fits: list[Fit] = list(blocks.map(partial(_fit, desk, blocks.dimensions, how), tasks))
    return TwoLevels(
        coarse=coarse[filled],
        offsets=np.concatenate([[0], np.cumsum(wanted[filled])]),
        fine=np.concatenate([fit.centroids for fit in fits]),
        iterations=max(fit.iterations for fit in fits),
        moved=sum(fit.moved for fit in fits),
        empty=sum(fit.empty for fit in fits),
    )


def shares(sizes: NDArray[np.int64], most: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Seats that add up to `total`, by Webster's method from `sizes`: 1 (0 where the size is 0) to `most` for each."""
    given = np.minimum(sizes, 1)
    if not given.sum() <= total <= most.sum():
        raise ValueError(f"given {total} clusters for {given.sum()} cells of {most.sum()} different vectors")
    quotients = np.where(given < most, sizes / (2 * given + 1), -1.0)
    for _ in range(total - int(given.sum())):
        best = quotients.argmax()
        given[best] += 1
        quotients[best] = sizes[best] / (2 * given[best] + 1) if given[best] < most[best] else -1.0
    return given


def _cell_name(cell: int, start: int) -> str:
    return f"cell-{cell:05d}-{start:05d}"


def _cut(desk: Desk, dimensions: int, spherical: bool, item: tuple[int, int]) -> NDArray[np.int32]:
    coarse = kept_matrix(desk, COARSE_NAME, dimensions, np.float32)
    blocks = [kept_matrix(desk, block_name(number), dimensions) for number in range(*item)]
    with one_thread():
        cell = np.concatenate([nearest(block.astype(np.float32), coarse, spherical)[0] for block in blocks])
    rows = np.concatenate(blocks)[np.argsort(cell, kind="stable")]
    ends = np.cumsum(np.bincount(cell, minlength=len(coarse)))
    for number, end in enumerate(ends):
        begin = ends[number - 1] if number else 0
        desk.put(_cell_name(number, item[0]), rows[begin:end].tobytes())
    return cell


def _fit(desk: Desk, dimensions: int, how: How, item: tuple[int, list[int], int]) -> Fit:
    cell, starts, clusters = item
    rows: list[Half] = [kept_matrix(desk, _cell_name(cell, start), dimensions) for start in starts]
    return fitted(np.concatenate(rows), clusters, how)
