"""Ray as the engine: the only module that speaks `ray.data`.

A pass is one Ray Data pipeline over part numbers. Each block holds one row, the part, so a thousand small parts stay
a thousand tasks and nothing is ever re-cut; stateless members are one operator, a stage with a GPU or a loaded model
is an actor pool of its own, and between operators the part's tables travel through the object store.

Ray retries a task whose worker died without end; `work.PassWork` counts attempts on disk and changes its method, so
it does end. An exception in a part comes back as an outcome, because in Ray Data it would abort all other parts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import pickle
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from hare_ray.executor import Operator, Outcome, WorkerDiedError, attempt
from hare_ray.gather import Mapper
from hare_ray.stage import Needs
from hare_ray.store import Root
from hare_ray.work import Flow, PassWork

QUIET = logging.ERROR
_works: dict[str, PassWork] = {}
"""What this worker process works on. Ray Data unpickles its functions for every block: with the listing of a thousand
files in them that took nine times as long as the rest of the engine."""

SILENT_SECONDS = 24 * 3600
"""Ray Data fails a pipeline that yields nothing for 30 minutes; a part has a watchdog of its own."""

LIMITS_SECONDS, LOOK_SECONDS = 0.05, 0.02
"""How often Ray Data asks how many CPUs there are, and looks for tasks that ended; its own are 1 and 0.1 seconds."""


def start(workers: int | None) -> None:
    """Join the cluster this process belongs to (`RAY_ADDRESS`, a submitted job), else start one on this machine.

    A cluster is never searched for. Tokens are required unless RAY_AUTH_MODE says otherwise: a Ray port runs code.
    Raises ValueError where this process already has a Ray of its own with another number of workers.
    """
    if "ray" not in sys.modules:  # it reads this when it is imported; where that is done, it wants a token by itself
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(logging_level=QUIET)
        else:
            ray.init(address="local", num_cpus=workers, logging_level=QUIET, log_to_driver=False)
            look_often()
    elif workers and not os.environ.get("RAY_ADDRESS") and (has := int(ray.cluster_resources()["CPU"])) != workers:
        raise ValueError(f"asked for {workers} workers, this process has a Ray with {has}; call ray.shutdown() first")
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = SILENT_SECONDS
    logging.getLogger("ray.data").setLevel(QUIET)


def look_often() -> None:
    """Have no worker of one machine idle while Ray Data waits; 1000 workers would keep its loop busy for nothing.

    Until it has asked for the CPUs a second time, it runs one task at a time; and it looks at tasks when all of them
    have something to say or its time is over, so that of two workers the faster stood still for up to 0.1 seconds
    after every part. There is no setting for either. Without these names, Ray's own values stay.
    """
    with contextlib.suppress(ImportError):
        from ray.data._internal.execution import streaming_executor_state
        from ray.data._internal.execution.resource_manager import ResourceManager

        limits: Any = ResourceManager
        limits.GLOBAL_LIMITS_UPDATE_INTERVAL_S = LIMITS_SECONDS
        streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = LOOK_SECONDS


def check_shared(root: Root) -> None:
    """Raise ValueError unless every node sees a file written under a local root."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if root.local is None or len(nodes) < 2:
        return
    name = f".seen-{uuid.uuid4().hex[:8]}"
    root.write(name, b"")

    def seen(name: str) -> bool:
        return root.exists(name)

    look: Any = ray.remote(num_cpus=0)(seen)
    asked = [
        (
            node,
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(name),
        )
        for node in nodes
    ]
    blind = {node["NodeManagerAddress"] for node, answer in asked if not ray.get(answer)}
    root.delete(name)
    if blind:
        raise ValueError(
            f"the root {root.url} is not visible on {', '.join(sorted(blind))}; expected a folder that every node "
            "mounts; use a shared file system or an object store such as s3://bucket/run"
        )


def check_fits(operators: list[Operator], cpus: float) -> None:
    """Raise ValueError where pools of actors leave no CPU to the tasks that feed them: both would wait for ever.

    All pools start at once; those before the tasks end and free theirs, those behind wait for the tasks. Tasks with
    the needs of the pool behind them run in its actors, as Ray Data joins them.
    """
    for at, (one, following) in enumerate(itertools.pairwise(operators)):
        pools = [later for later in operators[at + 1 :] if later.needs.actors is not None]
        joined = following in pools and resources(one.needs) == resources(following.needs)
        wanted = one.needs.cpus + sum(pool.needs.cpus * (pool.needs.actors or 0) for pool in pools)
        if one.needs.actors is None and pools and not joined and wanted > cpus:
            feeding, fed = (", ".join(stage.name for each in side for stage in each.members) for side in ([one], pools))
            raise ValueError(
                f"a task of {feeding} and the pools of workers of {fed} behind it need {wanted:g} CPUs at a time; "
                f"this Ray has {cpus:g}; give the pools fewer actors or CPUs, or Ray more workers"
            )


