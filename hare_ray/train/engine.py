# ruff: noqa: TID253 - torch is what this module is about
"""A model in training, whatever holds its states: what the loop asks of it, and what its kinds share.

A checkpoint knows nothing of kinds: whole tensors in float32 by the names of parameters, so any number of ranks and any
ZeRO stage can take up what any other left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hare_ray.model.attention import Backend, Spans
from hare_ray.train import settings

Inputs = tuple[Tensor, Tensor, Tensor, Spans]
"""Tokens, segments, positions of a micro-batch, and where its pieces lie."""

PRECISIONS: dict[str, torch.dtype] = {name: getattr(torch, name) for name in settings.PRECISIONS}
"""Of the weights that forward and backward see; masters, sums of gradients and moments are float32 always."""

WEIGHTS, MOMENTS, UPDATES = "weights", ("exp_avg", "exp_avg_sq"), "updates"
"""Names in a checkpoint: "weights/NAME", "exp_avg/NAME", "exp_avg_sq/NAME", and how often the weights were changed."""

CLIP_MARGIN = 1e-6
"""Added to the norm before it is compared, as torch and DeepSpeed do."""


class Stepped(NamedTuple):
    """One optimizer step; everything stays on the device."""

    loss: Tensor
    """float64 [], summed over the targets of this rank."""
    grad_norm: Tensor
    """float32 [], of all ranks, before clipping."""
    skipped: Tensor
    """float32 [], 1 where the step was a spike and the weights were left as they are."""


class Engine(Protocol):
    """Weights, sums of gradients, optimizer states."""

    backend: Backend

    def step(self, micro_batches: list[Inputs], targets: Tensor, learning_rate: float) -> Stepped:
        """One optimizer step; `targets` int64 [] are those of all ranks. All ranks call it."""
        ...

    def owned(self) -> dict[str, Tensor]:
        """A copy of what this rank writes to a checkpoint, whole tensors on the CPU; all ranks call it.

        "weights/NAME", "exp_avg/NAME", "exp_avg_sq/NAME" in float32 by the parameter's name, each from one rank,
        and from rank 0 what else continuing needs ("guard/...", "updates"). The same names and values from any engine
        and any number of ranks, so that any other can read it.
        """
        ...

    def load(self, read: Callable[[str], Tensor]) -> None:
        """Take up what `owned` gave: `read` gives a tensor by its name. All ranks call it."""
        ...


def owners(sizes: dict[str, int], ranks: int) -> dict[str, int]:
    """Which rank writes each parameter, by its name: the largest first, each to whom has least."""
    load, found = [0] * ranks, {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        found[name] = load.index(min(load))
        load[found[name]] += sizes[name]
    return found
