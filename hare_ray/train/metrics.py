"""What a run tells while it runs: metrics.jsonl, TensorBoard and a hook. Rank 0 alone.

    a line a step: step, tokens, loss, learning_rate, grad_norm, tokens_per_second, seconds

`step` counts from 1, `tokens` is cumulative, `seconds` are those of the step. After a kill the run goes back to its
last checkpoint; lines beyond it, and a last line that was cut off, are removed, so each step has one line. TensorBoard
hides what lies beyond by itself (`purge_step`).

Where the place is a URL the files are local and sent with every checkpoint.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hare_ray.store import Root, filesystem
from hare_ray.train.settings import METRICS, TENSORBOARD, local

Row = dict[str, Any]

KEYS = ("step", "tokens", "loss", "learning_rate", "grad_norm", "tokens_per_second", "seconds")

CURVES = ("loss", "learning_rate", "grad_norm", "tokens_per_second")
"""What TensorBoard shows."""


def rows(path: Path) -> list[Row]:
    """The lines of a file; a last one that is cut off is left out."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def cut(path: Path, step: int) -> None:
    """Remove the rows beyond a step, and half a line."""
    kept = "".join(json.dumps(row) + "\n" for row in rows(path) if row["step"] <= step)
    aside = path.with_suffix(".cut")
    aside.write_text(kept, encoding="utf-8")
    aside.replace(path)


def hooked(name: str) -> Callable[[Row], None] | None:
    """The function called `module:function`; None where the name is empty."""
    if not name:
        return None
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(f"given hook={name!r}, expected 'module:function'")
    return getattr(importlib.import_module(module), function)


class Metrics:
    """The rows of one run."""

    def __init__(self, lasting: str, step: int, hook: str) -> None:
        """Go on behind `step`."""
        from torch.utils.tensorboard import SummaryWriter

        here = local(lasting)
        self._lasting = lasting
        self._remote = here is None
        self.folder = Path(tempfile.mkdtemp(prefix="hare_ray-metrics-")) if here is None else here
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / METRICS
        if self._remote and Root(lasting).exists(METRICS):
            self.path.write_bytes(Root(lasting).read(METRICS))
        cut(self.path, step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(self.folder / TENSORBOARD), purge_step=step + 1)
        self._hook = hooked(hook)

    def add(self, row: Row) -> None:
        """One step."""
        self._file.write(json.dumps({key: row[key] for key in KEYS}) + "\n")
        self._file.flush()
        for name in CURVES:
            self._board.add_scalar(name, row[name], row["step"])
        if self._hook is not None:
            self._hook(row)

    def save(self) -> None:
        """Make what is there last."""
        self._file.flush()
        self._board.flush()
        if not self._remote:
            return
        Root(self._lasting).write(METRICS, self.path.read_bytes())
        system, base = filesystem(self._lasting.rstrip("/"))
        for path in (self.folder / TENSORBOARD).iterdir():
            system.put_file(str(path), f"{base}/{TENSORBOARD}/{path.name}")

    def close(self) -> None:
        """The end."""
        self.save()
        self._file.close()
        self._board.close()
