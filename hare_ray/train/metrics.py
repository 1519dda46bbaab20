"""What a run tells while it runs: metrics.jsonl, TensorBoard, Ray's metrics, a log, the run's terminal and a hook.

Rank 0 alone, a row a step. The loop gives the first group, the second follows from it:

    step                               counted from 1
    tokens, real_tokens                of the stage up to here, with and without padding
    loss, learning_rate, grad_norm     mean nats per target; norm before clipping, None where it is not known
    skipped                            spikes up to here
    tokens_per_second, seconds         of the step, all ranks, padding included
    pairs                              optional, not kept: sum of the squared lengths of the step's pieces

    workers                            how many ranks took part
    real_tokens_per_second             without padding
    mfu                                PaLM's convention: full attention, padding is work
    mfu_true                           6 N per real token + 6 L H Q pairs: causal, within documents; None without pairs
    eta_seconds                        steps left x median of the last seconds

Both MFUs are shares of the devices' peak in bf16, 0 to 1, and None where that is not known.

After a kill the run goes back to its last checkpoint; rows beyond it, and a last line that was cut off, are removed, so
each step has one row. TensorBoard hides what lies beyond by itself (`purge_step`). Where the place is a URL the files
are local, and what changed is sent with every checkpoint, before its manifest and beside the training; how far the run
is is told every few seconds (`hare_ray.standing`).
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hare_ray.model.shape import Shape, mfu
from hare_ray.standing import Standing, tell
from hare_ray.store import Root
from hare_ray.train.gauges import gauges
from hare_ray.train.progress import Row, line, words
from hare_ray.train.settings import DIVERGED, METRICS, TENSORBOARD, Plan, local

log = logging.getLogger("hare_ray.train")

GIVEN = (
    "step",
    "tokens",
    "real_tokens",
    "loss",
    "learning_rate",
    "grad_norm",
    "skipped",
    "tokens_per_second",
    "seconds",
)

KEYS = (*GIVEN, "workers", "real_tokens_per_second", "mfu", "mfu_true", "eta_seconds")

CURVES = tuple(key for key in KEYS if key not in ("step", "tokens", "real_tokens", "seconds", "eta_seconds"))
"""What TensorBoard shows."""

TELL_SECONDS = 10.0
"""Between two lines of the log. A row is on disk after that time at the latest."""

RECENT = 101
"""Steps whose median gives the time left: the first one, which compiles, and a slow checkpoint count for nothing."""


def rows(path: Path) -> list[Row]:
    """The lines of a file; a last one that is cut off is left out."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def cut(path: Path, step: int) -> list[Row]:
    """Remove the rows beyond a step, and half a line; gives those that stay."""
    kept = [row for row in rows(path) if row["step"] <= step]
    aside = path.with_suffix(".cut")
    aside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    aside.replace(path)
    return kept


def hook_parts(name: str) -> tuple[str, str]:
    """Module and function of a hook."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise ValueError(f"given hook={name!r}, expected 'module:function'; name both, or leave it out")
    return module, function


def hooked(name: str) -> Callable[[Row], None] | None:
    """The function called `module:function`; None where the name is empty."""
    if not name:
        return None
    module, function = hook_parts(name)
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"given hook={name!r}, expected a function {function} in a module {module} that the workers can import "
            f"({error}); correct the name, or install the module where they run"
        ) from error


def board(folder: Path, step: int) -> Any:
    """A writer of TensorBoard's files that hides what lies beyond a step; None, and a warning, without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        log.warning("tensorboard is not installed: no curves for it; pip install tensorboard, or read %s", METRICS)
        return None
    return SummaryWriter(str(folder), purge_step=step + 1, max_queue=1000)


def draw(writer: Any, row: Row) -> None:
    """Add a row to TensorBoard's files, as one event: `add_scalar` makes one a number, at four times the cost."""
    summary: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary
    values = [summary.Value(tag=name, simple_value=row[name]) for name in CURVES if row[name] is not None]
    writer.file_writer.add_summary(summary(value=values), row["step"])


def refuse_divergence(root: Root, who: str) -> None:
    """Say where a training left the numbers, and what may help, if it did."""
    if root.exists(DIVERGED):
        facts = json.loads(root.read(DIVERGED))
        raise ValueError(
            f"{who}: loss {facts['loss']} (gradient norm {facts['grad_norm']}) at step {facts['step']} "
            f"and those after it, expected a number; the last good checkpoint is of step {facts['good']}. "
            "Lower learning_rate or gradient_clip, or lengthen the warm-up"
        )


