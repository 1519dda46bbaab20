"""A model served on this cluster for as long as somebody asks it: the only module that speaks `ray.serve`.

    with served("/path/to/model", "teacher", linger_seconds=20) as url:      # http://127.0.0.1:41234/hare-1f0c.../v1
        ...                                                                  # OpenAI's wire format

The model runs in `ray.serve.llm` (vLLM), one replica per GPU, or one replica of one CPU where there is no GPU.
Serve would start it through a separate ingress deployment; here the replica itself is the ingress and gives out
vLLM's own routes. That saves two processes that import vLLM, and a hop per request. On CPU the engine core also
runs the model itself instead of in a process of its own. A start on 2 cores takes half as long for it, and the model
answers three times as fast, because fewer processes wait for each other by spinning.

Who ends it: a detached actor, the keeper, holds a lease per user of each server. A user renews his every few seconds;
leases that nobody renews run out, so a server outlives a killed driver by HOLD_SECONDS at most. A killed keeper is
started again by Ray and adopts what is there. A user who leaves
may let it linger, so that the next stage that wants the same model finds it warm. With the last lease the keeper
deletes the server, shuts Serve down if it was the one who started it, and ends itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEEPER, NAMESPACE = "hare_ray-keeper", "hare_ray"

PREFIX = "hare-"
"""Of the names of our Serve applications."""

LINGERING = "lingering"
"""Holds the lease of a server that its last user left behind."""

HOLD_SECONDS = 40.0
"""A lease: a server whose user was killed is gone after this."""

RENEW_SECONDS = 5.0

WATCH_SECONDS = 0.5
"""How often the keeper looks for leases that have run out."""

KEEPER_THREADS = 16
"""Calls to the keeper at a time: opening takes a minute, renewing must not wait for it."""

HEAD = "node:__internal_head__"
"""Resource of the head node, where Serve's HTTP proxy runs."""

CPU_SEQUENCES, GPU_SEQUENCES = 64, 512
"""Sequences a replica works on at a time. On GPU the default of 256 leaves a small model's GPU idle: +18 to +60 %."""

GPU_BATCHED_TOKENS = 32_768
"""Per step of the engine; the default of 8192 is for latency."""

CPU_BATCHED_TOKENS = 2048

REPLICA_BYTES = 1 << 30
"""Memory that stands for a replica which has no CPU of its own to count; a bundle must hold something."""

UPSCALE_SECONDS = 5
"""All the work is there from the beginning, so there is nothing to wait for before more GPUs are taken."""

TRIES = 5
"""To find a keeper: it may be ending itself just now."""

CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # Ray says where a process runs; binding fails in containers
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # or vLLM refuses to run the model in the engine's own process
}


@dataclass(frozen=True)
class Server:
    """What is served, and on what."""

    model: str
    """A folder, or a name on the hub."""
    name: str
    """To be asked for under this."""
    gpus: int
    """Of one replica, over which its tensors are split; 0: it runs on a CPU."""
    replicas: int
    """At most; the first is started, more where requests wait."""
    cpus: int
    """Of one replica, 1 or 0."""

    @property
    def app(self) -> str:
        """Name of the Serve application: the same for the same model."""
        return f"{PREFIX}{hashlib.sha256(repr(self).encode()).hexdigest()[:12]}"

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Resources of one replica, in Ray's names: one bundle a GPU, the first with the CPU."""
        cpus = {"CPU": 1.0} if self.cpus else {"memory": float(REPLICA_BYTES)}
        return [{**cpus, "GPU": 1.0}, *[{"GPU": 1.0}] * (self.gpus - 1)] if self.gpus else [cpus]

    @property
    def environment(self) -> dict[str, str]:
        """Of the replica's process."""
        local = {"HF_HUB_OFFLINE": "1"} if Path(self.model).is_absolute() else {}
        return {"VLLM_NO_USAGE_STATS": "1", **local, **({} if self.gpus else CPU_ENVIRONMENT)}


