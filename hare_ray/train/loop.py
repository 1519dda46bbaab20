# ruff: noqa: TID253 - torch is what this module is about
"""The training loop of one worker. It knows the other ranks, and nothing of who started them.

    batches -> weights, checkpoints, rows of metrics

A step waits for the other ranks only where their gradients are added up, and for the device not at all: the number
of targets of a step is added up over the ranks on the device, losses stay there until they are logged. A loss that is
no number ends the run before anything is saved: the last checkpoint is good.
"""

from __future__ import annotations

import gc
import json
import math
import platform
import resource
import shutil
import time
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from hare_ray.train.checkpoint import Checkpoints, fetched, name_of
from hare_ray.train.metrics import Metrics
from hare_ray.train.reading import Reader, StepBatch
from hare_ray.train.settings import DIVERGED, RESULT, STARTS, WEIGHTS, Plan, Ranks
from hare_ray.train.zero import Zero


class Pending(NamedTuple):
    """A step that is done and not logged."""

    step: int
    loss: Tensor
    """Summed, of this rank."""
    targets: Tensor
    """Of all ranks."""
    grad_norm: Any


class Loop:
    """One worker's part of a training stage."""

    def __init__(self, plan: Plan, ranks: Ranks, device: torch.device) -> None:
        """Build the model and bring it to where the last run was."""
        self.plan, self.ranks, self.device = plan, ranks, device
        self.checkpoints = Checkpoints(plan.lasting, plan.fingerprint)
        self.targets, self.first = 0, 0
        self.zero = Zero(plan, device)
        self._resume()
        self.metrics = Metrics(plan.lasting, self.first, plan.hook) if ranks.rank == 0 else None
        self.pending: list[Pending] = []
        self.since = time.perf_counter()

    def _resume(self) -> None:
        """From the newest good checkpoint, else from the stage before, else from the first weights."""
        root = self.checkpoints.root
        newest = None
        if self.ranks.rank == 0:
            self.checkpoints.clear()
            root.delete(DIVERGED)
            starts = f"{STARTS}-{self.plan.fingerprint[:12]}"
            root.write(f"{starts}/{len(root.names(starts)):05d}", b"")
            newest = self.checkpoints.newest()
        newest = self.ranks.together(newest)[0]
        if newest is not None:
            self.first, self.targets = newest["step"], newest["targets"]
            self._load(self.plan.lasting, name_of(self.first))
        elif self.plan.before is not None:
            self._load(self.plan.before, "")

    def _load(self, url: str, name: str) -> None:
        folder = fetched(url, name)
        self.zero.load(folder)
        if "://" in url and not url.startswith("file://"):
            shutil.rmtree(folder)

    def run(self) -> None:
        """Train to the end, or to a loss that is no number."""
        gc.freeze()  # what the libraries made need not be looked at again
        reader = Reader(self.plan, self.ranks.rank, self.zero.backend, self.device)
        for step, batch in enumerate(reader.steps(self.first), self.first + 1):
            self.pending.append(self._step(step, batch))
            saving = step == self.plan.steps or step % self.plan.checkpoint_steps == 0
            if (saving or len(self.pending) >= self.plan.log_steps) and not self._log():
                return
            if saving:
                self._save(step)
        self._finish()

    def _step(self, step: int, batch: StepBatch) -> Pending:
        targets = torch.tensor(batch.targets, device=self.device)
        dist.all_reduce(targets)
        loss, grad_norm = self.zero.step(batch.micro_batches, targets, self.plan.learning_rate(step - 1))
        return Pending(step, loss, targets, grad_norm)

    def _log(self) -> bool:
        """Write the rows of the pending steps; False where the training diverged."""
        losses = torch.stack([one.loss for one in self.pending])
        dist.all_reduce(losses)
        now = time.perf_counter()
        seconds = (now - self.since) / len(self.pending)
        self.since = now
        good = True
        for one, loss in zip(self.pending, losses.tolist(), strict=True):
            targets = int(one.targets)
            self.targets += targets
            norm = None if one.grad_norm is None else float(one.grad_norm)
            row = {
                "step": one.step,
                "tokens": one.step * self.plan.step_tokens,
                "loss": loss / max(targets, 1),
                "learning_rate": self.plan.learning_rate(one.step - 1),
                "grad_norm": norm,
                "tokens_per_second": self.plan.step_tokens / seconds,
                "seconds": seconds,
            }
            if not math.isfinite(row["loss"]) or not math.isfinite(norm or 0.0):
                good = False
                self._diverged(row)
                break
            if self.metrics is not None:
                self.metrics.add(row)
        self.pending.clear()
        return good

    def _diverged(self, row: dict[str, Any]) -> None:
        if self.metrics is None:
            return
        self.metrics.close()
        steps = self.checkpoints.steps()
        facts = {name: str(row[name]) for name in ("loss", "grad_norm")}
        facts = {"step": row["step"], "good": steps[-1] if steps else 0, **facts}
        self.checkpoints.root.write(DIVERGED, json.dumps(facts).encode())

    def _save(self, step: int) -> None:
        facts = {
            "tokens": step * self.plan.step_tokens,
            "targets": self.targets,
            "workers": self.plan.workers,
        }
        if self.metrics is not None:
            self.metrics.save()
        self.checkpoints.save(step, facts, self.zero.save, self.ranks)
        self.since = time.perf_counter()

    def _finish(self) -> None:
        """The weights, and last of all that it is done."""
        weights = self.zero.weights()
        memory = self.ranks.together(peak_mib(self.device))
        if self.metrics is None:
            return
        self.metrics.close()
        aside = self.checkpoints.aside()
        save_file(weights, aside / WEIGHTS, metadata={"format": "pt"})
        self.checkpoints.write(WEIGHTS, aside / WEIGHTS)
        shutil.rmtree(aside)
        root = self.checkpoints.root
        result = {
            "fingerprint": self.plan.fingerprint,
            "steps": self.plan.steps,
            "targets": self.targets,
            "restarts": len(root.names(f"{STARTS}-{self.plan.fingerprint[:12]}")) - 1,
            "device": device_name(self.device),
            "attention": self.zero.backend.name,
            "peak_mib": max(host for host, _ in memory),
            "device_peak_mib": max((on_device for _, on_device in memory if on_device is not None), default=None),
        }
        root.write(RESULT, json.dumps(result).encode())


def peak_mib(device: torch.device) -> tuple[int, int | None]:
    """Most memory this process had, and most on its GPU."""
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return host, torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else None


def device_name(device: torch.device) -> str:
    """As the maker calls it; of a CPU only the architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"
