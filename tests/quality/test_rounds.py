"""Rounds and weights: their invariants for any labels and groups."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.quality.rounds import balanced, rounds

FOLDS = 3
ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=20, max_size=60)


def arrays(rows):
    rows = [*rows, *((side, 0) for side in (0, 1) for _ in range(FOLDS))]
    return np.array([side for side, _ in rows]), np.array([group for _, group in rows])


@settings(max_examples=60)
@given(ROWS)
def test_groups_of_a_side_are_left_out_whole(rows):
    label, group = arrays(rows)
    several = [side for side in (0, 1) if len(set(group[label == side].tolist())) > 1]
    found = rounds(label, group, FOLDS, seed=1)
    times = np.sum([one.test for one in found], axis=0)
    assert (times == max(1, len(several))).all()
    for one in found:
        assert (one.train != one.test).all()
        assert set(label[one.train].tolist()) == {0, 1}
    for side in several:
        apart = [
            one
            for one in found
            if not set(group[one.test & (label == side)].tolist()) & set(group[one.train & (label == side)].tolist())
        ]
        left_out = set().union(*(set(group[one.test & (label == side)].tolist()) for one in apart))
        assert left_out == set(group[label == side].tolist())


def test_one_group_a_side_is_plain_cross_validation():
    label = np.repeat([1, 0], [30, 60])
    found = rounds(label, label, FOLDS, seed=1)
    assert [int(one.test.sum()) for one in found] == [30, 30, 30]
    assert [int(label[one.test].sum()) for one in found] == [10, 10, 10]


@settings(max_examples=60)
@given(ROWS)
def test_sides_weigh_alike_and_groups_by_the_root_of_their_rows(rows):
    label, group = arrays(rows)
    weight = balanced(label, group)
    assert np.isclose(weight[label == 1].sum(), weight[label == 0].sum())
    assert np.isclose(weight.mean(), 1)
    for side in (0, 1):
        names, sizes = np.unique(group[label == side], return_counts=True)
        sums = np.array([weight[(label == side) & (group == name)].sum() for name in names])
        np.testing.assert_allclose(sums / sums.sum(), np.sqrt(sizes) / np.sqrt(sizes).sum())
