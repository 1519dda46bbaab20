"""A model served on this cluster for as long as somebody asks it.

    with served("/path/to/model", "teacher", linger_seconds=20) as (url, key):   # http://127.0.0.1:41234/hare-1f0c/v1
        ...                                                                      # OpenAI's wire format

vLLM runs in a replica of Ray Serve (`replica`) behind a door (`door`). A detached actor, the keeper (`keeper`), starts
it and ends it. Whoever uses a server holds a lease on it, which he renews every few seconds; so it ends in every case,
also where its user is killed.

A model that needs more GPUs than Ray can ever have is refused before it is started. Where a cluster may still grow it
is waited for, without end, and the log says at once and every minute what for.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from hare_ray.synth.keeper import ANSWERING, FAILED, KEEPER, NAMESPACE, Keeper, State
from hare_ray.synth.server import Server, context_tokens, engine_threads

log = logging.getLogger("hare_ray")

RENEW_SECONDS = 5.0

LOOK_SECONDS = 0.2
"""How often a user looks whether his server has come up."""

TELL_SECONDS = 60.0
"""How often the log says that a model is still waited for."""

IDLE_SECONDS = 600.0
"""A server that nobody asks for so long gives its GPUs back, although somebody holds it."""

KEEPER_THREADS = 16
"""Calls to the keeper at a time: opening may take seconds, renewing must not wait for it."""

HEAD = "node:__internal_head__"
"""Resource of the head node, where Serve's HTTP proxy runs."""

TRIES = 5
"""To find a keeper: it may be ending itself just now."""


class Served(NamedTuple):
    """Where to ask."""

    url: str
    """Base address, ending in /v1."""
    key: str
    """To be sent as bearer token; '' where none is needed."""

    def __repr__(self) -> str:
        """Without the key: this may come into a log."""
        return f"Served(url={self.url!r})"


def planned(model: str, name: str, gpus: int, replicas: int, idle_seconds: float) -> Server:
    """The server of `model` (a folder, or a name on the hub) under `name` as this cluster can run it.

    `gpus` are those of one replica, whether they are up or still to be started by the autoscaler. Raises ValueError
    where Ray does not run or the folder holds no model, ModuleNotFoundError where vllm is missing.
    """
    import ray

    if importlib.util.find_spec("vllm") is None:
        raise ModuleNotFoundError("serving a model needs vllm, which is not installed", name="vllm")
    if not ray.is_initialized():
        raise ValueError(
            f"given no endpoint, so {name!r} is to be served here, which needs Ray; run on Ray, or give the address of "
            "an OpenAI-compatible server as endpoint"
        )
    context_tokens(model)
    # Somebody must have a CPU to ask with; where a replica would take the only one, it counts as none.
    cpus = int(gpus > 0 or ray.cluster_resources().get("CPU", 0) > 1)
    return Server(model, name, gpus, replicas, cpus, idle_seconds, threads=engine_threads(replicas))


@contextmanager
def served(model: str, name: str, linger_seconds: float, gpus: int = 0, replicas: int = 1) -> Iterator[Served]:
    """A server for the time of the block, which lingers afterwards; see `planned` and `hold`."""
    with hold([planned(model, name, gpus, replicas, IDLE_SECONDS)], linger_seconds) as (where,):
        yield where


@contextmanager
def hold(servers: list[Server], linger_seconds: float) -> Iterator[list[Served]]:
    """Leases on servers, which are started at the same time where nobody else has. ValueError where one cannot."""
    import ray

    check_can_start(*servers)
    user, free = uuid.uuid4().hex, ray.available_resources()
    keeper, where = _opened(servers, user)
    apps = [server.app for server in servers]
    left = threading.Event()
    renewing = threading.Thread(target=_renew, args=(keeper, apps, user, left), daemon=True)
    renewing.start()
    try:
        wait_until_they_run(lambda: ray.get(keeper.states.remote(apps)), servers, free)
        yield where
    finally:
        left.set()
        renewing.join()
        ray.get([keeper.release.remote(app, user, linger_seconds) for app in apps])


def states(servers: list[Server]) -> list[State]:
    """How servers are that somebody here holds. ConnectionError while the keeper is started again."""
    import ray
    from ray.exceptions import RayError

    try:
        keeper: Any = ray.get_actor(KEEPER, namespace=NAMESPACE)
        return ray.get(keeper.states.remote([server.app for server in servers]))
    except (RayError, ValueError) as error:
        raise ConnectionError(f"the keeper does not answer: {error}") from error


