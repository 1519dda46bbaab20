"""The actor that starts servers, and ends those nobody holds a lease on.

A detached actor holds a lease per user of each server. A user renews his every few seconds; leases that nobody renews
run out, so a server outlives a killed driver by HOLD_SECONDS at most. A killed keeper is started again by Ray and
adopts what is there. A user who leaves may let his server linger, so that the next stage that wants the same model
finds it warm. With the last lease the keeper deletes the server, shuts Serve down if it was the one who started it,
and ends itself.

Serve listens on localhost where Ray runs on this machine alone. On a cluster that was joined it listens on the address
of the head node, because clients run on all nodes and more of them may come; then every request needs the key, which
is drawn at random by whoever starts the keeper. It is an argument of the actor, so Ray gives it again to one that it
restarts, and it is in no configuration, status, environment or command line.

An application has up to `replicas` copies of the model, by requests in flight, and none after idle time; a request
then starts one. Requests that come meanwhile wait in Serve's proxy, a bounded number of them for a bounded time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from typing import Any, NamedTuple

from hare_ray.synth.door import RESTART_SECONDS, WAITING
from hare_ray.synth.replica import Replica
from hare_ray.synth.server import PREFIX, Server

KEEPER, NAMESPACE = "hare_ray-keeper", "hare_ray"

LINGERING = "lingering"
"""Holds the lease of a server that its last user left behind."""

HOLD_SECONDS = 40.0
"""A lease: a server whose user was killed is gone after this."""

WATCH_SECONDS = 0.5
"""How often the keeper looks for leases that have run out."""

REQUEST_SECONDS = 900.0
"""For one request with its wait in the proxy; then it gets a 408. Long answers behind a full queue take minutes."""

UPSCALE_SECONDS = 5.0
"""All the work is there from the beginning, so there is nothing to wait for before more GPUs are taken."""

DOWNSCALE_SECONDS = 60.0
"""A GPU that was taken and is not needed; shorter than this and a pause between two stages costs a start."""

LOOK_BACK_SECONDS = 15.0
"""The number of requests in flight is a mean over this; Serve counts them every 10 s."""

HEALTH_SECONDS = 1.0
"""Between two health checks; Serve replaces a replica after three that failed."""

DRAIN_SECONDS = 60.0
"""A replica that is given up may finish what it works on for so long."""

ANSWERING = "RUNNING"
FAILED = "DEPLOY_FAILED"
ILL = "UNHEALTHY"
LEAVING = "DELETING"

QUIET = {"enable_access_log": False, "log_level": "WARNING"}


class State(NamedTuple):
    """What Serve says of a server."""

    status: str
    message: str
    running: int
    """Replicas that answer."""
    coming: int
    """Replicas that load the model, or wait for a node."""

    @property
    def ill(self) -> bool:
        """No replica answers, and not because nobody asked."""
        return self.running == 0 and self.status in (ILL, FAILED, LEAVING)


class Keeper:
    """One thread per call."""

    def __init__(self, key: str) -> None:
        """Adopt what an earlier keeper left, and start to watch."""
        from ray import serve

        self.key = key
        self.lock = threading.Lock()
        until = time.monotonic() + HOLD_SECONDS
        left = [app for app in serve.status().applications if app.startswith(PREFIX)]
        self.leases: dict[str, dict[str, float]] = {app: {"adopted": until} for app in ("", *left)}
        """App -> user -> when it runs out. The first is the keeper's own, for the time before any server."""
        self.serve_is_ours = bool(left)
        threading.Thread(target=self._watch, daemon=True).start()

    def open(self, server: Server, user: str, alone: bool) -> tuple[str, str]:
        """The address of the server and its key; it is started where it isn't there, and not waited for."""
        with self.lock:
            host, port = self._start_serve(alone)
            key = "" if _is_loopback(host) else self.key
            lingering = [app for app, users in self.leases.items() if app != server.app and LINGERING in users]
            for app in lingering:  # its resources are wanted
                self._end(app)
            if server.app not in self.leases or state(server.app).status not in (ANSWERING, "DEPLOYING", ILL):
                _deploy(server, key)
            self.leases[server.app] = {**self.leases.get(server.app, {}), user: time.monotonic() + HOLD_SECONDS}
            self.leases[server.app].pop(LINGERING, None)
            return f"http://{host}:{port}/{server.app}/v1", key

    def states(self, apps: list[str]) -> list[State]:
        """How these are."""
        return [state(app) for app in apps]

    def renew(self, app: str, user: str) -> None:
        """Hold on."""
        users = self.leases.get(app)  # the lock may be held while Serve starts, and this must not wait for that
        if users is not None:
            users[user] = time.monotonic() + HOLD_SECONDS

    def release(self, app: str, user: str, linger_seconds: float) -> None:
        """Let go; the last user's wish is how long the server lingers."""
        with self.lock:
            users = self.leases.get(app, {})
            users.pop(user, None)
            if not users and linger_seconds > 0 and state(app).status == ANSWERING:
                users[LINGERING] = time.monotonic() + linger_seconds
            elif not users and app in self.leases:
                self._end(app)

    def _start_serve(self, alone: bool) -> tuple[str, int]:
        import ray
        from ray import serve
        from ray.serve.context import _get_global_client

        address = ray.util.get_node_ip_address()
        if _get_global_client(raise_if_no_controller_running=False) is None:
            self.serve_is_ours = True
            host = "127.0.0.1" if alone else address
            options = {"host": host, "port": _free_port(), "request_timeout_s": REQUEST_SECONDS}
            serve.start(proxy_location="HeadOnly", http_options=options, logging_config=QUIET)
        client: Any = _get_global_client()
        host, port = client.http_config.host, client.http_config.port
        return (address if host == "0.0.0.0" else host), port

    def _end(self, app: str) -> None:
        from ray import serve

        del self.leases[app]
        if app:
            serve.delete(app, _blocking=False)  # it may finish what it works on

    def _watch(self) -> None:
        try:
            while True:
                time.sleep(WATCH_SECONDS)
                with self.lock:
                    self._tidy()
        finally:
            os._exit(1)  # Ray starts another keeper, which adopts the servers: one that doesn't watch would leak them

    def _tidy(self) -> None:
        """End what nobody holds; with the last of it, end Serve and this actor."""
        import ray
        from ray import serve

        now = time.monotonic()
        for app, users in list(self.leases.items()):
            self.leases[app] = {user: until for user, until in users.items() if until > now}
            if not self.leases[app]:
                self._end(app)
        if self.leases:
            return
        apps = serve.status().applications
        if any(app.startswith(PREFIX) for app in apps):
            return  # still ending
        if self.serve_is_ours and not apps:
            _shut_serve_down()
        ray.kill(ray.get_actor(KEEPER, namespace=NAMESPACE))


