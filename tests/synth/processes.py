"""Processes that a test has started, to be killed or to be missed: other tests may run on the same machine."""

import os
from pathlib import Path

SERVING = ("VLLM::", "ServeReplica", "ServeController", "ProxyActor")
"""A served model and Serve, by what Ray and vLLM call them."""


def _parent(pid: int) -> int:
    """0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _is_ours(pid: int) -> bool:
    """A descendant of this process, or of one that left it behind."""
    if _parent(pid) == 1:
        return True
    while pid > 1:
        pid = _parent(pid)
        if pid == os.getpid():
            return True
    return False


def ours(*titles: str) -> list[int]:
    """Of our processes with one of these in their titles."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(title in line for title in titles) and _is_ours(int(process.name)):
            found.append(int(process.name))
    return found


def ours_of_serving() -> list[int]:
    """Those of a served model and of Serve."""
    return ours(*SERVING)
