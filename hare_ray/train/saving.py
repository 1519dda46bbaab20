"""Saves that the training does not wait for.

One is under way at a time; the next one waits until it is done, and how long is counted. A rank that is lost ends the
others through the training itself, whose next collective fails; then `close` has rank 0 wait no longer for its files.
While all live, a rank whose disk is full raises here, at its next look. So nothing waits for ever, and what was not
committed is found at the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from hare_ray.train.checkpoint import Checkpoints, Entry, name_of
from hare_ray.train.settings import Plan, Ranks

if TYPE_CHECKING:
    from torch import Tensor

LOOK_SECONDS = 0.05
"""Between two looks at what the other ranks have written; ten times that on an object store, where a look costs."""

TELL_SECONDS = 1.0
"""A wait that is worth a line."""

COMMIT_SECONDS = 1800
"""Rank 0 waits so long for the files of the others."""

GROUP_SECONDS = COMMIT_SECONDS + 600
"""For the process group: ranks that wait in a collective while rank 0 waits for files must bear it longer, so that
what ends the training is the error that names who wrote nothing."""

logger = logging.getLogger(__name__)


class Saver:
    """The saves of one rank."""

    def __init__(self, plan: Plan, ranks: Ranks, checkpoints: Checkpoints, attempt: str) -> None:
        """`attempt` is the same on all ranks, and of no other start."""
        self.plan, self.ranks, self.checkpoints, self.attempt = plan, ranks, checkpoints, attempt
        self.waited = 0.0
        """Seconds that the training stood still for saves; whoever copies the states adds what that took."""
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._running: Future[None] | None = None
        self._closed = threading.Event()
        self._look = LOOK_SECONDS if checkpoints.root.local is not None else 10 * LOOK_SECONDS

    def save(self, step: int, facts: Entry, tensors: dict[str, Tensor], send: Callable[[], None] | None = None) -> None:
        """Have the tensors written that this rank owns; all ranks call this. `send` is done before the manifest is."""
        self.wait()
        self._running = self._thread.submit(self._save, step, facts, tensors, send)

    def wait(self) -> None:
        """Until the save that is under way is done; on rank 0 that is when its manifest is written."""
        if self._running is None:
            return
        began = time.perf_counter()
        self._running.result()
        took = time.perf_counter() - began
        if took >= TELL_SECONDS:
            logger.info("training stood still for %.1f s until the last checkpoint was written", took)
        self.waited += took
        self._running = None

    def check(self) -> None:
        """Raise what the save that is under way has raised."""
        if self._running is not None and self._running.done():
            self._running.result()

    def close(self) -> None:
        """The end, also after a failure: what is not committed will not be."""
        self._closed.set()
        self._thread.shutdown(wait=True)

    def _save(self, step: int, facts: Entry, tensors: dict[str, Tensor], send: Callable[[], None] | None) -> None:
        name, count = name_of(step, self.attempt), self.ranks.count
        self.checkpoints.write(name, self.ranks.rank, count, tensors)
        if send is not None:
            send()
        if self.ranks.rank == 0 and self._complete(name):
            self.checkpoints.commit(name, count, {**facts, "step": step})
            for old in self.checkpoints.committed()[: -self.plan.checkpoints]:
                self.checkpoints.forget(old)

    def _complete(self, name: str) -> bool:
        """Wait for the files of all ranks; False where the training ended before they were there."""
        end = time.monotonic() + COMMIT_SECONDS
        while len(there := self.checkpoints.written(name, self.ranks.count)) < self.ranks.count:
            if self._closed.wait(self._look):
                return False
            if time.monotonic() > end:
                missing = sorted(set(range(self.ranks.count)) - set(there))
                raise TimeoutError(f"{name}: ranks {missing} wrote nothing for {COMMIT_SECONDS} s")
        return True
