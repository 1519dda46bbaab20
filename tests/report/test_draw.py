"""Rows drawn for samples: a function of ids alone, the same however rows lie in parts, and without favour."""

import itertools

import numpy as np
import pyarrow as pa
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.report.draw import PARTS_READ, SHOWN, Draw, salted, spread, words_of


def ids(count: int) -> pa.ChunkedArray:
    keys = [xxhash.xxh3_128_digest(number.to_bytes(4, "little")) for number in range(count)]
    return pa.chunked_array([pa.array(keys, pa.binary(16))])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_what_is_drawn_is_the_smallest_of_each_label_however_rows_lie_in_parts(
    labels: list[int], cuts: list[int]
) -> None:
    keys, names = words_of(ids(len(labels))), [(0, "a"), (0, "b"), (1, "a")]
    numbers = np.array(labels, np.int64)
    draw, borders = Draw(), sorted({0, len(labels), *(min(cut, len(labels)) for cut in cuts)})
    for part, (low, high) in enumerate(itertools.pairwise(borders)):
        draw.add(keys[low:high], (numbers[low:high], names), part, np.arange(low, high))
    hashes = salted(keys)
    for number, name in enumerate(names):
        expected = sorted((int(hashes[row]), row) for row in np.flatnonzero(numbers == number))[:SHOWN]
        assert [(one.hash, one.row) for one in draw.rows.get(name, [])] == expected


def test_rows_with_small_ids_are_not_favoured() -> None:
    keys = words_of(ids(20_000))
    small = np.argsort(keys[:, 0])[:2000]
    drawn = np.argsort(salted(keys))[:2000]
    assert 140 < len(np.intersect1d(small, drawn)) < 260  # 200 expected, standard deviation 13


def test_ids_of_a_slice_are_its_own() -> None:
    whole = ids(9)
    part = pa.chunked_array([whole.chunk(0).slice(2, 3), whole.chunk(0).slice(7, 2)])
    assert words_of(part).tobytes() == b"".join(part.to_pylist())
    assert words_of(whole.slice(0, 0)).shape == (0, 2)


def test_parts_are_all_read_or_some_evenly_spread() -> None:
    assert spread(PARTS_READ) == set(range(PARTS_READ))
    chosen = sorted(spread(1000))
    assert len(chosen) == PARTS_READ
    assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1
    assert chosen[0] > 0
