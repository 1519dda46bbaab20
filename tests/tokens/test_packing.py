"""Best-fit decreasing against a naive one, and what it leaves empty."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.tokens.packing import best_fit, lay


def naive(lengths, capacity):
    """Room left in every row, looking at all rows for every piece."""
    rooms = []
    for length in sorted(lengths, reverse=True):
        fitting = [n for n, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda n: rooms[n])] -= length
        else:
            rooms.append(capacity - length)
    return rooms


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.data())
def test_as_the_naive_best_fit(capacity, data):
    lengths = np.array(data.draw(st.lists(st.integers(1, capacity), max_size=60)), np.int64)
    rows, order = best_fit(lengths, capacity)
    filled = np.bincount(rows, weights=lengths, minlength=0)
    assert sorted(capacity - filled) == sorted(naive(lengths.tolist(), capacity))
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()


def test_a_large_set_as_the_naive_best_fit():
    lengths = np.minimum(np.random.default_rng(0).lognormal(5, 1, 3000).astype(np.int64) + 1, 512)
    rows, _ = best_fit(lengths, 512)
    assert sorted(512 - np.bincount(rows, weights=lengths)) == sorted(naive(lengths.tolist(), 512))


def test_rows_are_numbered_as_they_are_opened_and_equals_keep_their_order():
    rows, order = best_fit(np.array([3, 9, 3, 3, 10]), 10)
    assert order.tolist() == [4, 1, 0, 2, 3]
    assert rows.tolist() == [2, 1, 2, 2, 0]


def test_stretches_are_copied_to_their_places():
    out = np.full(8, 9, np.uint16)
    lay(out, np.arange(6, dtype=np.uint16), np.array([4, 0]), np.array([0, 3]), np.array([2, 3]))
    assert out.tolist() == [4, 5, 9, 0, 1, 2, 9, 9]
