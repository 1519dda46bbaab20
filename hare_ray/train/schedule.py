"""The learning rate as a pure function of the tokens seen.

    rising   t / warmup                                      from 0, linear
    falling  wsd       (T - t) / (decay * T)                 over the last share `decay`, linear
             cosine    (1 + cos(pi * (t - b) / (T - b))) / 2 from b = max(warmup, (1 - decay) * T) on
             constant  1
    factor   min(1, rising, floor + (1 - floor) * falling)   t, warmup, T in tokens

"wsd" is warm-up, constant, decay (MiniCPM, arXiv 2404.06395; SmolLM2, arXiv 2502.02737). Unlike a cosine (arXiv
1608.03983) its constant part does not know where the run ends, so a first stage has no decay and a second one, with its
own data, takes it over at full rate. A cosine that goes through several stages is told which `part` of it each one is,
as shares: (0, 0.8) and (0.8, 1). Then T is the stage's tokens divided by its share, and without a warm-up the second
begins just where the first one ended, also where a source ran short and a stage has other tokens than were planned.

A step uses the factor at its middle: then neither the first step nor the last is wasted on a rate of 0, and the sum
over the steps is the integral. There is no state, so nothing can jump when a run is resumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

KINDS = ("wsd", "cosine", "constant")


@dataclass(frozen=True)
class Schedule:
    """Course of the learning rate over one stage."""

    warmup_tokens: int
    """Tokens over which the rate rises linearly from 0."""
    decay: float
    """Last share of the tokens over which it falls; 0: it does not. 1 is the usual cosine."""
    kind: str = "wsd"
    """How it falls: one of KINDS."""
    floor: float = 0.0
    """Share of the peak rate at which the fall ends."""
    part: tuple[float, float] = (0.0, 1.0)
    """Which stretch of the whole course this stage is, as shares of its tokens; the other fields speak of the whole."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.warmup_tokens < 0 or not 0 <= self.decay <= 1:
            raise ValueError(
                f"given warmup_tokens={self.warmup_tokens}, decay={self.decay}, expected 0 or more, and a share 0 to 1"
            )
        if self.kind not in KINDS:
            raise ValueError(f"given kind={self.kind!r}, expected one of {KINDS}")
        if not 0 <= self.floor < 1:
            raise ValueError(f"given floor={self.floor}, expected a share of the peak rate, from 0 to below 1")
        if (self.kind == "constant" and self.decay) or (self.kind == "cosine" and not self.decay):
            raise ValueError(
                f"given kind={self.kind!r}, decay={self.decay}; expected 0 for a constant rate, which does not fall, "
                "and more for a cosine, 1 where it falls from the warm-up to the end"
            )
        if self.floor and not self.decay:
            raise ValueError(f"given floor={self.floor}, decay=0; expected no floor where the rate does not fall")
        if not 0 <= self.part[0] < self.part[1] <= 1:
            raise ValueError(f"given part={self.part}, expected two shares 0 <= begin < end <= 1")

    def factor(self, tokens: float, total: int) -> float:
        """Share of the peak rate when `tokens` of the stage's `total` have been seen."""
        begin, end = self.part
        whole = total / (end - begin)
        at = begin * whole + tokens
        rising = at / self.warmup_tokens if self.warmup_tokens else 1.0
        falling = self.floor + (1 - self.floor) * self._fall(at, whole)
        return max(0.0, min(1.0, rising, falling))

    def _fall(self, at: float, whole: float) -> float:
        """From 1 to 0 over the last share."""
        if not self.decay:
            return 1.0
        if self.kind == "wsd":
            return min(1.0, (whole - at) / (self.decay * whole))
        begin = max(self.warmup_tokens, (1 - self.decay) * whole)
        if begin >= whole:  # it rises to the end
            return 1.0
        return (1 + math.cos(math.pi * max(0.0, at - begin) / (whole - begin))) / 2
