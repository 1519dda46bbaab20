# ruff: noqa: TID253 - torch is what this module is about
"""The training loop of one worker. It knows the other ranks, and nothing of who started them.

    batches -> weights, checkpoints, rows of metrics

A step waits for the other ranks only where their counts are added up, before it, and their gradients; and for the
device not at all, but at stage 3 of ZeRO (`hare_ray.train.zero`): the number of targets of a step, which divides its
loss, is added up on the device; losses, norms and counts stay there until they are logged, and then come in one
transfer. Saves run beside the training (`hare_ray.train.saving`).

A step whose loss or norm is no number changes no weight (`hare_ray.train.guard`): it may be the batch, which comes
again in every run, so the next one is taken. After `IN_A_ROW` of them it is the weights, and the run ends. Among such
steps nothing is saved, but after them: the last checkpoint is good.

Python looks for cycles of garbage at moments of its own, on every rank at another one, and all wait for the slowest; so
it looks only at saves.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import platform
import resource
import time
import uuid
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from hare_ray.train.checkpoint import Checkpoints
from hare_ray.train.engine import Stepped
from hare_ray.train.first_weights import first_model
from hare_ray.train.made import engine
from hare_ray.train.metrics import Metrics
from hare_ray.train.notice import Notice
from hare_ray.train.reading import Reader, StepBatch
from hare_ray.train.saving import Saver
from hare_ray.train.settings import DIVERGED, RESULT, STARTS, Plan, Ranks
from hare_ray.train.stored import Stored
from hare_ray.train.tally import Tally

ASK_SECONDS = 5.0
"""Between two questions for nodes that come or go; all ranks meet for one, which takes some 10 ms."""

DEAF_SECONDS = 20.0
"""The longest time without a look at the notices: a cloud gives 30 to 120 s. Where `log_steps` take longer, the next
look comes sooner."""

IN_A_ROW = 8
"""Steps without a number that end a run. Batches that do that by themselves are too rare for so many at once; weights
that do it do it with every batch."""

IN_A_ROW_AT_END = 2
"""The same for the last steps of a run, which no number can follow: rather none than weights that give none. Of a run
of fewer steps it is all of them."""

logger = logging.getLogger(__name__)


class End(Enum):
    """How a loop ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    STOPPED = "stopped"
    """It was told to, and saved."""
    JOINED = "joined"
    """Nodes came; it saved, and a larger group goes on."""


class Pending(NamedTuple):
    """A step that is done and not logged."""

    stepped: Stepped
    counts: Tensor
    """int64 [1 + sources + 1], of all ranks: targets, real tokens by source, pairs."""


class Heard(NamedTuple):
    """What the ranks told one another where they logged."""

    told: bool
    """Some rank was told to end."""
    ask: bool
    """It is time to ask for nodes that will be taken away."""
    joined: bool
    """There is room for a larger group."""


def train_loop(plan: Plan, ranks: Ranks, device: torch.device, notice: Notice) -> End:
    """One worker's part of a training stage, from where the last run was to the end."""
    return Loop(plan, ranks, device, notice).run()


