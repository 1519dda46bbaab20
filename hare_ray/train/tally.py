"""What a training has counted; a checkpoint keeps it, so that after a kill nothing is counted twice or forgotten."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Tally:
    """Counts from the first step of a stage on."""

    source_tokens: list[int]
    """Real tokens read of each source: without padding."""
    step: int = 0
    targets: int = 0
    """Positions with a next token to predict."""
    spikes: int = 0
    """Steps that were skipped."""
    waited_seconds: float = 0.0
    """Time that the training stood still for checkpoints."""
    groups: list[list[int]] = field(default_factory=list)
    """First step, from 1, and number of workers of each group that came as far as a checkpoint."""

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Tally:
        """From the manifest of a checkpoint."""
        return cls(**{name: facts[name] for name in cls.__dataclass_fields__})

    @property
    def real_tokens(self) -> int:
        """Of all sources."""
        return sum(self.source_tokens)

    def facts(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)

    def started(self, workers: int) -> None:
        """A group goes on."""
        if not self.groups or self.groups[-1][1] != workers:
            self.groups.append([self.step + 1, workers])

    def add(self, counts: NDArray[np.int64], skipped: bool) -> None:
        """A step: its targets, then its real tokens by source."""
        self.step += 1
        self.targets += int(counts[0])
        self.source_tokens = [old + int(new) for old, new in zip(self.source_tokens, counts[1:], strict=True)]
        self.spikes += skipped
