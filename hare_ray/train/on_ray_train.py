"""A group of training workers, started by Ray Train and started again when one is lost.

Ray Train places the workers, makes their process group, and after a failure starts all of them anew; the loop then
resumes from its own checkpoints. `ray.train.report` is not called: it takes 2 s, and nothing here needs it.

Three losses are borne. A loss of the driver ends Ray as well, and the next run of the same command resumes.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

from hare_ray.on_ray import start
from hare_ray.store import filesystem
from hare_ray.train.settings import Plan, Ranks, local

MAX_FAILURES = 3

SETTINGS = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
"""A cluster may have to start nodes; and the end, or a death, should be seen sooner than after 2 s."""


def fit(plan: Plan) -> None:
    """Run the workers to the end of the stage."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    start(plan.workers)  # before Ray is imported: it then reads how to authenticate
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        worker,
        train_loop_config={"plan": plan},
        scaling_config=ScalingConfig(num_workers=plan.workers, use_gpu=plan.gpu, resources_per_worker=share(plan.gpu)),
        torch_config=TorchConfig(backend="nccl" if plan.gpu else "gloo"),
        run_config=RunConfig(
            # A name used before would make Ray resume in its own way.
            name=uuid.uuid4().hex,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            **storage(plan.lasting),
        ),
    )
    trainer.fit()


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


def worker(config: dict[str, Any]) -> None:
    """What each worker runs."""
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device

    plan: Plan = config["plan"]
    device = get_device()
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"  # read when DeepSpeed is imported
        torch.set_num_threads(1)

    def together(value: Any) -> list[Any]:
        found: list[Any] = [None] * plan.workers
        dist.all_gather_object(found, value)
        return found

    from hare_ray.train.loop import Loop

    Loop(plan, Ranks(dist.get_rank(), together), device).run()
