"""The rule against a plain one in Python, and what it must never do."""

import math
import statistics

import pytest
import torch

from hare_ray.train.guard import FEWEST, WINDOW, Guard
from tests.train.engines import Blind

CPU = torch.device("cpu")


def judged(guard: Guard, loss: float, norm: float) -> int:
    verdict = guard.spike(torch.tensor(loss), torch.tensor(norm))
    assert verdict.dtype == torch.float32 and verdict.shape == ()
    return int(verdict)


def plainly(pairs: list[tuple[float, float]], sigmas: float) -> list[int]:
    """The same rule over lists."""
    found, seen = [], []
    for pair in pairs:
        if not all(map(math.isfinite, pair)):
            found.append(1)
            continue
        last = seen[-WINDOW:]
        columns = zip(*last, strict=True) if len(last) >= FEWEST else ()
        limits = [statistics.mean(column) + sigmas * statistics.stdev(column) for column in columns]
        found.append(int(any(value > limit for value, limit in zip(pair, limits, strict=False))))
        seen.append(pair)
    return found


@pytest.mark.parametrize("sigmas", [2.0, 6.0])
def test_verdicts_are_those_of_the_plain_rule(sigmas):
    draw = torch.Generator().manual_seed(3)
    pairs = [
        (3.0 - step / 200 + 0.05 * noise, 1.0 + 0.2 * other)
        for step, (noise, other) in enumerate(torch.randn(420, 2, generator=draw).tolist())
    ]
    odd = {30: (99, 1), 100: (9, 1), 230: (2, 30), 300: (math.nan, 1), 301: (2, math.inf)}
    pairs = [odd.get(step, pair) for step, pair in enumerate(pairs)]
    pairs = [tuple(torch.tensor(pair).tolist()) for pair in pairs]  # float32, as steps give them
    guard = Guard(sigmas, CPU)
    found = [judged(guard, *pair) for pair in pairs]
    assert found == plainly(pairs, sigmas)
    assert [found[step] for step in odd] == [0, 0, 1, 1, 1]  # the first one widens the window


def test_a_rise_that_lasts_is_accepted():
    guard = Guard(6.0, CPU)
    for step in range(WINDOW):
        assert not judged(guard, 2.0 + 0.01 * math.sin(step), 1.0)
    verdicts = [judged(guard, 50.0, 1.0) for _ in range(20)]
    assert verdicts == sorted(verdicts, reverse=True)
    assert 1 <= sum(verdicts) <= 5


def test_values_that_are_all_alike_are_no_spikes():
    guard = Guard(6.0, CPU)
    assert not any(judged(guard, 0.1, 0.3) for _ in range(3 * WINDOW))
    assert judged(guard, 0.1001, 0.3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sigmas", [0.0, 6.0])
def test_no_number_is_always_left_out_and_never_remembered(sigmas, bad):
    guard = Guard(sigmas, CPU)
    assert judged(guard, bad, 1.0) and judged(guard, 1.0, bad)
    for step in range(WINDOW):
        judged(guard, 1.0 + 0.01 * math.cos(step), 1.0)
    before = guard.state()
    assert judged(guard, bad, 1.0) and judged(guard, 1.0, bad)
    assert all(torch.equal(before[name], value) for name, value in guard.state().items())
    assert not judged(guard, 1.0, 1.0)


def test_nothing_else_is_left_out_without_sigmas():
    guard = Guard(0.0, CPU)
    assert not any(judged(guard, 2.0 + step % 3, 1.0) for step in range(WINDOW))
    assert not judged(guard, 1e30, 1e30)


def test_the_window_goes_on_where_it_was():
    first, second = Guard(2.0, CPU), Guard(2.0, CPU)
    values = torch.rand(400, 2, generator=torch.Generator().manual_seed(1)).pow(3).tolist()
    for pair in values[:170]:
        judged(first, *pair)
    kept = first.state()
    rest = [judged(first, *pair) for pair in values[170:]]
    second.load(kept.__getitem__)
    assert [judged(second, *pair) for pair in values[170:]] == rest
    assert 0 < sum(rest) < len(rest)


def test_nothing_waits_for_the_device():
    guard, one = Guard(6.0, CPU), torch.ones(())
    with Blind():
        for _ in range(FEWEST + 2):
            guard.spike(one, one)
    with pytest.raises(AssertionError, match="looks at a value"), Blind():
        one.item()
