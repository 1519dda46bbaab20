"""When a row was last seen: against the order walked one by one; and the means of bins against planted losses."""

import numpy as np
import pytest

from hare_ray.train.forgetting import binned, last_steps
from hare_ray.train.order import Order

ORDER = Order(counts=(130, 40, 0), rows=(50, 64, 5), seed=9)
BATCH = 10


@pytest.fixture(scope="module")
def last():
    return last_steps(ORDER, BATCH)


def test_the_last_step_of_every_row_is_that_of_a_walk_through_the_run(last):
    expected = [[0] * rows for rows in ORDER.rows]
    for sample in range(ORDER.total):
        source, _, row = (int(one[0]) for one in ORDER.of(np.array([sample])))
        expected[source][row] = sample // BATCH + 1
    assert [one.tolist() for one in last] == expected
    assert (last[0] > 0).all()  # 2.6 epochs
    assert (last[1] > 0).sum() == 40


@pytest.mark.parametrize("bins", [1, 4, 8, 17, 30])
def test_bins_hold_every_row_once_and_in_their_steps(last, bins):
    steps, every = ORDER.total // BATCH, np.concatenate(last)
    found = binned(every, every.astype(np.float32), np.ones(len(every), np.int32), steps, bins)
    assert sum(one["sequences"] for one in found["bins"]) == (every > 0).sum()
    assert found["unseen"] == {"sequences": int((every == 0).sum()), "loss": 0.0}
    assert found["bins"][0]["first_step"] == 1
    assert found["bins"][-1]["last_step"] == steps
    for one in found["bins"]:  # the loss is the step: the mean must lie between the bin's ends
        inside = (every >= one["first_step"]) & (every <= one["last_step"])
        assert one["sequences"] == inside.sum()
        assert one["loss"] == (pytest.approx(every[inside].mean()) if inside.any() else None)


def test_means_are_over_targets():
    found = binned(np.array([1, 1, 2]), np.array([1, 3, 7], np.float32), np.array([3, 1, 2], np.int32), 2, 2)
    assert [one["loss"] for one in found["bins"]] == [1.5, 7.0]
    assert found["unseen"] == {"sequences": 0, "loss": None}
