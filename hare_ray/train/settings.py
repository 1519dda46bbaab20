"""What a training worker is told: one value that travels to all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hare_ray.model.shape import Shape
from hare_ray.priors.paper import Training
from hare_ray.train.order import Order
from hare_ray.train.schedule import Schedule
from hare_ray.train.sequences import PackedTable

METRICS, WEIGHTS, RESULT, SHAPE, SUMMARY = (
    "metrics.jsonl",
    "weights.safetensors",
    "result.json",
    "shape.json",
    "summary.json",
)
"""Files of a training stage; the first three lie in the lasting folder until it is finished."""

TENSORBOARD, CHECKPOINT = "tensorboard", "checkpoint"
"""Folders of a finished stage."""

STARTS = "starts"
"""In the lasting folder: one object for each time the workers started on a stage of that fingerprint."""

DIVERGED = "diverged.json"
"""In the lasting folder: at which step the loss was no number."""


@dataclass(frozen=True)
class Ranks:
    """The workers of a group, as one of them sees it."""

    rank: int
    together: Callable[[Any], list[Any]]
    """Gives the values that all ranks call it with, in their order."""


@dataclass(frozen=True)
class Plan:
    """One training stage, as its workers see it."""

    fingerprint: str
    """Of the stage, its data among it: checkpoints of another one are not resumed."""
    tables: tuple[PackedTable, ...]
    order: Order
    sequence_tokens: int
    token_bytes: int
    shape: Shape
    training: Training
    schedule: Schedule
    seed: int
    """Of the first weights."""
    batch_sequences: int
    micro_batch: int
    workers: int
    before: str | None
    """Folder of the checkpoint to go on from; a path or URL."""
    lasting: str
    """Folder for checkpoints and metrics; a path or URL."""
    checkpoint_steps: int
    log_steps: int
    hook: str
    gpu: bool
    """Whether each worker has one."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return self.order.total // self.batch_sequences

    @property
    def step_tokens(self) -> int:
        """Tokens of one step, padding included."""
        return self.batch_sequences * self.sequence_tokens

    @property
    def micro_batches(self) -> int:
        """Micro-batches of one worker in one step."""
        return self.batch_sequences // (self.workers * self.micro_batch)

    def learning_rate(self, step: int) -> float:
        """Of the step with this number, from 0."""
        middle = (step + 0.5) * self.step_tokens
        return self.training.learning_rate * self.schedule.factor(middle, self.steps * self.step_tokens)


def local(url: str) -> Path | None:
    """The folder as a path of this machine, or None where it is on an object store."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if "://" in url else Path(url)
