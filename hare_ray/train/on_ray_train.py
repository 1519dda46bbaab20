"""A group of training workers, started by Ray Train and started again when one is lost.

Ray Train places the workers, makes their process group, and after a failure starts all of them anew, as many as the
cluster then has room for between the fewest and the most; the loop resumes from its own checkpoints.
`ray.train.report` is not called: it takes 2 s, and nothing here needs it.

Losses are borne as long as there is progress between them: `STARTS_WITHOUT_PROGRESS` starts of as many workers from the
same checkpoint end the run; Ray Train itself starts anew without limit. Of a node that will be taken away the loop
hears from Ray (`get_preemption_info` of ray.train), saves at once and goes on until it happens; such losses are borne
in any number. What a recipe got wrong (a ValueError) is written down by the worker that found it; the workers that are
started after that end at once, and the driver raises it. A loss of the driver ends Ray as well, and the next run of the
same command resumes and counts anew.

Ray Train would end an elastic group without a word as soon as there is room for more workers, and with it what was done
since the last checkpoint. So that is switched off: rank 0 looks for nodes that came, the loop saves and ends, and the
driver starts a new group.

Ray waits for places without a word, as a cluster may still start nodes; until a worker has begun, the driver says each
minute what there is for them.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hare_ray.on_ray import start
from hare_ray.store import Root, filesystem
from hare_ray.train.checkpoint import Checkpoints
from hare_ray.train.saving import GROUP_SECONDS
from hare_ray.train.settings import REFUSED, Plan, local

STARTS_WITHOUT_PROGRESS = 4
"""Three losses with no checkpoint between them are no accident."""

WAITING_SECONDS = 60.0
"""Between two lines of a run in which no worker has begun."""

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

SETTLE_SECONDS = 15.0
"""So long after the last node that came a new group is started: a cluster starts several one after the other, and each
new group costs some 20 s."""

JOINED = "joined"
"""In the lasting folder: a group ended so that a larger one may go on."""

logger = logging.getLogger(__name__)


def fit(plan: Plan) -> None:
    """Run the workers to the end of the stage."""
    fewest, most = plan.workers
    root = Root(plan.lasting.rstrip("/"))
    root.delete(REFUSED)
    root.delete(TRIES)
    join(plan)
    variables = {**SETTINGS, START_SECONDS: FIXED_SECONDS if fewest == most else ELASTIC_SECONDS}
    with settings(variables), told_while_none_begins(root, lambda: awaited(plan, *resources())):
        while True:
            root.delete(JOINED)
            trainer(plan).fit()
            if not root.exists(JOINED):
                break
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
            elastic_resize_monitor_interval_s=math.inf,
        ),
        torch_config=TorchConfig(backend="nccl" if plan.gpu else "gloo", timeout_s=GROUP_SECONDS),
        run_config=RunConfig(
            # A name used before would make Ray resume in its own way.
            name=uuid.uuid4().hex,
            failure_config=FailureConfig(max_failures=-1),  # `note_start` ends what comes no further
            **storage(plan.lasting),
        ),
    )


def join(plan: Plan) -> None:
    """A Ray that has room for the workers."""
    most = plan.workers[1]
    running = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    start(None if running else most)  # before Ray is imported: it then reads how to authenticate
    if not os.environ.get("RAY_ADDRESS"):  # a cluster may grow
        check_room(plan, resources()[0])


def resources() -> tuple[Mapping[str, float], Mapping[str, float]]:
    """What the cluster has, and what of it is free."""
    import ray

    return ray.cluster_resources(), ray.available_resources()


def check_room(plan: Plan, there: Mapping[str, float]) -> None:
    """Refuse more workers than there will ever be room for."""
    fewest = plan.workers[0]
    for name, each in share(plan.gpu).items():
        if there.get(name, 0) < fewest * each:
            raise ValueError(
                f"given {fewest} workers with {each:g} {name} each, but this process has a Ray with "
                f"{there.get(name, 0):g} {name}; expected {fewest * each:g}; give fewer workers"
                f"{', gpu=False' if name == 'GPU' else ''}, or a cluster that has them (RAY_ADDRESS)"
            )


@contextmanager
def told_while_none_begins(root: Root, what: Callable[[], str]) -> Iterator[None]:
    """Until a worker has begun, or the block is left: a line a minute that says what there is for them."""
    left = threading.Event()
    telling = threading.Thread(target=_tell, args=(root, what, left), daemon=True)
    telling.start()
    try:
        yield
    finally:
        left.set()
        telling.join()


def _tell(root: Root, what: Callable[[], str], left: threading.Event) -> None:
    began = time.monotonic()
    while not left.wait(WAITING_SECONDS) and not root.names(TRIES):
        logger.warning("no worker has begun after %.0f s: %s", time.monotonic() - began, what())


def awaited(plan: Plan, there: Mapping[str, float], free: Mapping[str, float]) -> str:
    """What the fewest workers need, and what there is of it."""
    needs = [
        f"{plan.workers[0] * each:g} {name} ({there.get(name, 0):g} in the cluster, {free.get(name, 0):g} free)"
        for name, each in share(plan.gpu).items()
    ]
    return (
        f"{plan.workers[0]} need {', '.join(needs)}; where that is there, Ray's log says why none starts, or cannot "
        f"write {plan.lasting}"
    )


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

    def __init__(self, plan: Plan, count: int) -> None:
        """`count`: workers of the group."""
        self.share = share(plan.gpu)
        self.arrivals = Arrivals(self._alive()) if count < plan.workers[1] else None

    def told(self) -> bool:
        """Ray ends its workers by itself."""
        return False

    def taken(self) -> frozenset[str]:
        """Those with a worker on them; all ranks meet here."""
        from ray.train import get_preemption_info

        info = get_preemption_info()
        return frozenset() if info is None else frozenset(info.preempted_node_ids)

    def joined(self) -> bool:
        """Whether nodes came that workers have room on."""
        return self.arrivals is not None and self.arrivals.settled(self._alive(), time.monotonic())

    def _alive(self) -> frozenset[str]:
        import ray

        return frozenset(
            node["NodeID"]
            for node in ray.nodes()
            if node["Alive"] and all(node["Resources"].get(name, 0) >= each for name, each in self.share.items())
        )


class Arrivals:
    """Nodes that came, told of when no more come."""

    def __init__(self, known: frozenset[str]) -> None:
        """`known`: those that are no news."""
        self.known, self.last = known, math.inf

    def settled(self, alive: frozenset[str], now: float) -> bool:
        """Whether some came, the last of them `SETTLE_SECONDS` ago; `now` is in seconds."""
        if alive - self.known:
            self.known, self.last = self.known | alive, now
        return now - self.last >= SETTLE_SECONDS


def note_start(plan: Plan, count: int) -> None:
    """Rank 0 writes where this start begins; and, where that was in vain too often, that it is the last.

    Before anything that can fail on a worker, so that whatever fails there is counted.
    """
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
    from ray.train import get_context

    plan: Plan = config["plan"]
    root = Root(plan.lasting.rstrip("/"))
    if root.exists(REFUSED):  # by a group before this one
        return
    if get_context().get_world_rank() == 0:
        note_start(plan, get_context().get_world_size())
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device

    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    from hare_ray.train.loop import End, train_loop
    from hare_ray.train.process_group import members

    ranks = members()
    ranks.together(None)  # rank 0 has noted the start
    if root.exists(REFUSED):
        return
    try:
        end = train_loop(plan, ranks, device, Nodes(plan, ranks.count))
    except (json.JSONDecodeError, UnicodeDecodeError):  # ValueErrors too, but of a file that came half
        raise
    except ValueError as error:
        # Where a worker is lost Ray takes the group from under the others, which torch answers with a ValueError too.
        if dist.is_initialized():
            root.write(REFUSED, str(error).encode())
        raise
    if end is End.JOINED and ranks.rank == 0:
        root.write(JOINED, b"")
