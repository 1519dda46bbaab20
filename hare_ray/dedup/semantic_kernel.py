"""Who of a cluster stays, and who speaks for the rest: products of blocks, and exact cosines of the pairs they find.

A product of matrices (float32) differs in its last bits with the shape of its blocks, and a pair at the threshold would
go or stay with the memory of the machine. So it only finds candidates: its error is at most dimensions * 2^-24 of the
product of the lengths (Cauchy-Schwarz over the rounding of every term), and what comes that near the threshold is
computed again. float16 numbers are multiples of 2^-24, their products of 2^-48, so 53 bits hold every sum below 32 as
it is: of vectors of length 1, products and squares in float64 are exact in any order of summation, and equal vectors
have cosine 1.

All pairs of a cluster are multiplied. The triangle inequality on the angles to the centroid could leave some out, but
on sentence vectors it rules out 1 % of the pairs at cosine 0.9 and 5 % at 0.95: angles to the centroid are 50 +- 10
degrees, and documents at cosine 0.95 may be 18 apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit

TILE_ROWS = 256
"""Rows decided together: enough for a product at full speed, few enough that what goes is hardly multiplied again."""

TILE_KEPT = 2048
"""Kept rows they are multiplied with at a time: 2 MiB of products, which stay in the cache while they are looked at."""

ROUNDING = 2.0**-24
"""Of a float32, relative."""

NOBODY = -1


class Rows(NamedTuple):
    """Vectors, their squared lengths, and their positions in the cluster's order of preference."""

    vectors: NDArray[np.float32]
    squares: NDArray[np.float64]
    positions: NDArray[np.int64]

    def part(self, start: int, end: int) -> Rows:
        """Some of them."""
        return Rows(self.vectors[start:end], self.squares[start:end], self.positions[start:end])


class Found(NamedTuple):
    """Of every row: cosine with the row that speaks for it (0: nobody does), and that row's position, or NOBODY."""

    similarity: NDArray[np.float64]
    speaker: NDArray[np.int64]

    def part(self, start: int, end: int) -> Found:
        """Of some rows; written through."""
        return Found(self.similarity[start:end], self.speaker[start:end])


class Bounds(NamedTuple):
    """The threshold, and how far below it a product in float32 may be of a pair that reaches it."""

    min_similarity: float
    margin: float


def nothing_found(count: int) -> Found:
    """Of rows that were compared with none."""
    return Found(np.zeros(count), np.full(count, NOBODY, np.int64))


def bounds_of(min_similarity: float, dimensions: int) -> Bounds:
    """A few roundings more than the terms: the lengths are rounded too."""
    return Bounds(min_similarity, (dimensions + 8) * ROUNDING)


def rows_of(vectors: NDArray[np.float16], positions: NDArray[np.int64]) -> Rows:
    """Vectors as they are computed with."""
    wide = vectors.astype(np.float32)
    return Rows(wide, _squares(wide), positions)


def compare(vectors: NDArray[np.float16], found: Found, kept: Rows, bounds: Bounds) -> None:
    """Let rows that stay, all of them better, speak for those of `vectors`."""
    for start in range(0, len(vectors), TILE_ROWS):
        tile = vectors[start : start + TILE_ROWS]
        _compare_tile(rows_of(tile, np.arange(len(tile))), found.part(start, start + len(tile)), kept, bounds)


def decide(vectors: NDArray[np.float16], found: Found, first: int, bounds: Bounds) -> NDArray[np.bool_]:
    """Which of the rows at `first` and after stay; the others learn who speaks for them."""
    stays = np.zeros(len(vectors), np.bool_)
    kept = Rows(np.empty(vectors.shape, np.float32), np.empty(len(vectors)), np.empty(len(vectors), np.int64))
    count = 0
    for start in range(0, len(vectors), TILE_ROWS):
        end = min(start + TILE_ROWS, len(vectors))
        tile, here = rows_of(vectors[start:end], np.arange(first + start, first + end)), found.part(start, end)
        _compare_tile(tile, here, kept.part(0, count), bounds)
        _settle(tile.vectors @ tile.vectors.T, tile, here, stays[start:end], bounds)
        some = stays[start:end]
        before, count = count, count + int(np.count_nonzero(some))
        for front, column in zip(kept, tile, strict=True):
            front[before:count] = column[some]
    return stays


def _compare_tile(tile: Rows, found: Found, kept: Rows, bounds: Bounds) -> None:
    for first in range(0, len(kept.vectors), TILE_KEPT):
        some = kept.part(first, first + TILE_KEPT)
        _compare(tile.vectors @ some.vectors.T, tile, found, some, bounds)


@njit(fastmath={"reassoc"})
def _product(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    total = 0.0
    for i in range(len(one)):
        total += np.float64(one[i]) * np.float64(two[i])
    return total


@njit
def _squares(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    found = np.empty(len(vectors), np.float64)
    for i in range(len(vectors)):
        found[i] = _product(vectors[i], vectors[i])
    return found


@njit
def _try(row: int, rows: Rows, other: int, others: Rows, found: Found, bounds: Bounds) -> None:
    """Let `other` speak for `row` if it is similar enough, and more so than who does; of equals the better one."""
    exact = _product(rows.vectors[row], others.vectors[other])
    cosine = min(exact / np.sqrt(rows.squares[row] * others.squares[other]), 1.0)
    best, by = found.similarity[row], found.speaker[row]
    position = others.positions[other]
    if cosine >= bounds.min_similarity and (cosine > best or (cosine == best and position < by)):
        found.similarity[row] = cosine
        found.speaker[row] = position


@njit
def _compare(alike: NDArray[np.float32], rows: Rows, found: Found, kept: Rows, bounds: Bounds) -> None:
    """Look at the products of rows with better ones that stay."""
    lengths = np.sqrt(kept.squares)
    for i in range(len(alike)):
        length = np.sqrt(rows.squares[i])
        least = (max(bounds.min_similarity, found.similarity[i]) - bounds.margin) * length
        for j in range(len(lengths)):
            if alike[i, j] >= least * lengths[j]:
                _try(i, rows, j, kept, found, bounds)
                least = (max(bounds.min_similarity, found.similarity[i]) - bounds.margin) * length


@njit
def _settle(alike: NDArray[np.float32], rows: Rows, found: Found, stays: NDArray[np.bool_], bounds: Bounds) -> None:
    """Look at the products of rows with each other, in order: who stays speaks for those after it."""
    lengths = np.sqrt(rows.squares)
    for i in range(len(alike)):
        for j in range(i):
            least = (max(bounds.min_similarity, found.similarity[i]) - bounds.margin) * lengths[i]
            if stays[j] and alike[i, j] >= least * lengths[j]:
                _try(i, rows, j, rows, found, bounds)
        stays[i] = found.speaker[i] == NOBODY
