# ruff: noqa: TID253 - makes tensors
"""The batches of one worker, read a step ahead in a thread of its own.

Step s takes samples [s * B, (s + 1) * B) of the order, rank r the r-th stretch of them (`Plan.share`), cut into as many
nearly equal micro-batches as every other rank has. A share with fewer sequences than that is filled up with rows of
padding, which have no target. What attention must know of a batch is computed here as well, on the CPU and beside the
step before. To a GPU goes one block of pinned memory for the whole step.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hare_ray.model.attention import Backend, spans
from hare_ray.train.engine import Inputs
from hare_ray.train.sequences import Batch, Sequences, segments_and_positions
from hare_ray.train.settings import Plan, Ranks


class StepBatch(NamedTuple):
    """What one worker does in one step."""

    micro_batches: list[Inputs]
    counts: NDArray[np.int64]
    """[1 + sources]: targets of this worker, then its tokens of each source without padding."""


def counted(batch: Batch, source: NDArray[np.int64], sources: int) -> NDArray[np.int64]:
    """Targets of a batch, then its tokens of each source; every piece has a target less than tokens."""
    tokens = (batch.segments >= 0).sum(1, dtype=np.int64)
    pieces = batch.segments.max(1) + 1
    counts = np.zeros(1 + sources, np.int64)
    counts[0] = tokens.sum() - pieces.sum()
    np.add.at(counts, 1 + source, tokens)
    return counts


def filled_up(batch: Batch, rows: int) -> Batch:
    """The batch with rows of padding behind, `rows` at least."""
    lacking, width = rows - len(batch.tokens), batch.tokens.shape[1]
    if lacking <= 0:
        return batch
    padding = Batch(
        np.zeros((lacking, width), np.int64), *segments_and_positions([np.empty(0, np.int64)] * lacking, width)
    )
    return Batch(
        np.concatenate([batch.tokens, padding.tokens]),
        np.concatenate([batch.segments, padding.segments]),
        np.concatenate([batch.positions, padding.positions]),
    )


class Reader:
    """Batches of a rank."""

    def __init__(self, plan: Plan, ranks: Ranks, backend: Backend, device: torch.device) -> None:
        """Open nothing yet."""
        self.plan, self.backend, self.device = plan, backend, device
        self.share, self.micro_batches = plan.share(ranks.rank, ranks.count), plan.micro_batches(ranks.count)
        self.sequences = Sequences(plan.tables, plan.sequence_tokens, plan.token_bytes)

    def read(self, step: int) -> StepBatch:
        """The batch of a step."""
        source, _, row = self.plan.order.of(step * self.plan.batch_sequences + np.array(self.share, np.int64))
        batch = self.sequences.read(source, row)
        counts = counted(batch, source, len(self.plan.tables))
        batch = filled_up(batch, self.micro_batches)
        segments = torch.from_numpy(batch.segments)
        moved = self._moved(batch)
        edges = [len(segments) * n // self.micro_batches for n in range(self.micro_batches + 1)]
        inputs = []
        for first, stop in pairwise(edges):
            where = spans(self.backend, segments[first:stop]).to(self.device)
            tokens, numbers, positions = (each[first:stop] for each in moved)
            inputs.append((tokens, numbers, positions, where))
        return StepBatch(inputs, counts)

    def _moved(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, segments and positions on the device."""
        tokens, segments, positions = (torch.from_numpy(each) for each in batch)
        if self.device.type == "cpu":
            return tokens, segments, positions
        block = torch.empty((3, *tokens.shape), dtype=torch.int32, pin_memory=self.device.type == "cuda")
        for place, each in zip(block, (tokens, segments, positions), strict=True):
            place.copy_(each)
        tokens, segments, positions = block.to(self.device, non_blocking=True)
        return tokens.long(), segments, positions

    def steps(self, first: int) -> Iterator[StepBatch]:
        """The batches from step `first` on, each read while the one before is worked on."""
        with ThreadPoolExecutor(1, "reader") as thread:
            coming = thread.submit(self.read, first) if first < self.plan.steps else None
            for step in range(first, self.plan.steps):
                assert coming is not None
                batch = coming.result()
                coming = thread.submit(self.read, step + 1) if step + 1 < self.plan.steps else None
                yield batch
