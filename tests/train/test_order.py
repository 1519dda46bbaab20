"""The order as arithmetic: bijections, epochs, mixing of the sources, and shuffling against theory."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.train import order
from hare_ray.train.order import Order, mixed, shuffled

KEY = mixed(np.array([1], np.uint64))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 2**64 - 1))
def test_a_bijection_of_any_size(count, key):
    got = shuffled(np.arange(count), count, np.array([key], np.uint64))
    assert np.array_equal(np.sort(got), np.arange(count))


@settings(max_examples=30, deadline=None)
@given(st.integers(2**31, 2**52), st.integers(0, 2**20))
def test_different_places_and_within_the_range_for_large_sizes(count, first):
    got = shuffled(np.arange(first, first + 1000), count, KEY)
    assert len(np.unique(got)) == 1000
    assert 0 <= got.min() <= got.max() < count


def test_one_key_per_value_as_one_key_for_all():
    keys = mixed(np.arange(3, dtype=np.uint64))
    values = np.arange(300) % 100
    got = shuffled(values, 100, np.repeat(keys, 100))
    for n in range(3):
        own = shuffled(values[:100], 100, keys[n : n + 1])
        assert np.array_equal(got[n * 100 : n * 100 + 100], own)


SIZES = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 90)), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(SIZES, st.integers(0, 2**64 - 1))
def test_each_row_is_seen_floor_or_ceil_of_its_epochs_and_once_in_each(sizes, seed):
    counts, rows = zip(*sizes, strict=True)
    order = Order(counts, rows, seed)
    source, epoch, row = order.of(np.arange(order.total))
    assert np.bincount(source, minlength=len(rows)).tolist() == list(counts)
    for number in range(len(rows)):
        mine = source == number
        seen = np.bincount(row[mine], minlength=rows[number])
        assert len(seen) == rows[number]
        assert seen.min() >= counts[number] // rows[number]
        assert seen.max() <= -(-counts[number] // rows[number])
        visits = set(zip(epoch[mine].tolist(), row[mine].tolist(), strict=True))
        assert len(visits) == counts[number]
        assert np.bincount(epoch[mine]).max(initial=0) <= rows[number]


def test_a_sample_is_a_function_of_seed_and_number_alone():
    order = Order((700, 50, 3), (90, 50, 40), 7)
    whole = np.stack(order.of(np.arange(order.total)))
    picked = np.random.default_rng(0).permutation(order.total)[:100]
    assert np.array_equal(np.stack(order.of(picked)), whole[:, picked])
    for worker in range(3):
        mine = np.arange(worker, order.total, 3)
        assert np.array_equal(np.stack(Order((700, 50, 3), (90, 50, 40), 7).of(mine)), whole[:, mine])
    assert np.array_equal(np.stack(order.of(np.array([5]))), whole[:, 5:6])


def test_the_order_is_pinned():
    """Another order under the same seed would make a resumed run repeat some sequences and miss others."""
    source, epoch, row = Order((6, 4), (4, 9), 1).of(np.arange(10))
    got = [source.tolist(), epoch.tolist(), row.tolist()]
    assert got == [
        [1, 0, 0, 0, 1, 0, 1, 0, 0, 1],
        [0, 0, 1, 1, 0, 0, 0, 0, 0, 0],
        [2, 0, 1, 2, 1, 2, 3, 1, 3, 5],
    ]


def test_sources_are_mixed_evenly_over_the_run():
    counts = (60_000, 30_000, 9_000, 1_000)
    order = Order(counts, (20_000, 40_000, 9_000, 100), 3)
    source, _, _ = order.of(np.arange(order.total))
    held = np.stack([np.bincount(tenth, minlength=4) for tenth in np.split(source, 10)])
    share = np.array(counts) / order.total
    # Drawing a tenth without replacement: hypergeometric, n p (1 - p) (N - n) / (N - 1).
    deviation = np.sqrt(10_000 * share * (1 - share) * 0.9)
    z = (held - 10_000 * share) / deviation
    assert np.abs(z).max() < 4
    assert 0.5 < z.std() < 1.5  # More even than chance would be a pattern, too.


@pytest.mark.parametrize("count", [100, 4097, 50_000])
def test_shuffling_is_as_good_as_random(count):
    places = np.arange(count)
    rng = np.random.default_rng(0)
    orders = [shuffled(places, count, mixed(np.array([key], np.uint64))) for key in range(40)]
    correlations = [np.corrcoef(order, places)[0, 1] * np.sqrt(count - 1) for order in orders]
    neighbours = [np.corrcoef(order[1:], order[:-1])[0, 1] * np.sqrt(count - 1) for order in orders]
    between = [np.corrcoef(a, b)[0, 1] * np.sqrt(count - 1) for a, b in pairwise(orders)]
    for z in (correlations, neighbours, between):  # Standard normal under a random permutation.
        assert abs(np.mean(z)) * np.sqrt(len(z)) < 4
        assert 0.5 < np.std(z) < 1.5
    fixed = [int((order == places).sum()) for order in orders]  # Poisson of mean 1.
    assert 0.3 < np.mean(fixed) < 2
    # Distances of neighbours have the triangular distribution of a random permutation.
    wanted = [np.abs(np.diff(rng.permutation(count))).mean() for _ in range(40)]
    got = [np.abs(np.diff(order)).mean() for order in orders]
    assert abs(np.mean(got) - np.mean(wanted)) < 4 * np.std(wanted) * np.sqrt(2 / 40)


def test_all_orders_of_a_small_set_are_equally_likely():
    keys = np.repeat(mixed(np.arange(24_000, dtype=np.uint64)), 4)
    orders = shuffled(np.tile(np.arange(4), 24_000), 4, keys).reshape(-1, 4)
    seen = np.unique(orders @ np.array([64, 16, 4, 1]), return_counts=True)[1]
    assert len(seen) == 24
    assert ((seen - 1000) ** 2 / 1000).sum() < 60  # Chi-square of 23 degrees of freedom; 60 is beyond 1 in 10^4.


def test_a_walk_is_the_run_in_its_order_whatever_the_stretch(monkeypatch):
    found = Order((70, 40), (30, 7), 3)
    whole = np.stack([np.arange(110), *(found.of(np.arange(110))[at] for at in (0, 2))])
    for stretch in (110, 7, 1):
        monkeypatch.setattr(order, "STRETCH", stretch)
        assert np.array_equal(np.concatenate([np.stack(part) for part in found.walk()], axis=1), whole)
    assert list(Order((), (), 3).walk()) == []


def test_the_order_of_a_mixture_is_that_of_what_it_has_and_takes():
    sources = [{"actual": 12, "available": 30, "name": "one"}, {"actual": 20, "available": 7, "name": "two"}]
    assert Order.of_mixture({"sources": sources}, 5) == Order((12, 20), (30, 7), 5)


def test_epochs_have_orders_of_their_own():
    order = Order((4000,), (1000,), 1)
    _, epoch, row = order.of(np.arange(4000))
    rounds = [row[epoch == number] for number in range(4)]
    for one, two in pairwise(rounds):
        assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(999)


@pytest.mark.parametrize("counts, rows, seed", [((1,), (0,), 1), ((-1, 5), (3, 3), 1), ((1,), (1,), -1)])
def test_impossible_orders_are_refused(counts, rows, seed):
    with pytest.raises(ValueError, match=r"mixture\.json"):
        Order(counts, rows, seed)


def test_a_sample_beyond_the_run_is_refused():
    order = Order((3, 0), (2, 0), 1)
    assert order.of(np.arange(0))[0].tolist() == []
    for beyond in (-1, 3):
        with pytest.raises(ValueError, match="expected 0 to 2"):
            order.of(np.array([beyond]))
