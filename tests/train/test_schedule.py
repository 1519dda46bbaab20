"""The learning rate against known answers."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hare_ray.train.schedule import KINDS, Schedule

PLANNED = {"warmup": st.integers(0, 500), "decay": st.floats(0.01, 1), "total": st.integers(1, 1000)}


def test_a_rate_that_rises_stays_and_falls():
    schedule = Schedule(100, 0.2)
    at = [schedule.factor(tokens, 1000) for tokens in (0, 25, 100, 500, 800, 850, 900, 1000)]
    assert at == pytest.approx([0, 0.25, 1, 1, 1, 0.75, 0.5, 0])


def test_without_warmup_and_decay_it_is_constant():
    for kind in ("wsd", "constant"):
        assert {Schedule(0, 0.0, kind).factor(tokens, 10) for tokens in range(11)} == {1.0}


def test_decay_over_the_whole_stage_is_a_straight_line():
    schedule = Schedule(warmup_tokens=0, decay=1.0)
    assert [schedule.factor(tokens, 4) for tokens in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_where_warmup_and_decay_meet_the_lower_counts():
    schedule = Schedule(warmup_tokens=80, decay=0.8)
    assert schedule.factor(40, 100) == pytest.approx(0.5)
    assert schedule.factor(60, 100) == pytest.approx(0.5)


def test_a_floor_is_where_the_fall_ends():
    assert [Schedule(0, 0.5, floor=0.1).factor(tokens, 8) for tokens in (4, 6, 8)] == pytest.approx([1, 0.55, 0.1])
    assert Schedule(0, 1.0, "cosine", 0.1).factor(8, 8) == pytest.approx(0.1)


@pytest.mark.parametrize("warmup, total, floor", [(0, 1000, 0.0), (100, 1000, 0.1), (37, 641, 0.25)])
def test_a_cosine_is_that_of_torch(warmup, total, floor):
    import torch
    from torch.optim.lr_scheduler import CosineAnnealingLR

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = CosineAnnealingLR(optimizer, total - warmup, eta_min=floor)
    schedule = Schedule(warmup, 1.0, "cosine", floor)
    for tokens in range(warmup, total):
        assert schedule.factor(tokens, total) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_a_cosine_over_the_last_share_is_half_a_wave():
    schedule = Schedule(10, 0.4, "cosine")
    at = [schedule.factor(tokens, 100) for tokens in (5, 10, 60, 70, 80, 100)]
    assert at == pytest.approx([0.5, 1, 1, (1 + math.sqrt(0.5)) / 2, 0.5, 0])


@pytest.mark.parametrize("kind", KINDS)
@given(**PLANNED, floor=st.floats(0, 0.9), where=st.floats(0, 1))
def test_it_never_leaves_floor_to_one_nor_jumps(kind, warmup, decay, total, floor, where):
    falls = kind != "constant"
    schedule = Schedule(warmup, decay if falls else 0.0, kind, floor if falls else 0.0)
    here, next_ = (schedule.factor(tokens, total) for tokens in (where * total, min(total, where * total + 1)))
    assert 0 <= here <= 1
    if where * total >= warmup:
        assert here >= schedule.floor - 1e-12
    fall = min(decay * total, max(total - warmup, 0) or math.inf) if kind == "cosine" else decay * total
    steepest = max(1 / warmup if warmup else 0.0, math.pi / 2 / fall if falls else 0.0)
    assert abs(next_ - here) <= min(1.0, steepest) + 1e-9


@given(**PLANNED, floor=st.floats(0, 0.9), kind=st.sampled_from(("wsd", "cosine")), cut=st.integers(1, 999))
def test_two_parts_are_the_whole(warmup, decay, total, floor, kind, cut):
    """However many tokens a stage turns out to have, the second begins where the first one ended."""
    assume(cut < total and warmup < total)
    share = cut / total
    whole = Schedule(warmup, decay, kind, floor)
    first, second = (Schedule(warmup, decay, kind, floor, part) for part in ((0.0, share), (share, 1.0)))
    for tokens in {0, cut // 3, cut}:
        assert first.factor(tokens, cut) == pytest.approx(whole.factor(tokens, total), abs=1e-9)
    for tokens in {cut, (cut + total) // 2, total}:
        assert second.factor(tokens - cut, total - cut) == pytest.approx(whole.factor(tokens, total), abs=1e-9)


def test_parts_meet_where_a_stage_came_short():
    first, second = (Schedule(0, 1.0, "cosine", 0.1, part) for part in ((0.0, 0.8), (0.8, 1.0)))
    assert first.factor(700, 700) == pytest.approx(second.factor(0, 200), abs=1e-12)
    assert second.factor(200, 200) == pytest.approx(0.1)


@pytest.mark.parametrize("kind, decay, area", [("wsd", 1.0, 0.5), ("cosine", 1.0, 0.5), ("wsd", 0.2, 0.9)])
def test_the_middles_of_the_steps_sum_to_the_integral(kind, decay, area):
    schedule, steps = Schedule(0, decay, kind), 50
    assert sum(schedule.factor(step + 0.5, steps) for step in range(steps)) / steps == pytest.approx(area)


@pytest.mark.parametrize(
    "given_, expected",
    [
        ((-1, 0.0), "expected 0 or more"),
        ((0, 1.1), "expected 0 or more"),
        ((0, -0.1), "expected 0 or more"),
        ((0, 0.0, "linear"), "expected one of"),
        ((0, 0.5, "constant"), "which does not fall"),
        ((0, 0.0, "cosine"), "which does not fall"),
        ((0, 0.5, "wsd", 1.0), "share of the peak rate"),
        ((0, 0.0, "wsd", 0.1), "expected no floor"),
        ((0, 0.5, "wsd", 0.0, (0.8, 0.8)), "two shares"),
        ((0, 0.5, "wsd", 0.0, (0.0, 1.1)), "two shares"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(given_, expected):
    with pytest.raises(ValueError, match=expected):
        Schedule(*given_)
