import math
from dataclasses import replace

import pytest
import torch

from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.importance import by_taylor, by_weight
from hare_ray.model.inherit import EMBEDDING, HEAD, Kept, best, check_fits, cut, remapped, with_layers, written_gain
from hare_ray.model.inherit_sample import mean_loss
from hare_ray.model.inherit_stage import MaskLearning, Ways
from hare_ray.model.inherited import inherited
from hare_ray.model.layer_choice import by_skip_loss, middle
from hare_ray.model.masks import Gates, by_masks, masked
from tests.model.inheritance import LARGE, SMALL, chosen, sample, trained, widened

LEARNING = MaskLearning(steps=100, learning_rate=0.05)


def ways(layers="middle", neurons="l2"):
    return Ways(layers, neurons, LEARNING if neurons == "mask" else None, seed=3)


def built(shape, state):
    decoder = Decoder(shape, choose("cpu"), seed=1)
    decoder.load_state_dict(state)
    return decoder


LAYERS = (0, 2, 4)
"""Of the larger decoder, those that do anything."""


@pytest.fixture(scope="module")
def idle():
    """A decoder, the units of a larger one that it fills, and that one."""
    kept = chosen(SMALL, LARGE, seed=4)
    return trained(SMALL), kept, widened(trained(SMALL), LARGE, kept, LAYERS)


@pytest.mark.parametrize("neurons", ["l1", "l2", "taylor"])
def test_what_is_idle_is_found_and_the_loss_stays_the_same(neurons, idle):
    small, kept, parent = idle
    seen = sample(2, seed=5)
    expected = mean_loss(small, seen)
    assert mean_loss(parent, seen) == pytest.approx(expected, rel=1e-5)
    state, account = inherited(LARGE, parent.state_dict(), SMALL, ways("skip_loss", neurons), seen)
    assert account["layers"] == list(LAYERS)
    assert account["units"] == {name: numbers.tolist() for name, numbers in kept._asdict().items()}
    assert account["gain"] == pytest.approx(math.sqrt(3))
    assert account["losses"]["inherited"] == pytest.approx(expected, rel=1e-5)
    for name, weight in small.state_dict().items():
        torch.testing.assert_close(state[name], weight, rtol=1e-5, atol=1e-7)


def test_learned_masks_find_what_is_idle_but_for_neurons_that_hardly_matter(idle):
    small, kept, parent = idle
    seen = sample(6, seed=5)
    state = with_layers(parent.state_dict(), LAYERS)
    shallow = replace(LARGE, layers=3)
    found = best(by_masks(built(shallow, state), seen, SMALL, LEARNING, seed=3), SMALL)
    assert torch.equal(found.channels, kept.channels)
    assert torch.equal(found.groups, kept.groups)
    assert torch.equal(found.heads, kept.heads)
    right = sum(len(set(a) & set(b)) for a, b in zip(found.neurons.tolist(), kept.neurons.tolist(), strict=True))
    assert right >= 62  # of 72; by chance 43
    child = built(SMALL, cut(state, found, SMALL.head_dim, math.sqrt(3)))
    assert mean_loss(child, seen) < mean_loss(small, seen) + 0.02


HALF = replace(SMALL, layers=2, hidden=16, heads=2, kv_heads=1, mlp_hidden=16)


@pytest.mark.parametrize("neurons", ["l1", "l2", "taylor", "mask"])
def test_half_a_model_starts_far_below_chance(neurons):
    _, account = inherited(SMALL, trained(SMALL).state_dict(), HALF, ways("skip_loss", neurons), sample(4, seed=5))
    losses = account["losses"]
    assert losses["random"] == pytest.approx(math.log(40), abs=0.1)
    assert losses["parent"] < losses["fewer_layers"] < losses["inherited"] < 0.6 * losses["random"]
    assert 1 <= account["gain"] <= math.sqrt(2)


