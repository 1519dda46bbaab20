"""The flat engine against a plain loop of autograd, clip_grad_norm_ and AdamW, on one rank and on two."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from hare_ray.train.engine import owners
from hare_ray.train.settings import Speed
from tests.train.engines import (
    SEQUENCES,
    SHAPE,
    Blind,
    all_owned,
    batch,
    check_no_number_changes_nothing,
    decoder,
    go,
    made,
    micro_batches,
    one_rank,
    plan,
    targets_of,
    together,
)

STEPS = range(10)


def plainly(plan, steps) -> tuple[list[tuple[float, float]], dict[str, Tensor]]:
    """Mean losses and gradient norms, and the weights after them."""
    model, training = decoder(plan), plan.training
    weights = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [weight for weight in weights.values() if weight.ndim > 1]},
            {"params": [weight for weight in weights.values() if weight.ndim < 2], "weight_decay": 0.0},
        ],
        betas=training.betas,
        eps=training.epsilon,
        weight_decay=training.weight_decay,
    )
    rows = []
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate(0) / (1 + 0.1 * step)
        loss, targets = model(*batch(step, plan, range(plan.batch_sequences)))
        optimizer.zero_grad()
        (loss / targets).backward()
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), training.gradient_clip or torch.inf)
        optimizer.step()
        rows.append(((loss / targets).item(), norm.item()))
    return rows, {name: weight.detach() for name, weight in weights.items()}


def near(found: dict[str, Tensor], weights: dict[str, Tensor], tolerance: float) -> None:
    names = {name.removeprefix("weights/"): name for name in found if name.startswith("weights/")}
    assert names.keys() == weights.keys()
    for name, key in names.items():
        torch.testing.assert_close(found[key], weights[name], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def flat_run(plan, steps, ranks):
    engine = made(plan, ranks)
    rows = go(engine, plan, ranks, steps)
    return rows, all_owned(engine, ranks)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("clip", [0.0, 0.5, 100.0])
def test_it_is_the_plain_loop(tied, clip):
    given = plan(shape=replace(SHAPE, tied=tied), gradient_clip=clip, micro_batch=SEQUENCES)
    expected, weights = plainly(given, STEPS)
    rows, found = flat_run(given, STEPS, one_rank())
    torch.testing.assert_close([row[:2] for row in rows], expected, rtol=1e-5, atol=1e-6)
    near(found, weights, 1e-6)


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_micro_batches_change_nothing_but_rounding(micro_batch):
    expected, weights = plainly(plan(), STEPS)
    rows, found = flat_run(plan(micro_batch=micro_batch), STEPS, one_rank())
    torch.testing.assert_close([row[:2] for row in rows], expected, rtol=1e-5, atol=1e-6)
    near(found, weights, 2e-5)


def test_two_ranks_with_unequal_shares_are_one():
    given = plan()
    rows, found = flat_run(given, STEPS, one_rank())
    (two, states), (other, again) = together(partial(flat_run, given, STEPS))
    assert two == other and states.keys() == again.keys()
    torch.testing.assert_close(two, rows, rtol=1e-5, atol=1e-6)
    assert states.keys() == found.keys()
    assert all(torch.equal(states[name], again[name]) for name in states)
    torch.testing.assert_close(states, found, rtol=1e-5, atol=2e-5)


def test_bfloat16_trains_near_float32():
    rows, found = flat_run(plan(precision="bfloat16"), STEPS, one_rank())
    expected, weights = plainly(plan(), STEPS)
    torch.testing.assert_close([row[0] for row in rows], [row[0] for row in expected], rtol=5e-3, atol=0)
    torch.testing.assert_close([row[1] for row in rows], [row[1] for row in expected], rtol=3e-2, atol=0)
    moved = torch.cat([weight.flatten() for weight in weights.values()])
    first = torch.cat([weight.detach().flatten() for weight in decoder(plan()).parameters()])
    masters = torch.cat([found[f"weights/{name}"].flatten() for name in weights])
    assert (masters - moved).norm() < 0.2 * (moved - first).norm()


def test_the_model_sees_the_rounded_masters():
    engine = made(plan(precision="bfloat16"))
    go(engine, plan(), one_rank(), range(3))
    masters = engine.owned()
    for name, weight in engine.model.named_parameters():
        assert weight.dtype == torch.bfloat16 and weight.grad is None
        assert torch.equal(weight.data, masters[f"weights/{name}"].bfloat16()), name


def test_gradients_in_bfloat16_add_up_in_float32():
    """A sum in bfloat16 stands still where a part is under 1/256 of it."""
    given = plan(precision="bfloat16")
    one, many = made(given), made(given)
    inputs, targets = batch(0, given, range(1)), targets_of(0, given)
    single = one.step([inputs], targets, 0.0)
    repeated = many.step([inputs] * 300, 300 * targets, 0.0)
    torch.testing.assert_close(repeated.grad_norm, single.grad_norm, rtol=1e-5, atol=0)
    torch.testing.assert_close(repeated.loss, 300 * single.loss, rtol=1e-6, atol=0)
    for kind in ("exp_avg", "exp_avg_sq"):
        found, expected = (engine.owned()[f"{kind}/model.embed_tokens.weight"] for engine in (many, one))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_it_owns_continues_bit_by_bit(precision):
    given = plan(precision=precision)
    engine, ranks = made(given), one_rank()
    go(engine, given, ranks, range(3))
    kept = engine.owned()
    expected = go(engine, given, ranks, range(3, 6))
    other = made(given)
    other.load(kept.__getitem__)
    assert go(other, given, ranks, range(3, 6)) == expected
    assert all(torch.equal(value, other.owned()[name]) for name, value in engine.owned().items())
    assert int(kept["updates"]) == 3 and int(other.owned()["updates"]) == 6


def test_a_spike_leaves_everything_as_it_was():
    given = plan()
    engine, ranks = made(given), one_rank()
    go(engine, given, ranks, range(2))
    calm = {**engine.owned(), "guard/values": torch.rand(2, 128).double(), "guard/seen": torch.tensor(128)}
    engine.load(calm.__getitem__)  # a window in which losses of 4.6 are far too high
    rows = go(engine, given, ranks, range(2, 3))
    assert rows[0][2] == 1
    after = engine.owned()
    assert all(torch.equal(after[name], calm[name]) for name in calm if not name.startswith("guard/"))
    assert int(after["guard/seen"]) == 129
    verdicts = [row[2] for row in go(engine, given, ranks, range(3, 12))]
    assert verdicts[-1] == 0  # the level is taken for normal
    assert not torch.equal(engine.owned()["weights/model.norm.weight"], calm["weights/model.norm.weight"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gradient_that_is_no_number_changes_nothing(precision):
    check_no_number_changes_nothing(plan(precision=precision))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_waits_for_nothing(precision):
    given = plan(precision=precision)
    engine, parts, targets = made(given), micro_batches(0, given, one_rank()), targets_of(0, given)
    with Blind():
        engine.step(parts, targets, 0.01)


@pytest.mark.slow
def test_compiled_layers_take_views_and_hooks():
    given = plan(precision="bfloat16")
    expected = go(made(given), given, one_rank(), range(4))
    rows = go(made(replace(given, speed=Speed(compile=True))), given, one_rank(), range(4))
    torch.testing.assert_close(rows, expected, rtol=1e-2, atol=0)


def test_recomputing_computes_layers_twice_and_the_same():
    calls, rows = [], []
    for recompute in (False, True):
        given = replace(plan(precision="bfloat16"), speed=Speed(recompute=recompute))
        engine = made(given)
        engine.model.model.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
        rows.append(go(engine, given, one_rank(), range(1)))
        calls.append(0)
    assert calls == [1] * 3 + [0] + [1] * 6 + [0]
    assert rows[0] == rows[1]


def test_a_step_without_targets_is_harmless():
    given = plan()
    engine = made(given)
    tokens, _, positions, where = batch(0, given, range(2))
    done = engine.step([(tokens, torch.full_like(tokens, -1).int(), positions, where)], torch.tensor(0), 0.01)
    assert (done.loss, done.grad_norm, done.skipped) == (0, 0, 0)
    assert all(torch.isfinite(value).all() for value in engine.owned().values())


def test_parameters_are_shared_out_evenly():
    sizes = {f"layer.{number}": size for number, size in enumerate((900, 10, 500, 10, 500, 10, 300, 300))}
    shares = [sum(sizes[name] for name, rank in owners(sizes, 3).items() if rank == mine) for mine in range(3)]
    assert sum(shares) == sum(sizes.values()) and max(shares) - min(shares) <= 110
    assert owners(dict(reversed(sizes.items())), 3) == owners(sizes, 3)


def test_zero_stages_are_0_to_3():
    with pytest.raises(ValueError, match="zero_stage=4, expected 0 to 3"):
        made(plan(speed=Speed(zero_stage=4)))


def test_layers_that_gather_their_weights_are_not_compiled():
    with pytest.raises(ValueError, match="zero_stage=3 and compile=True"):
        made(plan(speed=Speed(zero_stage=3, compile=True)))
