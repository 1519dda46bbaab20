"""The loops over bags of hashed n-grams, for `hare_ray.quality.members`."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import Int, finish

Array: TypeAlias = NDArray[Any]

SPACE = 32
"""Bytes up to here are blanks and controls."""


@njit
def runs(hashes: Array, buckets: Int, base: Int, out: tuple[Array, Array], written: Int) -> Int:
    """Write the different buckets of one text and how often each is there; where the next text begins."""
    counts, columns = out
    found = np.sort((hashes % np.uint64(buckets)).astype(np.int32))
    start = 0
    for place in range(1, len(found) + 1):
        if place == len(found) or found[place] != found[start]:
            counts[written] = place - start
            columns[written] = base + found[start]
            written += 1
            start = place
    return written


@njit
def as_shares(counts: Array) -> None:
    """Shares of all."""
    counts /= np.float32(max(counts.sum(), 1))


@njit
def as_logs(counts: Array) -> None:
    """1 + ln(count), brought to length 1."""
    squares = 0.0
    for place in range(len(counts)):
        counts[place] = 1 + math.log(counts[place])
        squares += counts[place] * counts[place]
    counts /= np.float32(math.sqrt(max(squares, 1.0)))


@njit
def fill(
    edges: Array, hashes: Array, starts: Array, how: tuple[Int, bool], out: tuple[Array, Array], offsets: Array
) -> None:
    """Write the rows of all texts; `edges[kind]` are places in `hashes` less those of the kinds before, `starts`."""
    buckets, logs = how
    written = 0
    for text in range(edges.shape[1] - 1):
        for kind in range(len(edges)):
            begin, stop = starts[kind] + edges[kind, text], starts[kind] + edges[kind, text + 1]
            first = written
            written = runs(hashes[begin:stop], buckets, kind * buckets, out, written)
            if logs:
                as_logs(out[0][first:written])
            else:
                as_shares(out[0][first:written])
        offsets[text + 1] = written


def bagged(edges: list[Array], hashes: list[Array], buckets: int, logs: bool) -> tuple[Array, Array, Array]:
    """Values, columns and offsets of the rows; edges[kind] and hashes[kind] are the n-grams of a kind.

    A value is the n-gram's share of its kind in the text or, with `logs`, 1 + ln(count) brought to length 1.
    """
    starts = np.cumsum([0, *(len(some) for some in hashes)])
    size = int(starts[-1])
    out = np.empty(size, np.float32), np.empty(size, np.int32)
    offsets = np.zeros(len(edges[0]), np.int64)
    fill(np.stack(edges), np.concatenate(hashes), starts, (buckets, logs), out, offsets)
    values, columns = (one[: offsets[-1]] for one in out)
    return values, columns, offsets


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


@njit
def marked(
    data: NDArray[np.uint8], spans: tuple[Array, Array], words: tuple[Array, ...], out: Array, until: Array
) -> Int:
    """Write the hashes of every document's words and, between them, of each byte that is no blank.

    `until`: where each document stops; returns where the last one does.
    """
    begins, stops = spans
    offsets, hashes, starts, ends = words
    written = 0
    for document in range(len(begins)):
        place = begins[document]
        for word in range(offsets[document], offsets[document + 1] + 1):
            last = word == offsets[document + 1]
            until_byte = stops[document] if last else begins[document] + starts[word]
            for at in range(place, until_byte):
                if data[at] > SPACE:
                    out[written] = finish(np.uint64(data[at]))
                    written += 1
            if not last:
                out[written] = hashes[word]
                written += 1
                place = begins[document] + ends[word]
        until[document] = written
    return written
