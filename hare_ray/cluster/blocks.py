"""The sampled vectors of a k-means, in fixed blocks of rows: few in this process, many in the desk's scratch.

Blocks are cut by row number, so they are the same for every number of workers and every cut of the table into parts.
Zero vectors, of documents without text, are left out: they have no direction, and would be a cluster of their own.
A map over the blocks costs 10 to 50 ms on Ray and their way through the scratch, so a sample of one block, which is
enough for 64 clusters, stays in the process that drives. Both ways give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.cluster.lloyd import BLOCK_ROWS, Matrix, Partial, Step, here, partial_of
from hare_ray.cluster.sample import edges_of, located, vectors_of
from hare_ray.stage import Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

LOCAL_ROWS = BLOCK_ROWS
"""Sampled rows up to which all is done in the driving process."""

HASH_SEED = 0
CENTROIDS_NAME = "centroids"

Half = NDArray[np.float16]


@dataclass(frozen=True)
class Blocks:
    """Sampled vectors that are not zero."""

    desk: Desk
    dimensions: int
    sizes: tuple[int, ...]
    """Rows of each block."""
    zero: int
    hashes: NDArray[np.uint64]
    """One of every row: equal rows have equal ones."""
    held: tuple[Half, ...] | None
    """The blocks themselves, where they are in this process and not in the scratch."""
    gpu: bool
    """All work is done in this process, which has a GPU."""

    @property
    def rows(self) -> int:
        """Rows of all blocks."""
        return sum(self.sizes)

    @property
    def distinct(self) -> int:
        """Different vectors."""
        return len(np.unique(self.hashes))

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """The function of every item in order: in parallel, or one after the other where this process has the GPU."""
        return map(function, items) if self.gpu else self.desk.map(function, items)

    def step(self, spherical: bool) -> Step:
        """One iteration over the blocks."""
        if self.held is not None:
            return here(self.held, spherical, self.gpu)

        def everywhere(centroids: Matrix) -> Iterable[Partial]:
            self.desk.put(CENTROIDS_NAME, centroids.tobytes())
            return self.map(partial(_step, self.desk, self.dimensions, spherical, self.gpu), range(len(self.sizes)))

        return everywhere

    def keep(self) -> None:
        """Put those that are in this process into the scratch."""
        for number, block in enumerate(self.held or ()):
            self.desk.put(block_name(number), block.tobytes())

    def take(self, rows: NDArray[np.int64]) -> Half:
        """Rows by ascending number."""
        items = located(rows, np.concatenate([[0], np.cumsum(self.sizes)]))
        if self.held is not None:
            found = [self.held[number][some] for number, some in items]
        else:
            found = self.desk.map(partial(_rows, self.desk, self.dimensions), items)
        return np.concatenate([np.empty((0, self.dimensions), np.float16), *found])


def kept_matrix(desk: Desk, name: str, dimensions: int, dtype: type[np.generic] = np.float16) -> NDArray:
    """A matrix out of the desk's scratch."""
    return np.frombuffer(desk.get(name), dtype).reshape(-1, dimensions)


def block_name(number: int) -> str:
    """Its name in the desk's scratch."""
    return f"block-{number:05d}"


def _step(desk: Desk, dimensions: int, spherical: bool, gpu: bool, number: int) -> Partial:
    centroids = kept_matrix(desk, CENTROIDS_NAME, dimensions, np.float32)
    return partial_of(kept_matrix(desk, block_name(number), dimensions), centroids, spherical, gpu)


def _rows(desk: Desk, dimensions: int, item: tuple[int, NDArray[np.int64]]) -> Half:
    number, rows = item
    return kept_matrix(desk, block_name(number), dimensions)[rows]


def blocks_of(desk: Desk, embeddings: Table, sample: NDArray[np.int64], gpu: bool) -> Blocks:
    """The vectors of the sampled row numbers in blocks."""
    dimensions = embeddings.schema().field("embedding").type.list_size
    edges = edges_of(desk, embeddings)
    cuts = [*range(0, len(sample), BLOCK_ROWS), len(sample)]
    if len(sample) <= LOCAL_ROWS:
        parts = desk.map(partial(_part, desk, embeddings), located(sample, edges))
        vectors = np.concatenate([np.empty((0, dimensions), np.float16), *parts])
        held = tuple(filled(vectors[start:stop]) for start, stop in pairwise(cuts))
        hashes = [hashes_of(block) for block in held]
    else:
        items = [(at, located(sample[start:stop], edges)) for at, (start, stop) in enumerate(pairwise(cuts))]
        held, hashes = None, desk.map(partial(_keep, desk, embeddings), items)
    sizes = tuple(len(some) for some in hashes)
    joined = np.concatenate([np.empty(0, np.uint64), *hashes])
    return Blocks(desk, dimensions, sizes, len(sample) - len(joined), joined, held, gpu)


def _part(desk: Desk, embeddings: Table, item: tuple[int, NDArray[np.int64]]) -> Half:
    part, rows = item
    table = desk.read(embeddings, part, ("embedding",)).take(pa.array(rows))
    return vectors_of(table, f"{embeddings!r}, part {part}, sampled rows").astype(np.float16)


def _keep(desk: Desk, embeddings: Table, item: tuple[int, list[tuple[int, NDArray[np.int64]]]]) -> NDArray[np.uint64]:
    number, parts = item
    block = filled(np.concatenate([_part(desk, embeddings, part) for part in parts]))
    desk.put(block_name(number), block.tobytes())
    return hashes_of(block)


def filled(vectors: Half) -> Half:
    """Those that are not zero."""
    return vectors[vectors.any(axis=1)]


def hashes_of(vectors: Half) -> NDArray[np.uint64]:
    """A number per row: a sum of its bit patterns with random odd factors, modulo 2**64."""
    rng = np.random.default_rng(HASH_SEED)
    factors = rng.integers(0, 2**64, vectors.shape[1], dtype=np.uint64) | np.uint64(1)
    return (vectors + np.float16(0)).view(np.uint16).astype(np.uint64) @ factors  # minus zero plus zero is zero
