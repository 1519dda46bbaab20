"""The learning rate against known answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hare_ray.train.schedule import Schedule


def test_a_rate_that_rises_stays_and_falls():
    schedule = Schedule(warmup_tokens=100, decay=0.2)
    at = [schedule.factor(tokens, 1000) for tokens in (0, 25, 100, 500, 800, 850, 900, 1000)]
    assert at == pytest.approx([0, 0.25, 1, 1, 1, 0.75, 0.5, 0])


def test_without_warmup_and_decay_it_is_constant():
    assert {Schedule(warmup_tokens=0, decay=0.0).factor(tokens, 10) for tokens in range(11)} == {1.0}


def test_decay_over_the_whole_stage_is_a_straight_line():
    schedule = Schedule(warmup_tokens=0, decay=1.0)
    assert [schedule.factor(tokens, 4) for tokens in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_where_warmup_and_decay_meet_the_lower_counts():
    schedule = Schedule(warmup_tokens=80, decay=0.8)
    assert schedule.factor(40, 100) == pytest.approx(0.5)
    assert schedule.factor(60, 100) == pytest.approx(0.5)


@given(st.integers(0, 500), st.floats(0, 1), st.integers(1, 1000), st.floats(0, 1))
def test_it_never_leaves_zero_to_one_nor_jumps(warmup, decay, total, where):
    schedule = Schedule(warmup_tokens=warmup, decay=decay)
    here, next_ = (schedule.factor(tokens, total) for tokens in (where * total, min(total, where * total + 1)))
    assert 0 <= here <= 1
    steepest = max(1 / warmup if warmup else 0.0, 1 / (decay * total) if decay * total > 1e-3 else 1.0)
    assert abs(next_ - here) <= min(1.0, steepest) + 1e-9


@pytest.mark.parametrize("warmup, decay", [(-1, 0.0), (0, 1.1), (0, -0.1)])
def test_numbers_that_mean_nothing_are_refused(warmup, decay):
    with pytest.raises(ValueError, match="expected 0 or more"):
        Schedule(warmup_tokens=warmup, decay=decay)
