import math

import pytest

from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.initial import RULES, Initial
from hare_ray.model.shape import Shape

SHAPE = Shape(layers=3, hidden=192, heads=4, kv_heads=4, mlp_hidden=256, vocabulary=512, tied=False)

STD = 0.05

SMALL = 1 / math.sqrt(2 * SHAPE.layers)
"""Two residual branches a layer."""

EXPECTED = {
    "constant": {},
    "gpt2": dict.fromkeys(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), (SMALL, SMALL, SMALL)
    ),
    "internlm": dict.fromkeys(("o_proj", "gate_proj"), (SMALL, SMALL, SMALL)),
    "depth": {
        **dict.fromkeys(("q_proj", "k_proj"), (math.sqrt(2), (math.sqrt(2) + 1) / 2, 1)),
        **dict.fromkeys(("v_proj", "o_proj"), (math.sqrt(0.5), (math.sqrt(0.5) + 1) / 2, 1)),
    },
}
"""Multiples of the std in the first, second and third layer; 1 where nothing is named."""


@pytest.mark.parametrize("rule", RULES)
def test_drawn_weights_have_the_std_of_the_rule(rule):
    for name, weight in Decoder(SHAPE, choose("cpu"), seed=1, initial=Initial(rule, STD)).named_parameters():
        if weight.ndim == 1:
            assert (weight == 1).all(), name
            continue
        parts = name.split(".")
        multiple = EXPECTED[rule].get(parts[-2], (1, 1, 1))[int(parts[2])] if "layers" in parts else 1
        assert weight.std().item() == pytest.approx(multiple * STD, rel=0.015), name
        assert abs(weight.mean().item()) < 5 * STD * multiple / math.sqrt(weight.numel()), name


def test_a_single_layer_is_the_last():
    assert Initial("depth", 0.02).std_of("model.layers.0.self_attn.q_proj.weight", 0, 1) == 0.02


@pytest.mark.parametrize("wrong", [{"rule": "xavier"}, {"std": 0.0}, {"std": -0.1}, {"std": math.nan}])
def test_what_draws_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="given"):
        Initial(**wrong)