def resources(needs: Needs) -> dict[str, Any]:
    """Ray's names for what a worker needs."""
    return {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "memory": needs.memory_bytes}


def ray_map(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """One Ray task per item; results in order."""
    import ray

    def apply(item: Any) -> Any:
        return function(item)

    task: Any = ray.remote(num_cpus=1)(apply)
    return got([task.remote(item) for item in items])


class OnRay:
    """Parts as a Ray Data pipeline, whole stages as Ray tasks."""

    def __init__(self, root: Root, workers: int | None = None) -> None:
        """Start or join a cluster and check that it shares the root."""
        start(workers)
        check_shared(root)

    @property
    def mapper(self) -> Mapper:
        """One task per item."""
        return ray_map

    def parts(self, work: PassWork, parts: list[int], operators: list[Operator]) -> Iterator[Outcome]:
        """Outcomes as parts end."""
        import ray.data

        if not os.environ.get("RAY_ADDRESS"):  # a cluster may grow
            check_fits(operators, ray.cluster_resources()["CPU"])
        flowing = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
        if flowing.num_blocks() != len(parts):
            raise RuntimeError(f"Ray Data cut {len(parts)} parts into {flowing.num_blocks()} blocks")
        shared, key = ray.put(work), uuid.uuid4().hex
        for position, operator in enumerate(operators):
            step: Any = Step(shared, key, operator, position == 0, position == len(operators) - 1)
            options = resources(operator.needs)
            if operator.needs.actors is not None:
                options["compute"] = ray.data.ActorPoolStrategy(size=operator.needs.actors)
                flowing = flowing.map_batches(
                    StepActor, fn_constructor_args=(step,), batch_size=None, batch_format="pyarrow", **options
                )
            else:
                flowing = flowing.map_batches(step, batch_size=None, batch_format="pyarrow", **options)
        batches: Any = flowing.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        for batch in batches:
            for row in batch.to_pylist():
                yield Outcome(**json.loads(row["outcome"]))

    def call(self, function: Callable[[], Any], needs: Needs) -> Any:
        """In a Ray task, so that a head without CPUs does no work."""
        import ray

        def whole() -> Any:
            return function()

        options = {key: value for key, value in resources(needs).items() if value is not None}
        task: Any = ray.remote(**options)(whole)
        return got(task.remote())


def got(reference: Any) -> Any:
    """What a task returned. Its exceptions come as in a plain loop, however many tasks they went through."""
    import ray
    from ray.exceptions import RayTaskError, WorkerCrashedError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause: BaseException = error
        while isinstance(cause, RayTaskError) and cause.cause is not None:
            cause = cause.cause
        raise cause from error
    except WorkerCrashedError as error:
        raise WorkerDiedError("the worker died every time it was tried: killed, out of memory, or crashed") from error


class Step:
    """One operator as Ray Data sees it: a table of parts in, a table of parts out."""

    def __init__(self, shared: Any, key: str, operator: Operator, first: bool, last: bool) -> None:
        """Say where the work lies, which members, and whether the part begins or ends here."""
        self.shared, self.key, self.first, self.last = shared, key, first, last
        self.names = [stage.name for stage in operator.members]

    def work(self) -> PassWork:
        """The work of the pass, unpickled at the first part in this process."""
        import ray

        if self.key not in _works:
            _works.clear()
            _works[self.key] = ray.get(self.shared)
        return _works[self.key]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The part through the members."""
        if len(batch) != 1:  # merged parts would run one after the other, and die together
            raise RuntimeError(f"Ray Data gave {len(batch)} parts to one task; expected one")
        schema = pa.schema([("part", pa.int64()), ("flow", pa.large_binary()), ("outcome", pa.string())])
        return pa.Table.from_pylist([self._one(batch.to_pylist()[0])], schema=schema)

    def _one(self, row: dict[str, Any]) -> dict[str, Any]:
        part = row["part"]
        if row.get("outcome"):  # it failed in an earlier operator
            return row
        flow = None

        def go() -> dict[str, int]:
            nonlocal flow
            flow = Flow(part) if self.first else pickle.loads(row["flow"])
            work = self.work()
            return work.run(flow, [stage for stage in work.members if stage.name in self.names], self.last)

        outcome = attempt(part, go)
        if self.last or outcome.error:
            return {"part": part, "flow": None, "outcome": json.dumps(asdict(outcome))}
        return {"part": part, "flow": pickle.dumps(flow, protocol=5), "outcome": None}


class StepActor:
    """A Step in a long-lived worker."""

    def __init__(self, step: Step) -> None:
        """Take the step; models load at the first part."""
        self.step = step

    def __call__(self, batch: pa.Table) -> pa.Table:
        """As the step does."""
        return self.step(batch)
