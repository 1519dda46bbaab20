"""Connected components of rows under "is a copy of", by union-find over arrays.

    parent integer[rows], edges (a, b)  ->  label of a row = smallest row of its component

Union points the larger root to the smaller one and finding halves paths, so the label does not depend on the
order of the edges, and edges may come in any number of batches. One integer per row is all that is held: 4
bytes below 2^32 rows, 8 above, on the machine of the driver; a billion rows take 4 GB. A distributed
algorithm (alternating stars) would need a dozen shuffles of all edges instead.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Parents = NDArray[np.uint32 | np.int64]


def singletons(rows: int) -> Parents:
    """Every row a component of its own."""
    return np.arange(rows, dtype=np.uint32 if rows <= 1 << 32 else np.int64)


@njit(cache=True, nogil=True)
def _root(parent: Parents, row: np.int64) -> np.int64:
    while np.int64(parent[row]) != row:
        parent[row] = parent[np.int64(parent[row])]
        row = np.int64(parent[row])
    return row


@njit(cache=True, nogil=True)
def join(parent: Parents, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
    """Unite first[i] and second[i] for every i, in place."""
    for i in range(len(first)):
        a, b = _root(parent, first[i]), _root(parent, second[i])
        if a < b:
            parent[b] = a
        else:
            parent[a] = b


@njit(cache=True, nogil=True)
def flatten(parent: Parents) -> None:
    """Give every row the smallest row of its component, in place: no parent is larger than its child."""
    for row in range(len(parent)):
        parent[row] = parent[np.int64(parent[row])]