def check_can_start(*servers: Server) -> None:
    """Raise ValueError where Ray has too few GPUs for one replica of each, and can never have more.

    A Ray that this process started gets no further nodes. A cluster that was joined may, by its autoscaler or by hand,
    so there only what its autoscaler has told Ray to be the most is a limit.
    """
    import ray

    wanted = sum(server.gpus for server in servers)
    if not wanted:
        return
    there = ray.cluster_resources().get("GPU", 0.0)
    most = there if _alone() else _most_gpus()
    if most is not None and wanted > max(most, there):
        names = ", ".join(repr(server.name) for server in servers if server.gpus)
        raise ValueError(
            f"{names} needs {wanted} GPUs at a time; this Ray has {there:g} and can have {max(most, there):g} at most; "
            "ask for fewer (gpus=0 is a CPU), or join a cluster that has or can start them (RAY_ADDRESS)"
        )


def _most_gpus() -> float | None:
    """To which an autoscaler may take the cluster; None where it has not told Ray, or there is none."""
    from ray._private.state import state  # as Ray Data and Ray Train ask; there is no public way

    most = state.get_max_resources_from_cluster_config()
    return None if most is None else float(most.get("GPU", 0))


def _alone() -> bool:
    """Whether Ray was started here, for this process: nobody else joins. A cluster that was joined may grow."""
    import ray

    return not os.environ.get("RAY_ADDRESS") and sum(node["Alive"] for node in ray.nodes()) == 1


def wait_until_they_run(look: Callable[[], list[State]], servers: list[Server], free: Mapping[str, float]) -> None:
    """Return when all answer. `free` is what the cluster had to give before they were asked for."""
    began = told = time.monotonic()
    first = True
    while True:
        waited_for = []
        for server, state in zip(servers, look(), strict=True):
            if state.status == FAILED:
                raise ValueError(
                    f"the model {server.model} could not be served as {server.name!r}: {_cause(state.message)}; see "
                    "the logs of its replica in Ray's session"
                )
            if state.status != ANSWERING:
                waited_for.append((server, state))
        if not waited_for:
            return
        if first:
            _tell_what_is_missing([server for server, _ in waited_for], free)
        elif time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            for server, state in waited_for:
                _tell_that_it_lasts(server, state, told - began)
        first = False
        time.sleep(LOOK_SECONDS)


def _tell_what_is_missing(servers: list[Server], free: Mapping[str, float]) -> None:
    for resource in ("GPU", "CPU"):
        if _needed(servers, resource) > free.get(resource, 0):
            log.warning("%s: waiting for %s", ", ".join(server.name for server in servers), _room(servers, free))
            return


def _tell_that_it_lasts(server: Server, state: State, seconds: float) -> None:
    import ray

    said = " ".join(state.message.split()) or "Serve says nothing more"
    room = _room([server], ray.available_resources())
    log.warning("%s: no answer after %.0f s; needs %s; %s: %s", server.name, seconds, room, state.status, said)


def _room(servers: list[Server], free: Mapping[str, float]) -> str:
    """What is needed, there and free, in words."""
    import ray

    there = ray.cluster_resources()
    return ", ".join(
        f"{resource} {needed:g} (the cluster has {there.get(resource, 0):g}, free {free.get(resource, 0):g})"
        for resource in ("GPU", "CPU")
        if (needed := _needed(servers, resource))
    )


def _needed(servers: list[Server], resource: str) -> float:
    """By one replica of each."""
    return sum(bundle.get(resource, 0.0) for server in servers for bundle in server.bundles)


def _cause(message: str) -> str:
    """The error at the end of a traceback."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)]
    return (errors or lines or ["no reason given"])[-1]


def _renew(keeper: Any, apps: list[str], user: str, left: threading.Event) -> None:
    import ray

    while not left.wait(RENEW_SECONDS):  # waited for: one that came after the release would hold on
        ray.get([keeper.renew.remote(app, user) for app in apps])


def _opened(servers: list[Server], user: str) -> tuple[Any, list[Served]]:
    """The keeper, and where to ask."""
    import ray
    from ray.exceptions import RayActorError

    actor: Any = ray.remote(Keeper)
    alone = _alone()
    for attempt in range(TRIES):
        keeper = actor.options(
            name=KEEPER, namespace=NAMESPACE, get_if_exists=True, lifetime="detached", num_cpus=0,
            resources={HEAD: 0.001}, max_concurrency=KEEPER_THREADS, max_restarts=-1, max_task_retries=TRIES,
        ).remote(secrets.token_urlsafe(32))  # fmt: skip
        try:
            return keeper, [Served(*ray.get(keeper.open.remote(server, user, alone))) for server in servers]
        except RayActorError:  # it was just ending itself
            if attempt == TRIES - 1:
                raise
            time.sleep(1)
    raise AssertionError("the last attempt returns or raises")
