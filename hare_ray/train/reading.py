# ruff: noqa: TID253 - makes tensors
"""The batches of one worker, read a step ahead in a thread of its own.

Step s takes samples [s * B, (s + 1) * B) of the order, rank r the r-th stretch of them. What attention must know of a
batch is computed here as well, on the CPU and beside the step before.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hare_ray.model.attention import Backend, spans
from hare_ray.train.sequences import Sequences
from hare_ray.train.settings import Plan
from hare_ray.train.zero import Inputs


class StepBatch(NamedTuple):
    """What one worker does in one step."""

    micro_batches: list[Inputs]
    targets: int
    """Positions with a target, of this worker."""


def targets_in(segments: NDArray[np.int32]) -> int:
    """Positions whose next token is of the same piece."""
    return int(((segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0)).sum())


class Reader:
    """Batches of a rank."""

    def __init__(self, plan: Plan, rank: int, backend: Backend, device: torch.device) -> None:
        """Open nothing yet."""
        self.plan, self.rank, self.backend, self.device = plan, rank, backend, device
        self.sequences = Sequences(plan.tables, plan.sequence_tokens, plan.token_bytes)

    def read(self, step: int) -> StepBatch:
        """The batch of a step."""
        share = self.plan.batch_sequences // self.plan.workers
        first = step * self.plan.batch_sequences + self.rank * share
        source, _, row = self.plan.order.of(np.arange(first, first + share))
        batch = self.sequences.read(source, row)
        cuts = range(0, share, self.plan.micro_batch)
        parts = [[torch.from_numpy(each[at : at + self.plan.micro_batch]) for each in batch] for at in cuts]
        return StepBatch([self._inputs(*part) for part in parts], targets_in(batch.segments))

    def _inputs(self, tokens: Tensor, segments: Tensor, positions: Tensor) -> Inputs:
        where = spans(self.backend, segments)
        if self.device.type == "cpu":
            return tokens, segments, positions, where
        moved = [each.pin_memory().to(self.device, non_blocking=True) for each in (tokens, segments, positions)]
        return moved[0], moved[1], moved[2], where.to(self.device)

    def steps(self, first: int) -> Iterator[StepBatch]:
        """The batches from step `first` on, each read while the one before is worked on."""
        with ThreadPoolExecutor(1, "reader") as thread:
            coming = thread.submit(self.read, first) if first < self.plan.steps else None
            for step in range(first, self.plan.steps):
                assert coming is not None
                batch = coming.result()
                coming = thread.submit(self.read, step + 1) if step + 1 < self.plan.steps else None
                yield batch
