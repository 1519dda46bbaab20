# ruff: noqa: N806, N815, TID253 - names of tensors end in their axes, and torch is what this module is about
"""A smaller decoder cut out of a larger one (PanGu-pi Pro, arXiv 2402.02791, section 3.2).

Layers are chosen first, then units inside them; everything that belongs to a unit goes or stays together:

    channel   of the residual stream, the same in all layers: a column of embedding, head, q, k, v, gate and up, a row
              of o and down, a number of every norm
    group     a key and value head with the query heads it serves: rows of k, v and q, columns of o
    head      a query head within its group, where the smaller model has fewer queries to a group
    neuron    of one MLP: a row of gate and up, a column of down

A head stays as wide as it was, because rotary positions turn its pairs; so hidden / heads is the same in both shapes.
Where a key head is to serve more queries than in the parent, neighbouring ones are pooled before units are chosen, by
the mean of their weights (appendix A of the paper, where 5 % of the training brought most of the loss back).

What is kept stays in its order. RMSNorm divides by the root of the mean square over the channels that are left. Where
the others were nearly empty, that mean is larger by old / new channels than it was, and every norm gives too little:
`gain`, by which the norms' weights are multiplied, makes up for it. It is sqrt(old / new) where the others were empty
(with an epsilon that is larger by old / new the result is then the same to rounding), and 1 where all were alike.

Shapes: H query heads, G groups, D width of a head, C hidden width, M neurons; state: name -> tensor, as transformers
names them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hare_ray.model.export import HEAD
from hare_ray.model.shape import Shape

EMBEDDING = "model.embed_tokens.weight"

WRITERS = ("o_proj", "down_proj")
"""Matrices that write into the residual stream: their rows are channels. Those of the others' columns are."""

LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.weight")

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """How much every unit matters, larger is more; comparable within a row."""

    channels_C: Tensor
    groups_LG: Tensor
    heads_LGR: Tensor
    """R query heads of each group."""
    neurons_LM: Tensor


class Kept(NamedTuple):
    """Numbers of the units that stay, ascending."""

    channels: Tensor
    groups: Tensor
    """int64[L, G']"""
    heads: Tensor
    """int64[L, H'], numbered over all query heads of the layer."""
    neurons: Tensor
    """int64[L, M']"""


def check_fits(parent: Shape, shape: Shape) -> None:
    """Refuse a shape that is no part of the parent's."""
    for name in ("layers", "hidden", "heads", "kv_heads", "mlp_hidden"):
        if getattr(shape, name) > getattr(parent, name):
            raise ValueError(
                f"given {name}={getattr(shape, name)}, expected at most the parent's {getattr(parent, name)}; "
                "what is inherited can only be smaller"
            )
    if shape.layers == 1 < parent.layers:
        raise ValueError(f"given layers=1 of {parent.layers}, expected at least 2: the first and the last are kept")
    if shape.head_dim != parent.head_dim:
        raise ValueError(
            f"given hidden={shape.hidden}, heads={shape.heads}: heads {shape.head_dim} wide, expected the parent's "
            f"{parent.head_dim}; give heads = hidden / {parent.head_dim}"
        )
    left = pooled_heads(parent, shape)
    if left < shape.kv_heads:
        raise ValueError(
            f"given kv_heads={shape.kv_heads}: {shape.heads // shape.kv_heads} queries to a key head, of which pooling "
            f"the parent's {parent.kv_heads} leaves {left}; give at most {left}, or more with fewer queries to each"
        )
    if shape.tied and not parent.tied:
        raise ValueError("given tied=True, expected False: the parent's head is not its embedding; give tied=False")
    if shape.rope_theta != parent.rope_theta:
        raise ValueError(f"given rope_theta={shape.rope_theta}, expected the parent's {parent.rope_theta}; give that")