@pytest.mark.parametrize(
    "shape", [HALF, replace(HALF, heads=2, kv_heads=2), replace(HALF, hidden=32, heads=4, kv_heads=2)]
)
def test_what_is_cut_out_is_what_a_masked_parent_computes(shape):
    parent = replace(SMALL, heads=4, kv_heads=2)
    shape = replace(shape, layers=3, norm_epsilon=parent.norm_epsilon * parent.hidden / shape.hidden)
    decoder, kept = trained(SMALL), chosen(shape, parent, seed=6)
    z = {
        "channels": torch.zeros(1, 32).index_fill_(1, kept.channels, 1.0),
        "groups": torch.zeros(3, 2).scatter_(1, kept.groups, 1.0),
        "heads": torch.zeros(3, 4).scatter_(1, kept.heads, 1.0).view(6, 2),
        "neurons": torch.zeros(3, 24).scatter_(1, kept.neurons, 1.0),
    }
    (rows,) = sample(1, seed=8)
    with torch.no_grad(), masked(decoder, z):
        expected = decoder.logits(*rows)
    child = built(shape, cut(decoder.state_dict(), kept, parent.head_dim, math.sqrt(32 / shape.hidden)))
    torch.testing.assert_close(child.logits(*rows), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(decoder.logits(*rows), expected, atol=0.1)


def test_taylor_is_weight_times_gradient_over_all_that_belongs_to_a_unit():
    decoder, passes = trained(SMALL), sample(2, seed=8)
    each = {}
    for rows in passes:
        loss, targets = decoder(*rows)
        names, weights = zip(*decoder.named_parameters(), strict=True)
        for name, weight, gradient in zip(names, weights, torch.autograd.grad(loss / targets, weights), strict=True):
            each[name] = each.get(name, 0) + (weight * gradient).abs().detach()
    found = by_taylor(decoder, passes)
    assert all(weight.grad is None for weight in decoder.parameters())
    at = {name.removeprefix("model.").removesuffix(".weight"): value for name, value in each.items()}
    mlp, attention = "layers.1.mlp", "layers.1.self_attn"
    neuron = at[f"{mlp}.gate_proj"][5].sum() + at[f"{mlp}.up_proj"][5].sum() + at[f"{mlp}.down_proj"][:, 5].sum()
    torch.testing.assert_close(found.neurons_LM[1, 5], neuron)
    head = at[f"{attention}.q_proj"][24:32].sum() + at[f"{attention}.o_proj"][:, 24:32].sum()
    torch.testing.assert_close(found.heads_LGR[1, 1, 1], head)
    keys = at[f"{attention}.k_proj"][8:16].sum() + at[f"{attention}.v_proj"][8:16].sum()
    torch.testing.assert_close(found.groups_LG[1, 1], keys + found.heads_LGR[1, 1].sum())
    by_row = ("norm", "o_proj", "down_proj")
    channel = sum((value[9] if name.endswith(by_row) else value[:, 9]).sum() for name, value in at.items())
    torch.testing.assert_close(found.channels_C[9], channel)


def test_gates_are_open_as_often_as_the_formula_says():
    generator, open_gates = torch.Generator().manual_seed(1), Gates(1, 20_000, 10_000)
    for alpha in (-2.0, 0.0, 2.0):
        open_gates.alpha.data.fill_(alpha)
        z = open_gates.drawn(generator)
        assert (z > 0).float().mean() == pytest.approx(
            1 / (1 + math.exp(-alpha + 2 / 3 * math.log(0.1 / 1.1))), abs=0.02
        )
        assert ((z == 0) | (z == 1)).any()
        assert z.min() >= 0
        assert z.max() <= 1


def test_learning_masks_leaves_the_decoder_as_it_was():
    decoder, passes = trained(SMALL), sample(2, seed=5)
    before = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    logits = decoder.logits(*passes[0])
    one, other = (by_masks(decoder, passes, HALF, MaskLearning(5, 0.2), seed) for seed in (1, 1))
    assert torch.equal(one.neurons_LM, other.neurons_LM)
    assert all(torch.equal(before[name], weight) for name, weight in decoder.state_dict().items())
    assert torch.equal(decoder.logits(*passes[0]), logits)
    assert all(weight.requires_grad and weight.grad is None for weight in decoder.parameters())


def test_the_middle_is_one_block_between_two_halves():
    assert middle(8, 4) == (0, 1, 6, 7)
    assert middle(32, 21) == (*range(11), *range(22, 32))
    assert middle(5, 5) == (0, 1, 2, 3, 4)


def test_layers_are_skipped_one_by_one_where_it_costs_least():
    shape = replace(SMALL, layers=4)
    decoder, passes = trained(shape, 40), sample(2, seed=5)
    kept, rounds = by_skip_loss(decoder, passes, 2)
    assert kept == (0, 3)
    assert sorted(rounds[0]) == [1, 2]
    state = decoder.state_dict()
    for number, left in ((1, (0, 2, 3)), (2, (0, 1, 3))):
        alone = built(replace(shape, layers=3), with_layers(state, left))
        assert rounds[0][number] == pytest.approx(mean_loss(alone, passes), rel=1e-6)
    first = min(rounds[0], key=rounds[0].get)
    assert set(rounds[1]) == {1, 2} - {first}
    assert len(decoder.model.layers) == 4


def test_words_move_to_their_new_ids_and_ids_without_a_word_get_the_mean():
    state = trained(SMALL).state_dict()
    table = torch.full((40,), -1, dtype=torch.int32)
    table[[7, 3, 20]] = torch.tensor([0, 2, 1], dtype=torch.int32)
    moved = remapped(state, table, 5)
    for name in (EMBEDDING, HEAD):
        old = state[name][[7, 20, 3]]
        assert torch.equal(moved[name][:3], old)
        torch.testing.assert_close(moved[name][3:], old.mean(0).repeat(2, 1))
    assert torch.equal(moved["model.norm.weight"], state["model.norm.weight"])
    with pytest.raises(ValueError, match="ids up to 2, expected at most 40 words and ids under 2"):
        remapped(state, table, 2)
    with pytest.raises(ValueError, match="41 words"):
        remapped(state, torch.cat([table, table[:1]]), 5)


def test_the_gain_is_estimated_from_what_is_written(idle):
    _, kept, parent = idle
    assert written_gain(parent.state_dict(), kept.channels) == pytest.approx(math.sqrt(3))
    alike = Decoder(LARGE, choose("cpu"), seed=1).state_dict()
    assert written_gain(alike, torch.arange(32)) == pytest.approx(1, abs=0.03)


def test_a_tied_parent_gives_an_untied_child():
    tied = replace(SMALL, tied=True)
    parent = trained(tied, 40)
    state, account = inherited(tied, parent.state_dict(), SMALL, ways(), sample(2, seed=5))
    assert account["losses"]["inherited"] == pytest.approx(account["losses"]["parent"], rel=1e-6)
    assert torch.equal(state[HEAD], state[EMBEDDING])


def test_key_heads_that_are_alike_are_pooled_without_loss():
    decoder, few = trained(SMALL), replace(SMALL, kv_heads=4)
    state = dict(decoder.state_dict())
    for name in [name for name in state if name.endswith(("k_proj.weight", "v_proj.weight"))]:
        state[name] = state[name].view(2, 1, 8, 32).repeat(1, 2, 1, 1).view(32, 32)
    found, account = inherited(few, state, SMALL, ways("middle", "taylor"), sample(2, seed=5))
    assert all(torch.equal(found[name], weight) for name, weight in decoder.state_dict().items())
    assert account["losses"]["inherited"] == pytest.approx(account["losses"]["parent"], rel=1e-5)
    one = replace(SMALL, kv_heads=1)
    found, _ = inherited(few, state, one, ways(), [])
    name = "model.layers.1.self_attn.v_proj.weight"
    torch.testing.assert_close(found[name], state[name].view(4, 8, 32).mean(0))


def test_without_a_sample_nothing_is_measured():
    _, account = inherited(SMALL, trained(SMALL).state_dict(), HALF, ways(), [])
    assert set(account["losses"].values()) == {None}
    assert account["losses_without"] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": 6}, "layers=6, expected at most the parent's 5"),
        ({"mlp_hidden": 41}, "mlp_hidden=41"),
        ({"layers": 1}, "expected at least 2"),
        ({"hidden": 32, "heads": 2, "kv_heads": 2}, "heads 16 wide, expected the parent's 8; give heads = hidden / 8"),
        ({"tied": True}, "tied=True"),
        ({"rope_theta": 500.0}, r"rope_theta=500\.0"),
    ],
)
def test_a_shape_that_is_no_part_of_the_parent_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        check_fits(LARGE, replace(LARGE, **change))


def test_more_key_heads_than_pooling_leaves_are_refused():
    seven = replace(LARGE, hidden=56, heads=7, kv_heads=7)
    check_fits(seven, replace(LARGE, hidden=48, heads=6, kv_heads=1))
    with pytest.raises(ValueError, match="2 queries to a key head, of which pooling the parent's 7 leaves 1"):
        check_fits(seven, replace(LARGE, hidden=48, heads=6, kv_heads=3))


def test_of_equal_units_the_first_stay():
    decoder = Decoder(SMALL, choose("cpu"), seed=1)
    equal = {name: torch.ones_like(weight) for name, weight in decoder.state_dict().items()}
    kept = best(by_weight(equal, SMALL, 1), HALF)
    assert isinstance(kept, Kept)
    assert kept.channels.tolist() == list(range(16))
    assert kept.heads.tolist() == [[0, 1]] * 3
