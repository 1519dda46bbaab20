"""DeepSpeed's stages against the flat engine, alone and on two ranks, and checkpoints from each to each."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from hare_ray.train.settings import Speed
from tests.train.engines import (
    SHAPE,
    Blind,
    all_owned,
    check_no_number_changes_nothing,
    go,
    made,
    micro_batches,
    one_rank,
    plan,
    targets_of,
    together,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

STAGES = (0, 1, 2, 3)
FIRST, REST = range(3), range(3, 6)

HOST_LOOKS = {1: 0, 2: 0, 3: 2}
"""At stage 3 DeepSpeed makes a number where the host is, in place of the norm, and looks at it."""

Row = tuple[float, float, float]
Run = tuple[list[Row], dict[str, Tensor], list[Row]]
"""Rows of the first steps, states after them, rows of the rest."""


def one_run(stage: int, precision: str = "float32") -> Run:
    given, ranks = plan(speed=Speed(zero_stage=stage), precision=precision), one_rank()
    engine = made(given, ranks)
    first = go(engine, given, ranks, FIRST)
    states = engine.owned()
    return first, states, go(engine, given, ranks, REST)


@pytest.fixture(scope="module")
def alone() -> dict[int, Run]:
    """Each stage on one rank."""
    return {stage: one_run(stage) for stage in STAGES}


def loaded(stage: int, states: dict[str, Tensor]) -> list[Row]:
    """Rows of the rest by an engine that has been elsewhere before."""
    given, ranks = plan(speed=Speed(zero_stage=stage)), one_rank()
    engine = made(given, ranks)
    go(engine, given, ranks, range(7, 8))
    engine.load(states.__getitem__)
    return go(engine, given, ranks, REST)


def close(found: list[Row], expected: list[Row]) -> None:
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_is_the_flat_engine(alone, stage):
    (first, states, rest), (expected, flat, later) = alone[stage], alone[0]
    close(first, expected)
    close(rest, later)
    assert states.keys() == flat.keys()
    for name, value in states.items():
        assert value.dtype == flat[name].dtype
        torch.testing.assert_close(value, flat[name], rtol=1e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("stage", STAGES[1:])
def test_in_bfloat16_masters_and_sums_are_float32(stage):
    """Masters that had been rounded would be off by 1/256 of themselves, of which half goes on in their sum."""
    first, states, rest = one_run(stage, "bfloat16")
    expected, flat, later = one_run(0, "bfloat16")
    torch.testing.assert_close(first + rest, expected + later, rtol=2e-2, atol=0)
    for name, value in states.items():
        if name.startswith("weights/"):
            assert not torch.equal(value, value.bfloat16().float()), name
            assert (value - flat[name]).norm() < 1e-2 * value.norm(), name


@pytest.mark.parametrize("clip", [0.0, 100.0])
@pytest.mark.parametrize("stage", STAGES[1:])
def test_gradients_that_are_not_clipped_are_left_as_they_are(stage, clip):
    given = plan(gradient_clip=clip)
    expected = go(made(given), given, one_rank(), FIRST)
    given = replace(given, speed=Speed(zero_stage=stage))
    close(go(made(given), given, one_rank(), FIRST), expected)


def looks(stage: int, precision: str, ranks) -> int:
    """How often a step would wait for the device to know a value, or to be given one."""
    given = plan(speed=Speed(zero_stage=stage), precision=precision)
    engine = made(given, ranks)
    go(engine, given, ranks, FIRST)
    parts, targets = micro_batches(3, given, ranks), targets_of(3, given)
    with Blind(HOST_LOOKS[stage]) as blind:
        engine.step(parts, targets, 0.01)
    return HOST_LOOKS[stage] - blind.left


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_step_waits_for_nothing(stage, precision):
    assert looks(stage, precision, one_rank()) == HOST_LOOKS[stage]


def reloaded_run(speed: Speed) -> list[Row]:
    """Steps in bfloat16 by a decoder of one layer, that takes up its own states between two."""
    given = plan(shape=replace(SHAPE, layers=1), speed=speed, precision="bfloat16", micro_batch=5)
    engine = made(given)
    rows = go(engine, given, one_rank(), range(2))
    engine.load(engine.owned().__getitem__)
    return rows + go(engine, given, one_rank(), range(2, 4))


def test_compiled_layers_work_where_states_are_divided():
    """As recipes for GPUs have it: against the flat engine, compiled and not."""
    before = counters["stats"]["unique_graphs"]
    divided = reloaded_run(Speed(compile=True, zero_stage=1))
    assert counters["stats"]["unique_graphs"] > before
    torch.testing.assert_close(divided, reloaded_run(Speed(compile=True)), rtol=1e-3, atol=0)
    torch.testing.assert_close(divided, reloaded_run(Speed()), rtol=1e-2, atol=0)


@pytest.mark.parametrize("source", STAGES)
@pytest.mark.parametrize("stage", STAGES)
def test_any_stage_goes_on_from_any(alone, source, stage):
    """Bit by bit where it is the same one."""
    found = loaded(stage, alone[source][1])
    if source == stage:
        assert found == alone[stage][2]
    close(found, alone[0][2])


@pytest.mark.parametrize("stage", STAGES[1:])
def test_recomputed_activations_change_nothing(alone, stage):
    given = plan(speed=Speed(zero_stage=stage, recompute=True))
    assert go(made(given), given, one_rank(), FIRST) == alone[stage][0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_spike_leaves_everything_as_it_was(stage, precision):
    given, ranks = plan(speed=Speed(zero_stage=stage), precision=precision), one_rank()
    engine = made(given, ranks)
    go(engine, given, ranks, range(2))
    calm = {**engine.owned(), "guard/values": torch.rand(2, 128).double(), "guard/seen": torch.tensor(128)}
    engine.load(calm.__getitem__)  # a window in which losses of 4.6 are far too high
    assert go(engine, given, ranks, range(2, 3))[0][2] == 1
    after = engine.owned()
    assert int(after["guard/seen"]) == 129
    assert all(torch.equal(after[name], calm[name]) for name in calm if not name.startswith("guard/"))
    assert go(engine, given, ranks, range(3, 12))[-1][2] == 0  # the level is taken for normal
    assert not torch.equal(engine.owned()["weights/model.norm.weight"], calm["weights/model.norm.weight"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_gradient_that_is_no_number_changes_nothing(stage, precision):
    check_no_number_changes_nothing(plan(speed=Speed(zero_stage=stage), precision=precision))


def looks_of_two(ranks) -> list[int]:
    """Of the stages in bfloat16, as one of two ranks."""
    return [looks(stage, "bfloat16", ranks) for stage in STAGES[1:]]


def test_nor_do_two_ranks_wait():
    assert together(looks_of_two) == [list(HOST_LOOKS.values())] * 2


def on_two(sources: dict[int, dict[str, Tensor]], ranks) -> dict[int, tuple[Run, dict[int, list[Row]]]]:
    """Each stage from the start, and then from each of some states that one rank left, with one engine."""
    found = {}
    for stage in STAGES:
        given = plan(speed=Speed(zero_stage=stage))
        engine = made(given, ranks)
        first = go(engine, given, ranks, FIRST)
        states = all_owned(engine, ranks)
        rest = go(engine, given, ranks, REST)
        engine.load(states.__getitem__)
        assert go(engine, given, ranks, REST) == rest
        after = {}
        for source, kept in sources.items():
            engine.load(kept.__getitem__)
            after[source] = go(engine, given, ranks, REST)
        found[stage] = (first, states, rest), after
    return found


def test_two_ranks_are_one_at_every_stage_and_take_up_what_one_left_and_one_what_they_left(alone):
    mine, other = together(partial(on_two, {stage: alone[stage][1] for stage in (0, 1, 3)}))
    for stage in STAGES:
        (first, states, rest), after = mine[stage]
        close(first, alone[0][0])
        close(rest, alone[0][2])
        assert [other[stage][0][0], other[stage][0][2], other[stage][1]] == [first, rest, after]
        for rows in after.values():
            close(rows, alone[0][2])
        assert states.keys() == alone[0][1].keys()
        for again in (0, 1, 3):
            close(loaded(again, states), alone[0][2])


def test_nothing_is_compiled_where_nothing_was(tmp_path):
    """A process that is killed while an extension is compiled leaves a lock, on which all later ones would wait."""
    program = (
        "from hare_ray.train.settings import Speed; from tests.train.engines import made, plan; "
        "made(plan(speed=Speed(zero_stage=1)))"
    )
    environment = {**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=root, check=True, timeout=120)
    assert not list(tmp_path.iterdir())