def state(app: str) -> State:
    """What Serve says of an application."""
    from ray import serve

    found = serve.status().applications.get(app)
    if found is None:
        return State("NOT_STARTED", "", 0, 0)
    replicas = {"RUNNING": 0, "STARTING": 0}
    said = found.message
    for deployment in found.deployments.values():
        said = deployment.message or said
        for name, count in deployment.replica_states.items():
            replicas[name] = replicas.get(name, 0) + count
    return State(found.status.value, said, replicas["RUNNING"], replicas["STARTING"])


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def _shut_serve_down() -> None:
    """As `serve.shutdown`, whose call is tried again when the controller has ended itself, with a word to the user."""
    import ray
    from ray.exceptions import RayActorError
    from ray.serve.context import _get_global_client

    client: Any = _get_global_client()
    with contextlib.suppress(RayActorError):
        ray.get(client._controller.graceful_shutdown.options(max_task_retries=0).remote(), timeout=HOLD_SECONDS)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def _deploy(server: Server, key: str) -> None:
    """Start the application; `state` tells when it answers."""
    from ray import serve
    from ray.serve.api import _run

    while state(server.app).status == LEAVING:  # its last user has just left
        time.sleep(WATCH_SECONDS)
    scaling = {
        "min_replicas": 0 if server.idle_seconds else 1,
        "initial_replicas": 1,
        "max_replicas": server.replicas,
        "target_ongoing_requests": server.capacity // 2,
        "look_back_period_s": LOOK_BACK_SECONDS,
        "upscale_delay_s": UPSCALE_SECONDS,
        "downscale_delay_s": DOWNSCALE_SECONDS,
        "downscale_to_zero_delay_s": server.idle_seconds,
    }
    options: dict[str, Any] = {
        "max_ongoing_requests": (2 + WAITING) * server.capacity,  # more than its door lets in, so that it can say so
        "max_queued_requests": (1 + WAITING) * server.capacity,  # while no replica is there
        "backpressure_config": {"status_code": 503, "retry_after_s": RESTART_SECONDS},
        "autoscaling_config": scaling,
        "placement_group_bundles": server.bundles,
        "ray_actor_options": {"num_cpus": 0, "runtime_env": {"env_vars": server.environment}},
        "health_check_period_s": HEALTH_SECONDS,
        "graceful_shutdown_wait_loop_s": HEALTH_SECONDS,
        "graceful_shutdown_timeout_s": DRAIN_SECONDS,
        "max_constructor_retry_count": 2,
        "logging_config": QUIET,
    }
    replica: Any = serve.deployment(serve.ingress()(Replica), name="Replica", **options)
    _run(replica.bind(server, key), name=server.app, route_prefix=f"/{server.app}", _blocking=False)
