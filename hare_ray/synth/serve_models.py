"""Models served until somebody says stop: what jobs/serve.py does.

    wish      which models (folders, or names on the hub), on what, at which address, with which key
    ready     the port is taken before a model is loaded, the models load at the same time, then one line says where
    stop      SIGTERM or Ctrl-C: new requests get 503 and Retry-After, those inside are answered for at most
              DRAIN_SECONDS (a second signal ends the wait), then everything is given back

Whoever reaches an address that is not localhost needs a key. One that is not given is drawn at random and written to
a file which only its owner can read; a file that others can read is refused. The key itself is never printed, logged
or put on a command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import secrets
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from hare_ray.synth.gateway import Gateway
from hare_ray.synth.serve import hold, planned, states

KEY = "HARE_SERVE_KEY"

DRAIN_SECONDS = 60.0
LOOK_SECONDS = 0.1

BACKLOG = 2048
"""Connections that wait to be accepted: of a burst of clients, as many as Linux gives by default are too few."""

KEY_FILE = Path("~/.hare_ray/serve.key")
"""Where a key that nobody gave is kept, so that it is the same the next time."""

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""What nobody but the owner of a key may do with its file."""

WORD = re.compile(r"[\x21-\x7e]{8,}")
"""A key: it goes into a header."""


@dataclass(frozen=True)
class Wish:
    """What is to be served, and where."""

    llms: tuple[str, ...]
    """Folders, or names on the hub; NAME=FOLDER gives the name to ask for."""
    gpus: int
    replicas: int
    host: str
    port: int
    key_file: str
    """'' for none."""
    idle_minutes: float


def serve(wish: Wish, say: Callable[[str], None]) -> None:
    """Serve until a signal comes. Raises ValueError where the wish cannot be fulfilled, and says why in a line."""
    _check(wish)
    models = _models(wish.llms)
    key, key_place = _key(wish)
    with _port(wish) as listener, _terminated():
        from hare_ray.on_ray import start

        start(None)
        servers = [
            planned(model, name, wish.gpus, wish.replicas, 60 * wish.idle_minutes) for name, model in models.items()
        ]
        with hold(servers, 0.0) as where:
            gateway = Gateway(dict(zip(models, where, strict=True)), key, partial(states, servers))
            port = listener.getsockname()[1]
            asyncio.run(_answer(gateway, listener, partial(say, _ready(wish.host, port, list(models), key_place))))
            say("stopping")


def _check(wish: Wish) -> None:
    for name in ("gpus", "idle_minutes"):
        if getattr(wish, name) < 0:
            raise ValueError(f"given {name} = {getattr(wish, name)}, expected at least 0")
    if not 0 <= wish.port < 1 << 16:
        raise ValueError(f"given port = {wish.port}, expected 0 (any) to 65535")
    if wish.replicas < 1:
        raise ValueError(f"given replicas = {wish.replicas}, expected at least 1")


def _models(llms: tuple[str, ...]) -> dict[str, str]:
    """Name -> folder or name on the hub."""
    models: dict[str, str] = {}
    for llm in llms:
        given, _, model = llm.rpartition("=")
        folder = Path(model).expanduser()
        if model and folder.is_dir():
            model = str(folder.resolve())
            if not (folder / "config.json").is_file():
                raise ValueError(f"the folder {model} holds no config.json; expected a model in Hugging Face's form")
        elif model.startswith(("/", ".", "~")) or model.count("/") > 1 or not model:
            raise ValueError(
                f"there is no folder {model!r}; expected one with a model, or a name on the hub (ORG/NAME)"
            )
        name = given or (Path(model).name if Path(model).is_absolute() else model)
        if name in models:
            raise ValueError(f"two models are called {name!r}; name them with --llm NAME=FOLDER")
        models[name] = model
    return models


def _key(wish: Wish) -> tuple[str, str]:
    """The key, and how a shell gets at it; both '' where none is needed."""
    if not wish.key_file and os.environ.get(KEY):
        return _sound(os.environ[KEY], KEY), f"${KEY}"
    if not wish.key_file and _is_local(wish.host):
        return "", ""
    place = Path(wish.key_file or KEY_FILE).expanduser()
    with contextlib.suppress(FileExistsError):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(0o600, exist_ok=False)
        place.write_text(secrets.token_urlsafe(32))
    mode = stat.S_IMODE(place.stat().st_mode)
    if mode & OTHERS:
        raise ValueError(
            f"{place} holds a key and others than its owner may use the file (mode {mode:o}); expected 600; "
            f"chmod 600 {place}, draw another key if somebody may have read it, or give the key in {KEY}"
        )
    return _sound(place.read_text().strip(), str(place)), f"$(cat {place})"


def _sound(key: str, place: str) -> str:
    if not WORD.fullmatch(key):
        raise ValueError(f"{place} holds no key; expected one word of at least 8 visible ASCII characters")
    return key


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _port(wish: Wish) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(wish.host, wish.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ValueError(f"given host {wish.host!r}: {error.strerror}; expected an address of this machine") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"cannot listen on {wish.host}:{wish.port}: {error}; expected a free port and an address of this "
                "machine (--port 0 takes any port)"
            ) from None
        yield listener


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what was begun is given back."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ready(host: str, port: int, names: list[str], key_place: str) -> str:
    at = socket.getfqdn() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    header = f' -H "Authorization: Bearer {key_place}"' if key_place else ""
    asked = f'{{"model": "{names[0]}", "prompt": "The sun", "max_tokens": 32}}'
    return (
        f"ready: {', '.join(names)} at http://{at}:{port}/v1\n"
        f"curl http://{at}:{port}/v1/completions{header} -H 'Content-Type: application/json' -d '{asked}'"
    )


async def _answer(gateway: Gateway, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until a signal comes, and to the end what has come before it."""
    import uvicorn

    config = uvicorn.Config(
        gateway,
        lifespan="on",  # or a gateway whose start failed would answer every request with a 500
        log_level="warning",
        access_log=False,
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    answering = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not answering.done():
        await asyncio.sleep(LOOK_SECONDS)
    stopped = asyncio.Queue[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.put_nowait, number)
    if server.started:
        ready()
        await stopped.get()
        gateway.draining = True
        again = asyncio.create_task(stopped.get())
        until = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while gateway.inside and not again.done() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(LOOK_SECONDS)
        again.cancel()
    server.should_exit = True
    await answering
