# ruff: noqa: TID253 - starts torch
"""The training loop without Ray: one process, or several under `torchrun`.

    torchrun --nproc-per-node 8 mine.py        where mine.py makes a plan and calls run(plan)

The same loop, the same files: what was begun here can go on under Ray Train, and the other way round. On SIGTERM it
saves and leaves with 143, as a process that was ended does; the same command goes on from there.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from hare_ray.store import Root
from hare_ray.train.loop import End, train_loop
from hare_ray.train.metrics import refuse_divergence
from hare_ray.train.notice import Signals
from hare_ray.train.process_group import members
from hare_ray.train.saving import GROUP_SECONDS
from hare_ray.train.settings import RESULT, Plan, Ranks


def run(plan: Plan, device: torch.device | None = None) -> dict[str, Any]:
    """Train to the end, or go on with it; what result.json says."""
    device = taken(device or torch.device("cuda" if plan.gpu else "cpu"))
    with group(device) as ranks, Signals() as signals:
        end = train_loop(plan, ranks, device, signals)
    root = Root(plan.lasting.rstrip("/"))
    if end is End.STOPPED:
        raise SystemExit(128 + signal.SIGTERM)
    if end is End.DIVERGED:
        refuse_divergence(root, plan.lasting)
    return json.loads(root.read(RESULT))


def taken(device: torch.device) -> torch.device:
    """The device, which libraries then take for this process's own; a GPU without a number is that of torchrun."""
    if device.type == "cuda":
        number = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    return device


@contextmanager
def group(device: torch.device) -> Iterator[Ranks]:
    """The ranks that torchrun's environment names; without it, one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(0, 1, lambda value: [value])
        return
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", timeout=datetime.timedelta(seconds=GROUP_SECONDS)
    )
    try:
        yield members()
        dist.barrier()  # none reads what rank 0 has not written
    finally:
        dist.destroy_process_group()
