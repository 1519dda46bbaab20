"""The loops over bags of hashed n-grams, for `hare_ray.quality.members`."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

Array: TypeAlias = NDArray[Any]


@njit
def runs(hashes: Array, buckets: Int, base: Int, values: Array, columns: Array) -> Int:
    """Write the different buckets of one text, and 1 + ln(count) of each brought to length 1; how many there are."""
    found = np.sort((hashes % np.uint64(buckets)).astype(np.int32))
    written = 0
    squares = 0.0
    start = 0
    for place in range(1, len(found) + 1):
        if place == len(found) or found[place] != found[start]:
            value = 1 + math.log(place - start)
            squares += value * value
            values[written] = value
            columns[written] = base + found[start]
            written += 1
            start = place
    if written:
        values[:written] /= np.float32(math.sqrt(squares))
    return written


@njit
def fill(edges: Array, hashes: Array, starts: Array, buckets: Int, out: tuple[Array, Array, Array]) -> None:
    """Write the rows of all texts; `edges[kind]` are places in `hashes` less those of the kinds before, `starts`."""
    values, columns, offsets = out
    written = 0
    for text in range(edges.shape[1] - 1):
        for kind in range(len(edges)):
            begin, stop = starts[kind] + edges[kind, text], starts[kind] + edges[kind, text + 1]
            base = kind * buckets
            written += runs(hashes[begin:stop], buckets, base, values[written:], columns[written:])
        offsets[text + 1] = written


def bagged(edges: list[Array], hashes: list[Array], buckets: int) -> tuple[Array, Array, Array]:
    """Values, columns and offsets of the rows; edges[kind] and hashes[kind] are the n-grams of a kind."""
    starts = np.cumsum([0, *(len(some) for some in hashes)])
    values, columns = np.empty(starts[-1], np.float32), np.empty(starts[-1], np.int32)
    offsets = np.zeros(len(edges[0]), np.int64)
    fill(np.stack(edges), np.concatenate(hashes), starts, buckets, (values, columns, offsets))
    return values[: offsets[-1]], columns[: offsets[-1]], offsets


@njit
def products(values: Array, columns: Array, offsets: Array, weights: Array) -> NDArray[np.float64]:
    """Product of every row with `weights`."""
    found = np.zeros(len(offsets) - 1)
    for text in range(len(found)):
        total = 0.0
        for place in range(offsets[text], offsets[text + 1]):
            total += values[place] * weights[columns[place]]
        found[text] = total
    return found
