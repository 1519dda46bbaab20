"""A program in a process of its own: its wall seconds, the memory of all its processes, the bytes below a folder."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

SAMPLE_SECONDS = 0.2
LOOK_SHARE = 20
"""Between two looks this many times as long as one takes, so that looking costs at most a twentieth of a core."""


class Watch(ABC):
    """Looks again and again while the block runs."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @abstractmethod
    def look(self) -> None:
        """Note what there is now."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        cost = 0.0
        while not self._stop.wait(max(SAMPLE_SECONDS, LOOK_SHARE * cost)):
            began = time.perf_counter()
            self.look()
            cost = time.perf_counter() - began


class Peak(Watch):
    """Most memory, in MiB, of a process and all below it, and of the largest of them; shared pages are shared out."""

    def __init__(self, process: int) -> None:
        super().__init__()
        self.tree_mib = 0.0
        self.largest_mib = 0.0
        self._root = psutil.Process(process)

    def look(self) -> None:
        held = self._held()
        self.tree_mib = max(self.tree_mib, sum(held))
        self.largest_mib = max(self.largest_mib, *held, 0.0)

    def _held(self) -> list[float]:
        held = []
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:  # the side is over
            return held
        for process in processes:
            try:
                held.append(process.memory_full_info().pss / 2**20)
            except psutil.Error:  # it ended between listing and looking
                continue
        return held


class Disk(Watch):
    """Most bytes below a folder, and most in scratch, that only the steps of a stage hand to each other."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.most = self.scratch = 0
        self._folder = folder

    def look(self) -> None:
        total = scratch = 0
        for path in self._folder.rglob("*"):
            try:
                size = path.stat().st_size if path.is_file() else 0
            except FileNotFoundError:  # scratch that is gone already
                continue
            total += size
            scratch += size if path.parent.name == "scratch" else 0
        self.most, self.scratch = max(self.most, total), max(self.scratch, scratch)


@dataclass(frozen=True)
class Took:
    """One run of a program."""

    seconds: float
    tree_mib: float
    largest_mib: float


def timed(command: list[str], log: Path, watch: bool, limit_seconds: float) -> Took:
    """Run it to its end, its words into `log`; without `watch` nothing looks at its memory.

    Raises RuntimeError with its last words where it fails or takes too long; its own processes are ended then.
    """
    began = time.perf_counter()
    with log.open("wb") as words, contextlib.ExitStack() as watching:
        side = subprocess.Popen(command, stdout=words, stderr=words, start_new_session=True)
        peak = watching.enter_context(Peak(side.pid)) if watch else None
        try:
            status: object = side.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            status = f"ended after {limit_seconds:.0f} s"
        finally:
            if side.poll() is None:
                os.killpg(side.pid, signal.SIGKILL)
                side.wait()
    seconds = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{' '.join(command)[:300]}: {status}\n{log.read_text(errors='replace')[-1500:]}")
    return Took(seconds, peak.tree_mib, peak.largest_mib) if peak else Took(seconds, 0.0, 0.0)
