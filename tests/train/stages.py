"""A toy corpus as a packed table, training on it, and hooks that kill; as a program, a driver to be killed."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hare_ray.engine import run
from hare_ray.model.shape import Shape
from hare_ray.priors.paper import Training
from hare_ray.schema import REASON
from hare_ray.stage import ARROW, Files, Map, PartFunction, Source, Stage
from hare_ray.tokens.mixture import Mixture
from hare_ray.train.checkpoint import Checkpoints
from hare_ray.train.pretrain import Pretrain
from hare_ray.train.schedule import Schedule
from tests.model.stages import Words

T, BATCH, SHAPE = 32, 8, Shape(layers=2, hidden=32, heads=2, kv_heads=1, mlp_hidden=64, vocabulary=260, tied=True)
TRAINING = Training(
    sequence_tokens=T,
    batch_tokens=T * BATCH,
    learning_rate=0.01,
    warmup_steps=0,
    decay_share=0.0,
    betas=(0.9, 0.95),
    epsilon=1e-8,
    weight_decay=0.1,
    gradient_clip=1.0,
    precision="bfloat16",
)
KILLS = "HARE_TEST_KILLS"
"""Environment: a folder; the file `die` in it names a step, and is taken away by who dies of it."""


class Toy(Map):
    """Rows of two pieces, of 20 and 8 tokens: each token follows from the one before."""

    files: Source
    rows: int
    derives: ClassVar[bool] = True
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("tokens", pa.binary(2 * T), nullable=False),
            pa.field("lengths", pa.list_(pa.uint32()), nullable=False),
            pa.field("documents", pa.list_(pa.binary(16)), nullable=False),
            pa.field("starts", pa.list_(pa.uint32()), nullable=False),
        ]
    )

    @property
    def storage(self) -> str:
        return ARROW

    def counts(self, rows: pa.Table) -> dict[str, int]:
        return {"tokens": 28 * len(rows)}

    def prepare(self, files: Files) -> PartFunction:
        return self.made

    def made(self, splits: pa.Table) -> pa.Table:
        rng, rows = np.random.default_rng(1), []
        for _ in range(self.rows):
            first = rng.integers(0, 64, 2)
            pieces = [4 + (start + 5 * np.arange(size)) % 64 for start, size in zip(first, (20, 8), strict=True)]
            tokens = np.concatenate([*pieces, np.full(4, 3)]).astype("<u2").tobytes()
            rows.append({"tokens": tokens, "lengths": [20, 8], "documents": [bytes(16)] * 2, "starts": [0, 0]})
        return pa.Table.from_pylist(rows, schema=self.writes).append_column(REASON, pa.nulls(len(rows), pa.string()))


def corpus(folder: Path) -> Toy:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("x\n")
    return Toy(files=Source(location=str(folder / "a.txt")), rows=48)


def trained(toy: Toy, *, steps: int, before: Stage | None = None, label: str = "stage_1", **other: Any) -> Pretrain:
    mixture = Mixture(
        label=f"{label}_mixture",
        sources=(toy,),
        names=("toy",),
        weights=(1.0,),
        tokens=steps * BATCH * 28,
        sequence_tokens=T,
        max_epochs=1000.0,
        batch_sequences=BATCH,
    )
    given: dict[str, Any] = {
        "label": label,
        "mixture": mixture,
        "sources": (toy,),
        "tokenizer": before.tokenizer if isinstance(before, Pretrain) else Words(docs=toy, size=SHAPE.vocabulary),
        "before": before,
        "shape": SHAPE,
        "training": TRAINING,
        "schedule": Schedule(warmup_tokens=0 if before else min(4, steps) * BATCH * T, decay=0.5 if before else 0.0),
        "batch_sequences": BATCH,
        "micro_batch": 2,
        "workers": 2,
        "seed": 1,
        "checkpoint_steps": 4,
    }
    return Pretrain(**{**given, **other})


def too_fast(learning_rate: float) -> Training:
    return replace(TRAINING, learning_rate=learning_rate, gradient_clip=0.0)


def die_when_saved(row: dict[str, Any]) -> None:
    """Kill this worker at a step, once, when the checkpoint of an earlier one is whole: the file names both."""
    folder = Path(os.environ[KILLS])
    order = folder / "die"
    if not order.exists():
        return
    step, saved = map(int, order.read_text().split())
    if row["step"] == step:
        while not any(folder.rglob(f"step-{saved:08d}-*/manifest.json")):
            time.sleep(0.05)
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def die_once(row: dict[str, Any]) -> None:
    """Kill this worker at the step that the file names, once."""
    order = Path(os.environ[KILLS]) / "die"
    if order.exists() and row["step"] == int(order.read_text()):
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def die_before_the_manifest(row: dict[str, Any]) -> None:
    """Kill this worker while it saves step 8: all files are there, and the manifest is not."""
    if row["step"] > 1:
        return
    commit = Checkpoints.commit

    def dying(self: Checkpoints, name: str, count: int, facts: dict[str, Any]) -> None:
        if facts["step"] == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(self, name, count, facts)

    Checkpoints.commit = dying


def end_at_six(row: dict[str, Any]) -> None:
    """Tell this process to end at step 6: after its row, the loop hears of it where it logs next."""
    if row["step"] == 5:
        os.kill(os.getpid(), signal.SIGTERM)


SEEN: list[int] = []


def see(row: dict[str, Any]) -> None:
    SEEN.append(row["step"])


def slowly(row: dict[str, Any]) -> None:
    """Leave time to kill the driver."""
    time.sleep(0.4)


def slowly_while(row: dict[str, Any]) -> None:
    """Leave time as long as a file is there."""
    if (Path(os.environ[KILLS]) / "slow").exists():
        time.sleep(0.3)


if __name__ == "__main__":
    run(trained(corpus(Path(sys.argv[1])), steps=14, hook="tests.train.stages:slowly"), root=sys.argv[2])
