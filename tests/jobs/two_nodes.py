"""A Ray cluster of two nodes on this machine, started as a person would: `ray start`, with token authentication.

The second node lives in a mount namespace of its own (where the system allows it), in which one folder is empty: what
the head writes there, that node does not see. It also has an address of its own (127.0.0.2), so that messages can name
it. Everything that is started is ended by its process id, whatever happens.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
SECOND = "127.0.0.2"
START_SECONDS = 120
STORE_BYTES = 256 << 20
SETTINGS = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
)
"""Of whoever runs the tests; none of them may reach the cluster."""


@dataclass(frozen=True)
class Nodes:
    """The cluster and what a client of it needs."""

    dashboard: str
    environment: dict[str, str]
    """Of a client that has the token."""
    shared: Path
    """A folder that both nodes see."""
    head_only: Path
    """A folder whose files only the head sees, where `may_unshare`."""

    def submit(self, repository: Path, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit` of the working tree `repository`, to its end; status, stdout (the job's log) and stderr."""
        command = [BIN / "ray", "job", "submit", "--address", self.dashboard, "--working-dir", ".", "--", *words]
        return subprocess.run(
            command, cwd=repository, env=self.environment | changes, capture_output=True, text=True, timeout=840
        )


def may_unshare() -> bool:
    """Whether this user may give a process mounts of its own."""
    command = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@contextmanager
def two_nodes(folder: Path) -> Iterator[Nodes]:
    """Two nodes of one CPU each, for the time of the block; `folder` has a short path (names of sockets are short)."""
    home, shared, head_only = folder / "home", folder / "shared", folder / "head_only"
    for made in (home, shared, head_only):
        made.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | {
        "HOME": str(home),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),  # of compiled kernels
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    subprocess.run([BIN / "ray", "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    port, dashboard = free_port(), free_port()
    both = [
        "--block",
        "--num-cpus",
        "1",
        "--object-store-memory",
        str(STORE_BYTES),
        "--dashboard-agent-listen-port",
        "0",
    ]
    head = [str(BIN / "ray"), "start", "--head", "--port", str(port), "--dashboard-port", str(dashboard), *both]
    head += ["--temp-dir", str(folder / "head"), "--ray-client-server-port", str(free_port())]
    second = [str(BIN / "ray"), "start", "--address", f"{own_address()}:{port}", "--node-ip-address", SECOND, *both]
    second += ["--temp-dir", str(folder / "second")]
    hidden = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        f'mount -t tmpfs none {head_only} && exec "$@"',
        "sh",
    ]
    nodes = Nodes(f"http://127.0.0.1:{dashboard}", environment, shared, head_only)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in (("head", head), ("second", [*(hidden if may_unshare() else []), *second])):
            with (folder / f"{name}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
                )
            wait_for_nodes(nodes, len(started), folder / f"{name}.log")
        yield nodes
    finally:
        end(started)


def wait_for_nodes(nodes: Nodes, count: int, log: Path) -> None:
    """Until the cluster answers that it has so many nodes."""
    command = [
        BIN / "ray",
        "list",
        "nodes",
        "--address",
        nodes.dashboard,
        "--filter",
        "state=ALIVE",
        "--format",
        "json",
    ]
    told, until = "", time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        asked = subprocess.run(command, env=nodes.environment, capture_output=True, text=True, timeout=START_SECONDS)
        told = asked.stdout + asked.stderr
        if told.count('"node_id"') >= count:
            return
        time.sleep(0.5)
    raise TimeoutError(f"{count} nodes did not start in {START_SECONDS} s: {told[-1000:]}\n{log.read_text()[-2000:]}")


def end(started: list[subprocess.Popen[bytes]]) -> None:
    """End these processes and all their descendants."""
    family: list[psutil.Process] = []
    for process in started:
        if process.poll() is None:
            family += [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for process in reversed(started):
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=10)
    for one in alive:
        one.kill()
    psutil.wait_procs(alive, timeout=10)
    for process in started:
        process.wait(timeout=10)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def own_address() -> str:
    """As Ray finds the head's address."""
    from ray.util import get_node_ip_address

    return get_node_ip_address()
