"""The learning rate as a pure function of the tokens seen.

    factor(t) = min(1, t / warmup, (total - t) / (decay * total))      t, warmup, total in tokens of this stage

Warm-up, constant, linear decay to 0 ("WSD": MiniCPM, arXiv 2404.06395; SmolLM2, arXiv 2502.02737). Unlike a cosine the
constant part does not know where the run ends, so a first stage has no decay and a second one, with its own data, takes
it over at full rate. A step uses the factor at its middle: then neither the first step nor the last is wasted on a rate
of 0, and the sum over the steps is the integral. There is no state, so nothing can jump when a run is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Course of the learning rate over one stage."""

    warmup_tokens: int
    """Tokens over which the rate rises linearly from 0."""
    decay: float
    """Last share of the stage's tokens over which it falls linearly to 0; 0: it does not."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.warmup_tokens < 0 or not 0 <= self.decay <= 1:
            raise ValueError(
                f"given warmup_tokens={self.warmup_tokens}, decay={self.decay}, expected 0 or more, and a share 0 to 1"
            )

    def factor(self, tokens: float, total: int) -> float:
        """Share of the peak rate when `tokens` of `total` have been seen."""
        rising = tokens / self.warmup_tokens if self.warmup_tokens else 1.0
        falling = (total - tokens) / (self.decay * total) if self.decay else 1.0
        return max(0.0, min(1.0, rising, falling))