def best(scores: Scores, shape: Shape) -> Kept:
    """The units that matter most, as many as the shape has."""
    groups_LG = _most(scores.groups_LG, shape.kv_heads)
    queries = scores.heads_LGR.shape[-1]
    within_LGR = _most(scores.heads_LGR, shape.heads // shape.kv_heads)
    heads_LGR = torch.arange(scores.groups_LG.shape[-1])[:, None] * queries + within_LGR
    layers = torch.arange(len(groups_LG))[:, None]
    return Kept(
        channels=_most(scores.channels_C, shape.hidden),
        groups=groups_LG,
        heads=heads_LGR[layers, groups_LG].flatten(1),
        neurons=_most(scores.neurons_LM, shape.mlp_hidden),
    )


def _most(scores: Tensor, count: int) -> Tensor:
    """Ascending numbers of the largest; of equals the first."""
    return torch.sort(scores.cpu(), dim=-1, descending=True, stable=True).indices[..., :count].sort(-1).values


def remapped(state: State, new_of_old: Tensor, vocabulary: int) -> dict[str, Tensor]:
    """Embedding and head in another numbering of their words; -1: the word is gone.

    An id that no word has, as from rounding a vocabulary up, gets the mean of the others: a neutral word.
    """
    words = len(state[EMBEDDING])
    if len(new_of_old) > words or int(new_of_old.max()) >= vocabulary:
        raise ValueError(
            f"given a table of {len(new_of_old)} words with ids up to {int(new_of_old.max())}, expected at most "
            f"{words} words and ids under {vocabulary}; give the table of the parent's own tokenizer, and a shape "
            "with the vocabulary of the smaller one"
        )
    old = (new_of_old >= 0).nonzero().flatten()
    new = new_of_old[old].long()
    moved = dict(state)
    for name in {EMBEDDING, HEAD} & state.keys():
        kept = state[name][old]
        moved[name] = kept.mean(0).repeat(vocabulary, 1).index_copy(0, new, kept)
    return moved


def pooled_heads(parent: Shape, shape: Shape) -> int:
    """The most key heads that the parent can have where each serves as many queries as in the shape."""
    queries = shape.heads // shape.kv_heads
    return next(
        count
        for count in range(parent.kv_heads, 0, -1)
        if parent.kv_heads % count == 0 and parent.heads // count >= queries
    )


def pooled(state: State, parent: Shape, count: int) -> dict[str, Tensor]:
    """With so many key and value heads, each the mean of neighbours."""
    found = dict(state)
    for name, weight in state.items():
        if kind_of(name) in ("k_proj", "v_proj"):
            found[name] = weight.view(count, -1, parent.head_dim, parent.hidden).mean(1).flatten(0, 1)
    return found


def with_layers(state: State, layers: Sequence[int]) -> dict[str, Tensor]:
    """The state of a decoder that has these layers only, numbered anew."""
    number = {old: new for new, old in enumerate(layers)}
    found: dict[str, Tensor] = {}
    for name, weight in state.items():
        match = LAYER.fullmatch(name)
        if match is None:
            found[name] = weight
        elif int(match[1]) in number:
            found[f"model.layers.{number[int(match[1])]}.{match[2]}.weight"] = weight
    return found


def cut(state: State, kept: Kept, head_dim: int, gain: float) -> dict[str, Tensor]:
    """The state of the smaller decoder, of one that has the same layers."""
    return {name: _cut(name, weight, kept, head_dim, gain).contiguous() for name, weight in state.items()}


def _cut(name: str, weight: Tensor, kept: Kept, head_dim: int, gain: float) -> Tensor:
    if weight.ndim == 1:
        return weight[kept.channels] * gain
    match = LAYER.fullmatch(name)
    if match is None:
        return weight[:, kept.channels]
    layer, kind = int(match[1]), kind_of(name)
    if kind in ("gate_proj", "up_proj", "down_proj"):
        inner = kept.neurons[layer]
    else:
        heads = (kept.groups if kind in ("k_proj", "v_proj") else kept.heads)[layer]
        inner = (heads[:, None] * head_dim + torch.arange(head_dim)).flatten()
    if kind in WRITERS:
        return weight[kept.channels][:, inner]
    return weight[inner][:, kept.channels]


def kind_of(name: str) -> str:
    """What a weight is, without the path to it: q_proj, norm, ..."""
    return name.split(".")[-2]


def written_gain(state: State, channels: Tensor) -> float:
    """The gain by what matrices write into the channels that stay: of their squares, the share, on the mean."""
    shares = []
    for name, weight in state.items():
        if name == EMBEDDING or kind_of(name) in WRITERS:
            written_C = weight.float().square().sum(0 if name == EMBEDDING else 1)
            if written_C.any():
                shares.append(written_C[channels].sum() / written_C.sum())
    old = state[EMBEDDING].shape[1]
    return math.sqrt(float(torch.stack(shares).mean()) * old / len(channels))


def untied(state: State) -> dict[str, Tensor]:
    """With a head of its own, equal to the embedding."""
    return {**state, HEAD: state[EMBEDDING].clone()}
