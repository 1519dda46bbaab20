"""A model served on this cluster for as long as somebody asks it.

    with served("/path/to/model", "teacher", linger_seconds=20) as (url, key):   # http://127.0.0.1:41234/hare-1f0c/v1
        ...                                                                      # OpenAI's wire format

vLLM runs in a replica of Ray Serve (`replica`) behind a door (`door`). A detached actor, the keeper (`keeper`), starts
it and ends it. Whoever uses a server holds a lease on it, which he renews every few seconds; so it ends in every case,
also where its user is killed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from hare_ray.synth.keeper import ANSWERING, FAILED, KEEPER, NAMESPACE, Keeper, State
from hare_ray.synth.server import Server, context_tokens

RENEW_SECONDS = 5.0

LOOK_SECONDS = 0.2
"""How often a user looks whether his server has come up."""

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
    return Server(model, name, gpus, replicas, cpus, idle_seconds)


@contextmanager
def served(model: str, name: str, linger_seconds: float, gpus: int = 0, replicas: int = 1) -> Iterator[Served]:
    """A server for the time of the block, which lingers afterwards; see `planned` and `hold`."""
    with hold([planned(model, name, gpus, replicas, IDLE_SECONDS)], linger_seconds) as (where,):
        yield where


@contextmanager
def hold(servers: list[Server], linger_seconds: float) -> Iterator[list[Served]]:
    """Leases on servers, which are started at the same time where nobody else has. ValueError where one cannot."""
    import ray

    user = uuid.uuid4().hex
    keeper, where = _opened(servers, user)
    apps = [server.app for server in servers]
    left = threading.Event()
    renewing = threading.Thread(target=_renew, args=(keeper, apps, user, left), daemon=True)
    renewing.start()
    try:
        _wait_until_they_run(keeper, servers)
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


def _wait_until_they_run(keeper: Any, servers: list[Server]) -> None:
    import ray

    while True:
        found = ray.get(keeper.states.remote([server.app for server in servers]))
        for server, state in zip(servers, found, strict=True):
            if state.status == FAILED:
                raise ValueError(
                    f"the model {server.model} could not be served as {server.name!r}: {_cause(state.message)}; see "
                    "the logs of its replica in Ray's session"
                )
        if all(state.status == ANSWERING for state in found):
            return
        time.sleep(LOOK_SECONDS)


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
    # Started here, for this process: nobody else joins. A cluster that was joined may grow.
    alone = not os.environ.get("RAY_ADDRESS") and sum(node["Alive"] for node in ray.nodes()) == 1
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
