# ruff: noqa: TID253 - torch is what this module is about
"""The decoder in plain PyTorch: every rank keeps all states, each kind of them in one flat tensor.

    weights   bfloat16 or float32 [P]   what forward and backward see; the model's parameters are views into it
    master    float32 [P]               the true weights; in float32 the same tensor
    gradient  float32 [P]               sums over micro-batches, then over ranks
    moments   float32 [2, P]            AdamW's first and second

P: all parameters, one behind the other, each at a multiple of `ALIGNMENT`; those that decay come first. So a step is
one addition of gradients over the ranks, one norm, two calls of torch's fused AdamW (with and without decay) and one
copy to bfloat16, however many parameters there are. Norms, of one dimension, do not decay: it would pull them from 1
to 0.

Gradients in bfloat16 are added to float32 as soon as backward has a parameter's, and freed: over many micro-batches
bfloat16 would lose small ones. They are those of the summed loss. What turns them into the gradient of the mean,
division by the targets of the whole step, and clipping by the norm are one number, by which AdamW divides on the way
(`grad_scale`); how targets fall on ranks and micro-batches then changes nothing but rounding. A step that is a spike
is not made (`found_inf`). Both numbers stay on the device: nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.adamw import adamw

from hare_ray.model.decoder import Decoder
from hare_ray.train.engine import CLIP_MARGIN, MOMENTS, PRECISIONS, UPDATES, WEIGHTS, Inputs, Stepped, owners
from hare_ray.train.guard import Guard
from hare_ray.train.settings import Plan, Ranks

ALIGNMENT = 128
"""Numbers; 256 bytes in bfloat16, which every kernel for aligned data takes."""

NORM_ROW = 1 << 14
"""P is a multiple: the norm is taken of rows and then of theirs, so that float32 sums stay short."""


class Place(NamedTuple):
    """Where a parameter lies in a flat tensor."""

    name: str
    weight: torch.nn.Parameter
    begin: int

    def of(self, flat: Tensor) -> Tensor:
        """Its part of a flat tensor, in its shape."""
        return flat[self.begin : self.begin + self.weight.numel()].view(self.weight.shape)


class Flat:
    """A model in training."""

    def __init__(self, plan: Plan, model: Decoder, ranks: Ranks, device: torch.device) -> None:
        """Move a model's weights into flat tensors on the device."""
        self.plan, self.model, self.ranks = plan, model, ranks
        self.backend = model.backend
        self.places, self.decayed, total = laid_out(model)
        self.master = torch.zeros(total, device=device)
        self.moments = torch.zeros(2, total, device=device)
        self.summed = torch.zeros(total + 1, device=device)  # behind the gradient: the loss
        self.gradient = self.summed[:-1]
        self.updates = torch.zeros(2, device=device)  # of the part that decays, and of the other: equal
        self.guard = Guard(plan.training.spike_sigmas, device)
        dtype = PRECISIONS[plan.training.precision]
        self.weights = self.master if dtype == torch.float32 else torch.zeros(total, dtype=dtype, device=device)
        self._enter()

    def _enter(self) -> None:
        for place in self.places:
            place.of(self.master).copy_(place.weight.data)
        self._follow()
        for place in self.places:
            place.weight.data = place.of(self.weights)
            gradient = place.of(self.gradient)
            if self.weights is self.master:
                place.weight.grad = gradient  # backward adds to it
            else:
                place.weight.register_post_accumulate_grad_hook(adding_to(gradient))

    def step(self, micro_batches: list[Inputs], targets: Tensor, learning_rate: float) -> Stepped:
        """One optimizer step; `targets` are those of all ranks. All ranks call it."""
        self.summed.zero_()
        total = torch.zeros((), dtype=torch.float64, device=self.master.device)
        for inputs in micro_batches:
            loss, _ = self.model(*inputs)
            loss.backward()
            total += loss.detach()
        return self._update(total, targets, learning_rate)

    @torch.no_grad()
    def _update(self, loss: Tensor, targets: Tensor, learning_rate: float) -> Stepped:
        self.summed[-1] = loss
        if self.ranks.count > 1:
            dist.all_reduce(self.summed)
        divisor = targets.clamp(min=1).float()
        norm = length(self.gradient) / divisor
        skipped = self.guard.spike(self.summed[-1] / divisor, norm)
        clip = self.plan.training.gradient_clip
        if clip:
            divisor = divisor * ((norm + CLIP_MARGIN) / clip).clamp(min=1.0)
        self._descend(learning_rate, divisor, skipped)
        self._follow()
        return Stepped(loss, norm, skipped)

    def _descend(self, learning_rate: float, divisor: Tensor, skipped: Tensor) -> None:
        training = self.plan.training
        parts = ((slice(None, self.decayed), training.weight_decay), (slice(self.decayed, None), 0.0))
        for (part, decay), updates in zip(parts, self.updates.unbind(), strict=True):
            adamw(
                [self.master[part]],
                [self.gradient[part]],
                [self.moments[0, part]],
                [self.moments[1, part]],
                [],
                [updates],
                fused=True,
                grad_scale=divisor,
                found_inf=skipped,
                amsgrad=False,
                beta1=training.betas[0],
                beta2=training.betas[1],
                lr=learning_rate,
                weight_decay=decay,
                eps=training.epsilon,
                maximize=False,
            )

    def _follow(self) -> None:
        """Bring the weights to where the masters are."""
        if self.weights is not self.master:
            self.weights.copy_(self.master)

    def owned(self) -> dict[str, Tensor]:
        """A copy of this rank's share of the states."""
        sizes = {place.name: place.weight.numel() for place in self.places}
        mine = owners(sizes, self.ranks.count)
        found = {
            f"{kind}/{place.name}": place.of(flat).to("cpu", copy=True)
            for place in self.places
            if mine[place.name] == self.ranks.rank
            for kind, flat in self._states()
        }
        if self.ranks.rank == 0:
            found |= {UPDATES: self.updates[0].to("cpu", torch.int64), **self.guard.state()}
        return found

    def load(self, read: Callable[[str], Tensor]) -> None:
        """Take up what engines of any kind own."""
        for place in self.places:
            for kind, flat in self._states():
                place.of(flat).copy_(read(f"{kind}/{place.name}"))
        self.updates.copy_(read(UPDATES))
        self.guard.load(read)
        self._follow()

    def _states(self) -> tuple[tuple[str, Tensor], ...]:
        return (WEIGHTS, self.master), *zip(MOMENTS, self.moments, strict=True)


def laid_out(model: torch.nn.Module) -> tuple[list[Place], int, int]:
    """Places of the parameters, the decayed ones first; where those end, and the flat tensors do."""
    places, begin, decayed = [], 0, 0
    for name, weight in sorted(model.named_parameters(), key=lambda named: named[1].ndim < 2):
        places.append(Place(name, weight, begin))
        begin = up_to(ALIGNMENT, begin + weight.numel())
        decayed = begin if weight.ndim > 1 else decayed
    return places, decayed, up_to(NORM_ROW, begin)


def up_to(multiple: int, number: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


def length(flat: Tensor) -> Tensor:
    """The norm of a flat tensor."""
    return torch.linalg.vector_norm(torch.linalg.vector_norm(flat.view(-1, NORM_ROW), dim=1))


def adding_to(gradient: Tensor) -> Callable[[Tensor], None]:
    """For a parameter, when backward has its gradient: add it and free it."""

    def add(weight: Tensor) -> None:
        assert weight.grad is not None
        gradient.add_(weight.grad)
        weight.grad = None

    return add