class Loop:
    """One worker's part of a training stage."""

    def __init__(self, plan: Plan, ranks: Ranks, device: torch.device, notice: Notice) -> None:
        """Build the model and bring it to where the last run was."""
        self.plan, self.ranks, self.device, self.notice = plan, ranks, device, notice
        self.checkpoints = Checkpoints(plan.lasting, plan.fingerprint)
        self.tally = Tally([0] * len(plan.tables))
        attempt, resumed = self._resumed()
        self.engine = engine(plan, first_model(plan, device, resumed=resumed is not None), ranks, device)
        if resumed is not None:
            self.engine.load(Stored.opened(resumed).read)
        self.first, self.waited_before = self.tally.step, self.tally.waited_seconds
        self.tally.started(ranks.count)
        self.saver = Saver(plan, ranks, self.checkpoints, attempt)
        self.metrics = Metrics(plan, self.first, device_name(device), ranks.count) if ranks.rank == 0 else None
        self.pending: list[Pending] = []
        self.no_numbers: list[dict[str, Any]] = []
        self.known: frozenset[str] = frozenset()
        self.look_steps, self.step_seconds = 1, 0.0
        self.since = self.asked = time.perf_counter()

    def _resumed(self) -> tuple[str, str | None]:
        """Name of this attempt, and the checkpoint to go on from: the newest good one, else the stage's before."""
        found = None
        if self.ranks.rank == 0:
            root = self.checkpoints.root
            newest = self.checkpoints.newest()  # first of all: it refuses a folder that is another stage's
            self.checkpoints.clear()
            root.delete(DIVERGED)
            starts = starts_of(self.plan)
            root.write(f"{starts}/{len(root.names(starts)):05d}", b"")
            found = uuid.uuid4().hex[:8], newest
        found = self.ranks.together(found)[0]
        assert found is not None
        attempt, newest = found
        if newest is None:
            return attempt, self.plan.before
        self.tally = Tally.of(newest[1])
        return attempt, f"{self.checkpoints.root.url}/{newest[0]}"

    def run(self) -> End:
        """Train to the end, to a loss that is no number, or until told to stop."""
        gc.collect()
        gc.freeze()  # what the libraries made need not be looked at again
        gc.disable()
        try:
            return self._run()
        finally:
            gc.enable()
            gc.unfreeze()
            self.saver.close()
            if self.metrics is not None:
                self.metrics.close()

    def _run(self) -> End:
        reader = Reader(self.plan, self.ranks, self.engine.backend, self.device)
        due = soon = told = joined = False
        for step, batch in enumerate(reader.steps(self.first), self.first + 1):
            self.pending.append(self._step(step, batch))
            due = due or step == self.plan.steps or step % self.plan.checkpoint_steps == 0
            if not due and len(self.pending) < self.look_steps:
                continue
            heard = self._log()
            if heard is None:
                return End.DIVERGED
            # What was heard at a step without a number holds until there is one after which is saved.
            told, joined = told or heard.told, joined or heard.joined
            soon = (heard.ask and self._taken()) or told or joined or soon
            due = due or soon
            if not due or (step < self.plan.steps and self.no_numbers):
                continue
            self._save()
            if soon:
                self.saver.wait()
            if (told or joined) and step < self.plan.steps:
                return End.STOPPED if told else End.JOINED
            due = soon = False
        self._finish()
        return End.FINISHED

    def _step(self, step: int, batch: StepBatch) -> Pending:
        counts = torch.from_numpy(batch.counts)
        if self.device.type == "cuda":
            counts = counts.pin_memory().to(self.device, non_blocking=True)
        counts = torch.cat([counts, torch.stack([pairs(*inputs[1:3]) for inputs in batch.micro_batches]).sum()[None]])
        if self.ranks.count > 1:
            dist.all_reduce(counts)
        return Pending(self.engine.step(batch.micro_batches, counts[0], self.plan.learning_rate(step - 1)), counts)

    def _log(self) -> Heard | None:
        """Write the rows of the pending steps; None where the training diverged. One transfer from the device."""
        steps, self.pending = self.pending, []
        time_to_ask = self.ranks.rank == 0 and time.perf_counter() - self.asked > ASK_SECONDS
        joined = time_to_ask and self.notice.joined()
        told = [self.notice.told(), time_to_ask, joined, self.step_seconds]
        flags = torch.tensor(told, dtype=torch.float64).to(self.device)
        summed = torch.cat([torch.stack([one.stepped.loss for one in steps]), flags])
        if self.ranks.count > 1:
            dist.all_reduce(summed)
        alike = [torch.stack([one.stepped.grad_norm, one.stepped.skipped]).double() for one in steps]
        # Counts are below 2^53 and so exact.
        values = torch.cat([summed, *alike, *(one.counts.double() for one in steps)]).cpu().numpy()
        size = len(steps)
        losses, (told, ask, joined, taken), rest = np.split(values, [size, size + len(flags)])
        same = rest[: 2 * size].reshape(size, 2)
        counts = rest[2 * size :].reshape(size, -1).astype(np.int64)
        now = time.perf_counter()
        seconds, self.since = (now - self.since) / size, now
        self._pace(taken / self.ranks.count, seconds)
        self.saver.check()
        for loss, (norm, skipped), counted in zip(losses, same, counts, strict=True):
            row = self._row(float(loss), float(norm), counted, bool(skipped), seconds)
            if self.metrics is not None:
                self.metrics.add(row)
            if self._diverged(row, float(loss), float(norm)):
                self._tell_divergence()
                return None
        return Heard(bool(told), bool(ask), bool(joined))

    def _pace(self, step_seconds: float, mine: float) -> None:
        """When to look next: after `log_steps`, or what by all ranks' last measurement takes `DEAF_SECONDS`."""
        self.step_seconds = mine
        fitting = int(DEAF_SECONDS / step_seconds) if step_seconds else 1  # the first steps are not measured
        self.look_steps = min(self.plan.log_steps, max(1, fitting))

    def _diverged(self, row: dict[str, Any], loss: float, norm: float) -> bool:
        """Whether this step is one too many without a number."""
        if row["loss"] is not None and row["grad_norm"] is not None:
            self.no_numbers = []
            return False
        self.no_numbers.append({"step": row["step"], "loss": str(loss), "grad_norm": str(norm)})
        if self.ranks.rank == 0:
            logger.warning("step %d is left out: loss %s, gradient norm %s", row["step"], loss, norm)
        at_end = min(IN_A_ROW_AT_END, self.plan.steps)
        return len(self.no_numbers) >= (IN_A_ROW if row["step"] < self.plan.steps else at_end)

    def _row(
        self, loss: float, norm: float, counted: NDArray[np.int64], skipped: bool, seconds: float
    ) -> dict[str, Any]:
        self.tally.add(counted[:-1], skipped)
        step = self.tally.step
        return {
            "step": step,
            "tokens": step * self.plan.step_tokens,
            "real_tokens": self.tally.real_tokens,
            "loss": loss / max(int(counted[0]), 1) if math.isfinite(loss) else None,
            "learning_rate": self.plan.learning_rate(step - 1),
            "grad_norm": norm if math.isfinite(norm) else None,
            "skipped": self.tally.spikes,
            "tokens_per_second": self.plan.step_tokens / seconds,
            "seconds": seconds,
            "pairs": int(counted[-1]),
        }

    def _taken(self) -> bool:
        """Whether one more node will be taken away; all ranks ask."""
        self.asked = time.perf_counter()
        nodes = self.notice.taken()
        new, self.known = nodes - self.known, nodes | self.known
        return bool(new)

    def _tell_divergence(self) -> None:
        """Of the first step without a number, not of the last."""
        self.saver.wait()
        if self.ranks.rank > 0:
            return
        good = self.checkpoints.committed()
        step = self.checkpoints.manifest(good[-1])["step"] if good else 0
        self.checkpoints.root.write(DIVERGED, json.dumps({**self.no_numbers[0], "good": step}).encode())

    def _save(self) -> None:
        self.saver.wait()  # before there is a second copy of the states
        began = time.perf_counter()
        send = None
        if self.metrics is not None:
            self.metrics.flush()
            send = self.metrics.send
        tensors = self.engine.owned()
        gc.collect()
        self.since = time.perf_counter()
        self.saver.waited += self.since - began
        self.saver.save(self.tally.step, self._facts(), tensors, send)

    def _facts(self) -> dict[str, Any]:
        """What the manifest of a checkpoint says."""
        self.tally.waited_seconds = round(self.waited_before + self.saver.waited, 3)
        return {"tokens": self.tally.step * self.plan.step_tokens, **self.tally.facts()}

    def _finish(self) -> None:
        """Last of all: that it is done."""
        self.saver.wait()
        facts = self._facts()
        memory = self.ranks.together(peak_mib(self.device))
        if self.ranks.rank > 0:
            return
        root = self.checkpoints.root
        result = {
            **facts,
            "fingerprint": self.plan.fingerprint,
            "steps": self.plan.steps,
            "real_tokens": self.tally.real_tokens,
            "checkpoint": self.checkpoints.committed()[-1],
            "workers": self.ranks.count,
            "restarts": len(root.names(starts_of(self.plan))) - 1,
            "device": device_name(self.device),
            "attention": self.engine.backend.name,
            "peak_mib": max(host for host, _ in memory),
            "device_peak_mib": max((on_device for _, on_device in memory if on_device is not None), default=None),
        }
        if self.metrics is not None:
            self.metrics.flush()
            self.metrics.send()
        root.write(RESULT, json.dumps(result).encode())


def pairs(segments: Tensor, positions: Tensor) -> Tensor:
    """Squared lengths of the pieces, summed: 1 + 3 + 5 + ... over the positions of each."""
    return ((2 * positions.long() + 1) * (segments >= 0)).sum()


def starts_of(plan: Plan) -> str:
    """Folder with an object for each start of the workers."""
    return f"{STARTS}-{plan.fingerprint[:12]}"


def peak_mib(device: torch.device) -> tuple[int, int | None]:
    """Most memory this process had, and most on its GPU."""
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return host, torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else None


def device_name(device: torch.device) -> str:
    """As the maker calls it; of a CPU only the architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"
