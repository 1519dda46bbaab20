"""A group of training workers, started by Ray Train and started again when one is lost.

Ray Train places the workers, makes their process group, and after a failure starts all of them anew, as many as the
cluster then has room for between the fewest and the most; the loop resumes from its own checkpoints.
`ray.train.report` is not called: it takes 2 s, and nothing here needs it.

Losses are borne as long as there is progress between them: `STARTS_WITHOUT_PROGRESS` starts of as many workers from the
same checkpoint end the run. Of a node that will be taken away the loop hears from Ray (`get_preemption_info` of
ray.train), saves at once and goes on until it happens; such losses are borne in any number. An elastic group saves as
well when a node comes, for Ray then starts it anew with more workers. What a recipe got wrong (a
ValueError) is written down by the worker that found it; the workers that are started after that end at once, and the
driver raises it. A loss of the driver ends Ray as well, and the next run of the same command resumes and counts anew.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hare_ray.on_ray import start
from hare_ray.store import Root, filesystem
from hare_ray.train.checkpoint import Checkpoints
from hare_ray.train.settings import REFUSED, Plan, local

STARTS_WITHOUT_PROGRESS = 4
"""Three losses with no checkpoint between them are no accident."""

MAX_FAILURES = 100
"""For Ray, which also counts what fails before a worker can look."""

TRIES = "tries"
"""In the lasting folder: one object for each start of the workers by this driver, with where it began."""

SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
"""The end, or a death, should be seen sooner than after 2 s."""

START_SECONDS = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""How long Ray Train waits for places: a cluster may have to start nodes. An elastic group asks for the most workers
first, also when a node was just lost, and takes fewer only after that time."""

FIXED_SECONDS, ELASTIC_SECONDS = "120", "30"

GROW_SECONDS = 60.0
"""Between two looks of Ray whether an elastic group could have more workers. It then ends the group without a word, so
the loop saves when it sees a node come, and what is done again is less than this; unless Ray looks first."""


def fit(plan: Plan) -> None:
    """Run the workers to the end of the stage."""
    fewest, most = plan.workers
    root = Root(plan.lasting.rstrip("/"))
    root.delete(REFUSED)
    root.delete(TRIES)
    join(plan)
    with settings({**SETTINGS, START_SECONDS: FIXED_SECONDS if fewest == most else ELASTIC_SECONDS}):
        trainer(plan).fit()
    if root.exists(REFUSED):
        raise ValueError(root.read(REFUSED).decode())


@contextmanager
def settings(values: dict[str, str]) -> Iterator[None]:
    """Variables of the environment while Ray Train looks at them; those that are there stay as they are."""
    mine = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            del os.environ[name]


def trainer(plan: Plan) -> Any:
    """Ray's trainer of the stage."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    fewest, most = plan.workers
    return TorchTrainer(
        worker,
        train_loop_config={"plan": plan},
        scaling_config=ScalingConfig(
            num_workers=most if fewest == most else (fewest, most),
            use_gpu=plan.gpu,
            resources_per_worker=share(plan.gpu),
            elastic_resize_monitor_interval_s=GROW_SECONDS,
        ),
        torch_config=TorchConfig(backend="nccl" if plan.gpu else "gloo"),
        run_config=RunConfig(
            # A name used before would make Ray resume in its own way.
            name=uuid.uuid4().hex,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            **storage(plan.lasting),
        ),
    )


def join(plan: Plan) -> None:
    """A Ray that has room for the workers."""
    fewest, most = plan.workers
    running = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    start(None if running else most)  # before Ray is imported: it then reads how to authenticate
    import ray

    cores = int(ray.cluster_resources().get("CPU", 0))
    if not os.environ.get("RAY_ADDRESS") and cores < fewest:
        raise ValueError(f"given {fewest} workers, but this process has a Ray with {cores} cores; give it fewer")


def share(gpu: bool) -> dict[str, float]:
    """What one worker takes: a core, and a GPU where it is to have one."""
    return {"CPU": 1, "GPU": 1} if gpu else {"CPU": 1}


def storage(lasting: str) -> dict[str, Any]:
    """Where Ray Train keeps its own small files."""
    here = local(lasting)
    if here is not None:
        return {"storage_path": str(here / "ray_train")}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    system, base = filesystem(lasting.rstrip("/"))
    return {"storage_path": f"{base}/ray_train", "storage_filesystem": PyFileSystem(FSSpecHandler(system))}


class Nodes:
    """What Ray knows of nodes: which will be taken away, and, for a group that may grow, which came."""

    def __init__(self, may_grow: bool) -> None:
        """`may_grow`: the group has fewer workers than it may have."""
        self.known = self._alive() if may_grow else None

    def told(self) -> bool:
        """Ray ends its workers by itself."""
        return False

    def taken(self) -> frozenset[str]:
        """Those with a worker on them; all ranks meet here."""
        from ray.train import get_preemption_info

        info = get_preemption_info()
        return frozenset() if info is None else frozenset(info.preempted_node_ids)

    def joined(self) -> bool:
        """Whether a node came since this was asked. Ray starts a larger group `GROW_SECONDS` later at most."""
        if self.known is None:
            return False
        alive = self._alive()
        new, self.known = alive - self.known, alive
        return bool(new)

    @staticmethod
    def _alive() -> frozenset[str]:
        import ray

        return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])


def note_start(plan: Plan, count: int) -> None:
    """Rank 0 writes where this start begins; and, where that was in vain too often, that it is the last."""
    checkpoints = Checkpoints(plan.lasting, plan.fingerprint)
    root = checkpoints.root
    newest = [None, *checkpoints.committed()][-1]
    known = root.names(TRIES)
    root.write(f"{TRIES}/{len(known):05d}", json.dumps([newest, count]).encode())
    if len(known) < STARTS_WITHOUT_PROGRESS:
        return
    last = range(len(known) - STARTS_WITHOUT_PROGRESS, len(known) + 1)
    if len({root.read(f"{TRIES}/{number:05d}") for number in last}) == 1:
        began = f"checkpoint {newest}" if newest else "the first step"
        root.write(
            REFUSED,
            f"{plan.lasting}: {STARTS_WITHOUT_PROGRESS} starts of {count} workers in a row ended before a checkpoint, "
            f"all from {began}; expected one to come further. Ray's log says why they ended: mend that (out of memory: "
            "a smaller micro_batch, or recompute; slow steps: a smaller checkpoint_steps), then run the same command "
            "again, which goes on from there".encode(),
        )


def worker(config: dict[str, Any]) -> None:
    """What each worker runs."""
    import torch
    from ray.train.torch import get_device

    plan: Plan = config["plan"]
    root = Root(plan.lasting.rstrip("/"))
    if root.exists(REFUSED):  # by a group before this one
        return
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    from hare_ray.train.loop import train_loop
    from hare_ray.train.process_group import members

    ranks = members()
    if ranks.rank == 0:
        note_start(plan, ranks.count)
    ranks.together(None)
    if root.exists(REFUSED):
        return
    try:
        train_loop(plan, ranks, device, Nodes(ranks.rank == 0 and ranks.count < plan.workers[1]))
    except json.JSONDecodeError:  # a ValueError too, but of a file that came half
        raise
    except ValueError as error:
        root.write(REFUSED, str(error).encode())
        raise
