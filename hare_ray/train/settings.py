"""What a training worker is told: one value that travels to all of them.

The world size is none of it. A step takes `batch_sequences` sequences, rank r of n the r-th of n nearly equal
stretches, and cuts it into as many micro-batches as every other rank: any number of workers sees the same global
batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hare_ray.model.initial import Initial
from hare_ray.model.shape import Shape
from hare_ray.priors.paper import Training
from hare_ray.train.order import Order
from hare_ray.train.schedule import Schedule
from hare_ray.train.sequences import PackedTable

METRICS, RESULT, WEIGHTS, SHAPE, SUMMARY = (
    "metrics.jsonl",
    "result.json",
    "weights.safetensors",
    "shape.json",
    "summary.json",
)
"""Files of a training stage; the first two lie in the lasting folder until it is finished."""

TENSORBOARD, CHECKPOINT = "tensorboard", "checkpoint"
"""Folders of a finished stage."""

PRECISIONS = ("bfloat16", "float32")
"""Types of the weights that forward and backward see."""

STARTS = "starts"
"""In the lasting folder: one object for each time the workers started on a stage of that fingerprint."""

DIVERGED = "diverged.json"
"""In the lasting folder: at which step the loss was no number."""

REFUSED = "refused.txt"
"""In the lasting folder: what a worker found wrong with the recipe."""


@dataclass(frozen=True)
class Ranks:
    """The workers of a group, as one of them sees it."""

    rank: int
    count: int
    together: Callable[[Any], list[Any]]
    """Gives the values that all ranks call it with, in their order."""


@dataclass(frozen=True)
class Speed:
    """What changes time and memory, and the result by rounding alone: no part of a training's identity."""

    compile: bool = False
    """Layers through torch.compile, each by itself."""
    recompute: bool = False
    """A layer's activations are computed again in backward and not kept."""
    zero_stage: int = 0
    """0: every rank keeps all states, plain PyTorch; 1 to 3: DeepSpeed shards them: those of the optimizer, gradients
    too, weights too."""

    def __post_init__(self) -> None:
        """Refuse stages that there are not, and compiled layers that do not hold their weights."""
        if self.zero_stage not in range(4):
            raise ValueError(f"given zero_stage={self.zero_stage}, expected 0 to 3; 0 keeps all states on every rank")
        if self.zero_stage == 3 and self.compile:
            raise ValueError(
                "given zero_stage=3 and compile=True, expected one of them: DeepSpeed brings weights within a layer, "
                "and torch.compile would compile that anew for each; take zero_stage 0 to 2, or compile=False"
            )


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
    initial: Initial
    training: Training
    schedule: Schedule
    seed: int
    """Of the first weights."""
    batch_sequences: int
    micro_batch: int
    """Sequences that one worker takes at once, at most."""
    workers: tuple[int, int]
    """Fewest and most."""
    start: str | None
    """Folder of Hugging Face files whose weights come first; a path or URL. None: they are drawn."""
    before: str | None
    """Folder of the checkpoint to go on from; a path or URL."""
    lasting: str
    """Folder for checkpoints and metrics; a path or URL."""
    checkpoint_steps: int
    checkpoints: int
    """How many are kept."""
    log_steps: int
    hook: str
    gpu: bool
    """Whether each worker has one."""
    speed: Speed = Speed()

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return self.order.total // self.batch_sequences

    @property
    def step_tokens(self) -> int:
        """Tokens of one step, padding included."""
        return self.batch_sequences * self.sequence_tokens

    def share(self, rank: int, count: int) -> range:
        """Sequences of a batch that one of `count` ranks takes: stretches that differ by one at most."""
        return range(rank * self.batch_sequences // count, (rank + 1) * self.batch_sequences // count)

    def micro_batches(self, count: int) -> int:
        """Micro-batches of a step, the same for every one of `count` ranks."""
        return math.ceil(math.ceil(self.batch_sequences / count) / self.micro_batch)

    def learning_rate(self, step: int) -> float:
        """Of the step with this number, from 0."""
        middle = (step + 0.5) * self.step_tokens
        return self.training.learning_rate * self.schedule.factor(middle, self.steps * self.step_tokens)


def local(url: str) -> Path | None:
    """The folder as a path of this machine, or None where it is on an object store."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if "://" in url else Path(url)