def engine_arguments(server: Server) -> dict[str, Any]:
    """What vLLM is told. ValueError where a folder holds no model."""
    length = context_tokens(server.model)
    known = {} if length is None else {"max_model_len": length}
    if server.gpus:
        return {
            **known,
            "tensor_parallel_size": server.gpus,
            "gpu_memory_utilization": 0.9,
            "max_num_seqs": GPU_SEQUENCES,
            "max_num_batched_tokens": max(GPU_BATCHED_TOKENS, length or 0),
        }
    return {
        **known,
        "dtype": "float32",  # as fast as bfloat16 without hardware for it, and exact
        "enforce_eager": True,
        "max_num_seqs": CPU_SEQUENCES,
        "max_num_batched_tokens": max(CPU_BATCHED_TOKENS, length or 0),
        # A prompt cut in two with a seed of its own ends the engine of vLLM 0.29 on CPU ("does not use offset").
        "enable_chunked_prefill": False,
    }


def context_tokens(model: str) -> int | None:
    """The context of the model in a folder; None for a name on the hub, which vLLM looks up."""
    if not Path(model).is_absolute():
        return None
    config = Path(model) / "config.json"
    if not config.is_file():
        raise ValueError(
            f"the folder {model} holds no config.json on {socket.gethostname()}; expected a Hugging Face model "
            "(config.json, model.safetensors, tokenizer.json) on every node that may serve it; put it, or the run's "
            "root, on a file system that all nodes mount, or name a model on the hub with llm=, or give an endpoint"
        )
    return json.loads(config.read_bytes()).get("max_position_embeddings")


class Replica:
    """One served copy of the model; Serve sends it requests for vLLM's own routes."""

    async def __init__(self, server: Server) -> None:
        """Load the model."""
        arguments = engine_arguments(server)  # first: it says what is wrong before minutes of loading
        from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
        from ray.serve.llm import LLMConfig
        from ray.serve.llm.deployment import LLMServer

        class OneProcess(VLLMEngine):
            """An engine whose core runs the model itself."""

            def _prepare_engine_config(self, callback_ctx: Any) -> Any:
                arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
                config.parallel_config.distributed_executor_backend = "uni"
                return arguments, frontend, config

        accelerator: Any = {"kind": "gpu" if server.gpus else "cpu"}
        config: Any = LLMConfig(
            model_loading_config={"model_id": server.name, "model_source": server.model},
            placement_group_config={"bundles": server.bundles},
            accelerator_config=accelerator,
            engine_kwargs=arguments,
        )
        # It would import vLLM in another process only to look for the files.
        config.get_or_create_callback().ctx.run_init_node = False
        engine = VLLMEngine(config) if server.gpus else OneProcess(config)
        self.server = LLMServer.sync_init(config)
        self.server.engine = engine
        await engine.start()  # LLMServer.start would leave an actor for usage statistics behind

    async def __serve_build_asgi_app__(self) -> Any:
        """The routes, asked for by `serve.ingress`."""
        return await self.server.__serve_build_asgi_app__()

    async def check_health(self) -> None:
        """Raises when the engine is dead; Serve then starts another replica."""
        await self.server.check_health()


class Keeper:
    """The actor that starts servers, and ends those nobody holds a lease on. One thread per call."""

    def __init__(self) -> None:
        """Adopt what an earlier keeper left, and start to watch."""
        from ray import serve

        self.lock = threading.Lock()
        until = time.monotonic() + HOLD_SECONDS
        left = [app for app in serve.status().applications if app.startswith(PREFIX)]
        self.leases: dict[str, dict[str, float]] = {app: {"adopted": until} for app in ("", *left)}
        """App -> user -> when it runs out. The first is the keeper's own, for the time before any server."""
        self.serve_is_ours = bool(left)
        threading.Thread(target=self._watch, daemon=True).start()

    def open(self, server: Server, user: str) -> str:
        """The address of the server, started where it isn't there."""
        with self.lock:
            address = self._start_serve()
            lingering = [app for app, users in self.leases.items() if app != server.app and LINGERING in users]
            for app in lingering:  # its resources are wanted
                self._end(app)
            if server.app not in self.leases or not _runs(server.app):
                _deploy(server)
            self.leases[server.app] = {**self.leases.get(server.app, {}), user: time.monotonic() + HOLD_SECONDS}
            self.leases[server.app].pop(LINGERING, None)
            return f"{address}/{server.app}/v1"

    def renew(self, app: str, user: str) -> None:
        """Hold on."""
        users = self.leases.get(app)  # the lock is held while a server starts, and this must not wait for that
        if users is not None:
            users[user] = time.monotonic() + HOLD_SECONDS

    def release(self, app: str, user: str, linger_seconds: float) -> None:
        """Let go; the last user's wish is how long the server lingers."""
        with self.lock:
            users = self.leases.get(app, {})
            users.pop(user, None)
            if not users and linger_seconds > 0:
                users[LINGERING] = time.monotonic() + linger_seconds
            elif not users and app in self.leases:
                self._end(app)

    def _start_serve(self) -> str:
        import ray
        from ray import serve
        from ray.serve.context import _get_global_client

        if _get_global_client(raise_if_no_controller_running=False) is None:
            self.serve_is_ours = True
            alone = sum(node["Alive"] for node in ray.nodes()) == 1
            # Serve asks for no token: on several nodes whoever reaches this address can ask the model.
            host = "127.0.0.1" if alone else ray.util.get_node_ip_address()
            serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": _free_port()})
        client: Any = _get_global_client()
        host, port = client.http_config.host, client.http_config.port
        return f"http://{ray.util.get_node_ip_address() if host == '0.0.0.0' else host}:{port}"

    def _end(self, app: str) -> None:
        from ray import serve

        del self.leases[app]
        if app:
            serve.delete(app)

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
        if not self.leases:
            if self.serve_is_ours and not serve.status().applications:
                _shut_serve_down()
            ray.kill(ray.get_actor(KEEPER, namespace=NAMESPACE))


