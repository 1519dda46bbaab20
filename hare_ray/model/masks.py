# ruff: noqa: N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""Masks over the units of a decoder, learned on a sample while its weights rest.

Every unit has a gate z in [0, 1] that multiplies what it gives. Gates are hard concrete (Louizos, Welling, Kingma
2018, arXiv 1712.01312): for u uniform in (0, 1)

    s = sigmoid((log u - log(1 - u) + a) / B),   z = clamp(s (E - S) + S, 0, 1),   P(z > 0) = sigmoid(a - B log(-S / E))

with temperature B = 2/3 and limits S = -0.1, E = 1.1, so a gate is exactly 0 or 1 with some probability and yet has a
gradient in `a`, which is learned. Of every row of gates a given share is to be open. As in Sheared LLaMA (arXiv
2310.06694, section 2.1) a Lagrangian sees to that: with e the expected share that is open less the wanted one,
p e + q e^2 joins the loss, and p and q of each row climb while `a` descends. The wanted share falls from 1 over the
first fifth of the steps. The learning rate stays: falling to 0 it did not choose better. In the end the units with the
largest `a` are kept, exactly as many as are wanted.

A masked norm divides by the mean over all channels, the closed ones being 0. That is what `inherit.cut` makes of it
with a gain of sqrt(old / new channels).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hare_ray.model.decoder import Decoder
from hare_ray.model.inherit import Scores
from hare_ray.model.inherit_sample import Rows
from hare_ray.model.shape import Shape

if TYPE_CHECKING:
    from hare_ray.model.inherit_stage import MaskLearning

TEMPERATURE, START, END = 2 / 3, -0.1, 1.1

FIRST = 2.0
"""Where `a` begins: 97 % of the gates are open."""

FALLING = 0.2
"""Share of the steps in which the wanted share falls; Sheared LLaMA: 640 of 3,200."""


class Gates(nn.Module):
    """Rows of gates, of each of which the same number is to stay open."""

    def __init__(self, rows: int, units: int, wanted: int) -> None:
        super().__init__()
        self.wanted = wanted / units
        self.alpha = nn.Parameter(torch.full((rows, units), FIRST))
        self.linear = nn.Parameter(torch.zeros(rows))
        self.square = nn.Parameter(torch.zeros(rows))

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Gates."""
        u = torch.rand(self.alpha.shape, generator=generator).clamp(1e-6, 1 - 1e-6).to(self.alpha.device)
        s = torch.sigmoid((u.log() - (1 - u).log() + self.alpha) / TEMPERATURE)
        return (s * (END - START) + START).clamp(0, 1)

    def penalty(self, progress: float) -> Tensor:
        """What the Lagrangian adds to the loss."""
        open_share = torch.sigmoid(self.alpha - TEMPERATURE * math.log(-START / END)).mean(1)
        wanted = 1 - (1 - self.wanted) * min(1.0, progress / FALLING)
        excess = open_share - wanted
        return (self.linear * excess + self.square * excess**2).sum()


def by_masks(decoder: Decoder, sample: Sequence[Rows], shape: Shape, learning: MaskLearning, seed: int) -> Scores:
    """Scores by learned masks; `shape` says how many units of each kind are to be left."""
    device, generator = decoder.head.device, torch.Generator().manual_seed(seed)
    gates = {name: Gates(*sizes).to(device) for name, sizes in _sizes(decoder.shape, shape).items()}
    descending = [one.alpha for one in gates.values()]
    climbing = [weight for one in gates.values() for weight in (one.linear, one.square)]
    optimizers = [
        torch.optim.Adam(descending, learning.learning_rate),
        torch.optim.Adam(climbing, learning.learning_rate, maximize=True),
    ]
    wanted_gradient = [weight.requires_grad for weight in decoder.parameters()]
    decoder.requires_grad_(False)
    for step in range(learning.steps):
        with masked(decoder, {name: one.drawn(generator) for name, one in gates.items()}):
            loss, targets = decoder(*(tensor.to(device) for tensor in sample[step % len(sample)]))
        objective = loss / targets + sum(one.penalty(step / learning.steps) for one in gates.values())
        for optimizer in optimizers:
            optimizer.zero_grad()
        objective.backward()
        for optimizer in optimizers:
            optimizer.step()
    for weight, wanted in zip(decoder.parameters(), wanted_gradient, strict=True):
        weight.requires_grad_(wanted)
    return _scores(gates, decoder.shape)


def _sizes(parent: Shape, shape: Shape) -> dict[str, tuple[int, int, int]]:
    """Rows of gates, units of a row, and how many of these are to stay; only where some go."""
    queries = parent.heads // parent.kv_heads
    sizes = {
        "channels": (1, parent.hidden, shape.hidden),
        "groups": (parent.layers, parent.kv_heads, shape.kv_heads),
        "heads": (parent.layers * parent.kv_heads, queries, shape.heads // shape.kv_heads),
        "neurons": (parent.layers, parent.mlp_hidden, shape.mlp_hidden),
    }
    return {name: size for name, size in sizes.items() if size[2] < size[1]}


def _scores(gates: dict[str, Gates], parent: Shape) -> Scores:
    """The gates' `a`; ones where all units stay."""
    layers, groups, queries = parent.layers, parent.kv_heads, parent.heads // parent.kv_heads

    def of(name: str, *size: int) -> Tensor:
        return gates[name].alpha.detach().view(size) if name in gates else torch.ones(size)

    return Scores(
        channels_C=of("channels", parent.hidden),
        groups_LG=of("groups", layers, groups),
        heads_LGR=of("heads", layers, groups, queries),
        neurons_LM=of("neurons", layers, parent.mlp_hidden),
    )


@contextmanager
def masked(decoder: Decoder, z: dict[str, Tensor]) -> Iterator[None]:
    """The decoder with what its units give multiplied by `z`: channels [1, C], groups [L, G], heads [L G, R], ..."""
    shape, handles = decoder.shape, []
    heads_LGR = torch.ones(shape.layers, shape.kv_heads, shape.heads // shape.kv_heads, device=decoder.head.device)
    if "groups" in z:
        heads_LGR = heads_LGR * z["groups"][..., None]
    if "heads" in z:
        heads_LGR = heads_LGR * z["heads"].view(heads_LGR.shape)
    inner_LC = heads_LGR.flatten(1).repeat_interleave(shape.head_dim, 1)
    body: Any = decoder.model
    for number, layer in enumerate(body.layers):
        handles.append(layer.self_attn.o_proj.register_forward_pre_hook(_before(inner_LC[number])))
        if "neurons" in z:
            handles.append(layer.mlp.down_proj.register_forward_pre_hook(_before(z["neurons"][number])))
    if "channels" in z:
        writers = [
            body.embed_tokens,
            *(w for layer in body.layers for w in (layer.self_attn.o_proj, layer.mlp.down_proj)),
        ]
        handles += [writer.register_forward_hook(_after(z["channels"][0])) for writer in writers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _before(z: Tensor) -> Callable[..., tuple[Tensor]]:
    return lambda module, given: (given[0] * z.to(given[0].dtype),)


def _after(z: Tensor) -> Callable[..., Tensor]:
    return lambda module, given, result: result * z.to(result.dtype)
