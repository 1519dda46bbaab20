# ruff: noqa: TID253 - torch is what this module is about
"""Steps that are left out because their loss or their gradient leaps.

    spike  <=>  value > mean + k * deviation        of the values of the last 128 steps, for the loss or the norm

The rule is that of SkipStepOptimizer in OLMo-core: an update from such a batch is not made, weights and moments stay as
they are, and the next batch comes. Every value enters the window, a spike's own too, so that a lasting change of level
(other data) is taken for normal after a few steps: a rise of any height is accepted once about 1 / (1 + k^2) of the
window has it, with k = 6 the fifth time at the latest.

A loss or norm that is no number is always left out and never remembered: the weights before it stay good, and whoever
reads the loss may stop. Nothing here waits for the device: window and verdict are tensors on it.

Shapes: window float64 [2, 128], losses then norms, as a ring; `seen` int64 [], values ever remembered.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WINDOW = 128
"""Steps that are remembered."""

FEWEST = WINDOW // 2
"""Remembered steps before any is judged."""

LEAST_DEVIATION = 1e-6
"""Of the mean: values that are all alike differ by rounding."""

VALUES, SEEN = "guard/values", "guard/seen"
"""Names in a checkpoint."""


class Guard:
    """Remembers losses and gradient norms, and says which step is a spike."""

    def __init__(self, sigmas: float, device: torch.device) -> None:
        """`sigmas`: how many deviations above the mean is too much; 0: only what is no number."""
        self.sigmas = sigmas
        self.values = torch.zeros(2, WINDOW, dtype=torch.float64, device=device)
        self.seen = torch.zeros((), dtype=torch.int64, device=device)
        self.places = torch.arange(WINDOW, device=device)

    @torch.no_grad()
    def spike(self, loss_mean: Tensor, grad_norm: Tensor) -> Tensor:
        """1 where a step must be left out, else 0: float32 []. Both values are those of all ranks, in any type."""
        values = torch.stack([loss_mean.double(), grad_norm.double()])
        finite = values.isfinite().all()
        spike = ~finite
        if self.sigmas:
            spike = spike | ((values > self._limits()).any() & (self.seen >= FEWEST))
        here = (self.places == self.seen % WINDOW) & finite
        self.values = torch.where(here, values[:, None], self.values)
        self.seen += finite
        return spike.float()

    def _limits(self) -> Tensor:
        filled = self.places < self.seen
        count = filled.sum().clamp(min=2)
        mean = torch.where(filled, self.values, 0.0).sum(1) / count
        squares = torch.where(filled, self.values - mean[:, None], 0.0).square().sum(1)
        deviation = (squares / (count - 1)).sqrt()
        return mean + self.sigmas * torch.maximum(deviation, LEAST_DEVIATION * mean.abs())

    def state(self) -> dict[str, Tensor]:
        """A copy on the CPU."""
        return {VALUES: self.values.to("cpu", copy=True), SEEN: self.seen.to("cpu", copy=True)}

    def load(self, read: Callable[[str], Tensor]) -> None:
        """Take up what `state` gave."""
        self.values = read(VALUES).to(self.values.device, copy=True)
        self.seen = read(SEEN).to(self.seen.device, copy=True)
