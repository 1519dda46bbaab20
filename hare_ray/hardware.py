"""What this machine is, how much memory a run takes on it, and what software it runs."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
import subprocess
import threading
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

NAMED = (
    "hare_ray", "ray", "torch", "numpy", "scipy", "scikit-learn", "pyarrow", "numba", "resiliparse", "faiss-gpu-cu12",
    "sentence-transformers", "tokenizers",
)  # fmt: skip
"""Packages whose versions a manifest records."""

SAMPLE_SECONDS = 0.5
"""How often memory is looked at."""


@cache
def machine() -> dict[str, Any]:
    """Host, processor, cores and memory, for the `run` section of a manifest."""
    memory_gb = round(psutil.virtual_memory().total / 2**30, 1)
    return {"host": socket.gethostname(), "cpu": _processor(), "cores": cores(), "memory_gb": memory_gb}


def cores() -> int:
    """Cores this process may use."""
    return len(psutil.Process().cpu_affinity() or []) or psutil.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


@cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that shape results."""
    found = {"python": platform.python_version()}
    for name in NAMED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The git commit this package was run from, or None outside a checkout."""
    here = Path(__file__).parent
    try:
        got = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return got.stdout.strip()


class PeakMemory:
    """Highest private memory, in MiB, of this process and all below it while the block runs.

    Shared pages (Ray's object store, libraries) are left out of the sum: each process would count them again.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        """Start to watch."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop, after one last look."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, _tree_mib())
            if self._stop.wait(SAMPLE_SECONDS):
                return


def _tree_mib() -> float:
    total = 0
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        try:
            memory = process.memory_info()
        except psutil.Error:  # it ended between listing and looking
            continue
        total += memory.rss - getattr(memory, "shared", 0)
    return total / 2**20