def true_flops(shape: Shape, real_tokens: int, pairs: int) -> int:
    """FLOPs of real tokens in pieces whose squared lengths sum to `pairs`: `Shape.true_flops`, without the lengths."""
    return 6 * shape.matmul_parameters * real_tokens + 6 * shape.layers * shape.hidden * pairs


class Metrics:
    """The rows of one run."""

    def __init__(self, plan: Plan, step: int, device: str, count: int) -> None:
        """Go on behind `step`, on `count` devices of that name."""
        here = local(plan.lasting)
        self._plan, self._device, self._count = plan, device, count
        self._remote = here is None
        self.folder = Path(tempfile.mkdtemp(prefix="hare_ray-metrics-")) if here is None else here
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / METRICS
        if self._remote and Root(plan.lasting).exists(METRICS):
            self.path.write_bytes(Root(plan.lasting).read(METRICS))
        kept = cut(self.path, step)
        self._last: Row = kept[-1] if kept else {"step": 0, "real_tokens": 0}
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = board(self.folder / TENSORBOARD, step)
        self._hook = hooked(plan.hook)
        # The lasting folder lies beside the stage's own, in the folder that has the stage's name.
        self._gauges = gauges(plan.lasting.rstrip("/").split("/")[-2:][0], self._last)
        self._teller, self._telling = ThreadPoolExecutor(1), Future[None]()
        self._telling.set_result(None)
        self._told = -TELL_SECONDS
        self._there: dict[str, int] = {}
        self._sent: dict[str, int] = {}

    def add(self, row: Row) -> None:
        """One step."""
        full = self._full(row)
        self._file.write(json.dumps(full) + "\n")
        if self._board is not None:
            draw(self._board, full)
        self._last = full
        if time.perf_counter() - self._told >= TELL_SECONDS:
            self._tell(full)
        if self._hook is not None:
            self._hook(full)

    def _full(self, row: Row) -> Row:
        """With what follows from what the loop gives."""
        shape, seconds = self._plan.shape, row["seconds"]
        self._recent.append(seconds)
        flops = shape.flops_per_token(self._plan.sequence_tokens)
        before = self._last.get("real_tokens") if self._last["step"] == row["step"] - 1 else None
        real = None if before is None else row["real_tokens"] - before
        pairs = row.get("pairs")
        true = None if not real or pairs is None else true_flops(shape, real, pairs) / seconds / self._count
        return {
            **{key: row[key] for key in GIVEN},
            "workers": self._count,
            "real_tokens_per_second": None if real is None else real / seconds,
            "mfu": mfu(row["tokens_per_second"] / self._count, flops, self._device),
            "mfu_true": None if true is None else mfu(true, 1, self._device),
            "eta_seconds": (self._plan.steps - row["step"]) * statistics.median(self._recent),
        }

    def _tell(self, row: Row) -> None:
        """To people, and to what watches the cluster."""
        self._told = time.perf_counter()
        self._file.flush()
        log.info("%s", line(row, self._plan.steps))
        if self._gauges is not None:
            self._gauges.set(row)
        if not self._telling.done():  # an object store may be slow; the next one will do
            return
        if (error := self._telling.exception()) is not None:  # nothing that a training should end for
            log.warning("could not tell how far the run is: %s", error)
        now = Standing(row["step"], self._plan.steps, words(row))
        self._telling = self._teller.submit(tell, self._plan.lasting, now)

    def flush(self) -> None:
        """Have all rows on this machine's disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        names = [METRICS]
        if self._board is not None:
            self._board.flush()
            names += [f"{TENSORBOARD}/{path.name}" for path in (self.folder / TENSORBOARD).iterdir()]
        self._there = {name: (self.folder / name).stat().st_size for name in names}

    def send(self) -> None:
        """Make what was flushed last, where the place is a URL: a checkpoint must not outlive the rows before it.

        For a thread beside the training too: files only grow, and of each is sent what it had when it was flushed.
        """
        if not self._remote:
            return
        root = Root(self._plan.lasting.rstrip("/"))
        for name, size in self._there.items():
            if self._sent.get(name) != size:
                with (self.folder / name).open("rb") as file:
                    root.write(name, file.read(size))
                self._sent[name] = size

    def close(self) -> None:
        """The end."""
        if "loss" in self._last:
            self._tell(self._last)
        self.flush()
        self.send()
        self._teller.shutdown()
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._remote:
            shutil.rmtree(self.folder)