def _runs(app: str) -> bool:
    from ray import serve

    found = serve.status().applications.get(app)
    return found is not None and found.status == "RUNNING"


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


def _deploy(server: Server) -> None:
    """Start the application and wait until it answers."""
    from ray import serve

    options: dict[str, Any] = {}
    if server.gpus:
        options["autoscaling_config"] = {
            "min_replicas": 1,
            "max_replicas": server.replicas,
            "target_ongoing_requests": GPU_SEQUENCES // 2,
            "upscale_delay_s": UPSCALE_SECONDS,
        }
    replica: Any = serve.deployment(
        serve.ingress()(Replica),
        name="Replica",
        max_ongoing_requests=4 * GPU_SEQUENCES,
        placement_group_bundles=server.bundles,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": server.environment}},
        **options,
    )
    try:
        serve.run(replica.bind(server), name=server.app, route_prefix=f"/{server.app}")
    except BaseException:
        serve.delete(server.app)
        raise


def busy_requests(gpus: int, replicas: int) -> int:
    """Requests in flight that keep all replicas busy."""
    return replicas * (2 * GPU_SEQUENCES if gpus else CPU_SEQUENCES)


@contextmanager
def served(model: str, name: str, linger_seconds: float, gpus: int = 0, replicas: int = 1) -> Iterator[str]:
    """The base address of a server of `model` (a folder, or a name on the hub) under `name`.

    `gpus` are those of one replica, whether they are up or still to be started by the autoscaler. The server is held
    for the time of the block and lingers afterwards; it ends in every case, also where this process is killed.
    Raises ValueError where Ray does not run or the folder holds no model.
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
    server = Server(model, name, gpus, replicas, int(gpus > 0 or ray.cluster_resources().get("CPU", 0) > 1))
    keeper, url, user = _opened(server)
    left = threading.Event()
    renewing = threading.Thread(target=_renew, args=(keeper, server.app, user, left), daemon=True)
    renewing.start()
    try:
        yield url
    finally:
        left.set()
        renewing.join()
        ray.get(keeper.release.remote(server.app, user, linger_seconds))


def _renew(keeper: Any, app: str, user: str, left: threading.Event) -> None:
    import ray

    while not left.wait(RENEW_SECONDS):
        ray.get(keeper.renew.remote(app, user))  # waited for: one that came after the release would hold on


def _opened(server: Server) -> tuple[Any, str, str]:
    """The keeper, the address and who we are to it."""
    import ray
    from ray.exceptions import RayActorError

    user = uuid.uuid4().hex
    actor: Any = ray.remote(Keeper)
    for attempt in range(TRIES):
        keeper = actor.options(
            name=KEEPER, namespace=NAMESPACE, get_if_exists=True, lifetime="detached", num_cpus=0,
            resources={HEAD: 0.001}, max_concurrency=KEEPER_THREADS, max_restarts=-1, max_task_retries=TRIES,
        ).remote()  # fmt: skip
        try:
            return keeper, ray.get(keeper.open.remote(server, user)), user
        except RayActorError:  # it was just ending itself
            if attempt == TRIES - 1:
                raise
            time.sleep(1)
    raise AssertionError("the last attempt returns or raises")
