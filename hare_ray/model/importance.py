# ruff: noqa: N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""How much every unit of a decoder matters, by its weights or by what a sample says of them.

    l1        sum of |w| over all weights of the unit
    l2        sum of w^2
    taylor    sum of |w dL/dw|: to first order, what the loss changes by where a weight becomes 0. Summed over passes
              of a few rows each, because over a sample that a trained model fits the gradients cancel out

PanGu-pi Pro (arXiv 2402.02791, section 3.2) compares them; Taylor is that of LLM-Pruner (arXiv 2305.11627). The sum
over a unit needs no more of each weight matrix than the sums of its rows and of its columns, so a gradient is
reduced to these and freed as soon as it is there: what is in memory are the weights and one gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from hare_ray.model.decoder import Decoder
from hare_ray.model.inherit import WRITERS, Scores, State, kind_of
from hare_ray.model.inherit_sample import Rows
from hare_ray.model.shape import Shape

POWERS = {"l1": 1, "l2": 2}


class Sums(NamedTuple):
    """Of a weight matrix; of a norm's weights both are the weights."""

    rows: Tensor
    columns: Tensor


def sums(each: Tensor) -> Sums:
    """Over the columns and over the rows, in float32."""
    each = each.detach().float()
    return Sums(each, each) if each.ndim == 1 else Sums(each.sum(1), each.sum(0))


def by_weight(state: State, shape: Shape, power: int) -> Scores:
    """Scores by |w|^power."""
    return scores({name: sums(weight.abs() ** power) for name, weight in state.items()}, shape)


def by_taylor(decoder: Decoder, sample: Sequence[Rows]) -> Scores:
    """Scores by weight times gradient on a sample."""
    found: dict[str, Sums] = {}
    decoder.zero_grad()

    def reduce(name: str, weight: Tensor) -> None:
        assert weight.grad is not None
        new = sums((weight.detach() * weight.grad).abs())
        found[name] = Sums(*(a + b for a, b in zip(found[name], new, strict=True))) if name in found else new
        weight.grad = None

    handles = [
        weight.register_post_accumulate_grad_hook(partial(reduce, name)) for name, weight in decoder.named_parameters()
    ]
    try:
        for rows in sample:
            loss, targets = decoder(*(tensor.to(decoder.head.device) for tensor in rows))
            (loss / targets).backward()
    finally:
        for handle in handles:
            handle.remove()
    return scores(found, decoder.shape)


def scores(of: dict[str, Sums], shape: Shape) -> Scores:
    """Sums over units."""
    device = next(iter(of.values())).rows.device
    channels_C = torch.zeros(shape.hidden, device=device)
    for name, one in of.items():
        channels_C = channels_C + (one.rows if kind_of(name) in WRITERS else one.columns)
    groups, heads, neurons = [], [], []
    for layer in range(shape.layers):

        def at(kind: str, layer: int = layer) -> Sums:
            return of[f"model.layers.{layer}.{kind}.weight"]

        q, k, v, o = (at(f"self_attn.{name}_proj") for name in "qkvo")
        heads_GR = (q.rows + o.columns).view(shape.kv_heads, -1, shape.head_dim).sum(-1)
        heads.append(heads_GR)
        groups.append((k.rows + v.rows).view(shape.kv_heads, -1).sum(-1) + heads_GR.sum(-1))
        neurons.append(at("mlp.gate_proj").rows + at("mlp.up_proj").rows + at("mlp.down_proj").columns)
    return Scores(channels_C, torch.stack(groups), torch.stack(heads), torch.stack(neurons))
