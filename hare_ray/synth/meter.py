"""What a person and a dashboard see while prompts are answered, and what the books say afterwards.

A line on the logger `hare_ray` each PROGRESS_SECONDS, and Ray's metrics hare_synth_rows, hare_synth_tokens and
hare_synth_in_flight, tagged by stage. Numbers of the books that no row holds (time of asking, requests that were asked
again, most in flight) are kept in small files of the stage's scratch, so that those of killed runs are counted, too.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hare_ray.gather import Desk

PROGRESS_SECONDS = 30.0
TALLY_SECONDS = 10.0
"""Of a killed run, what was not yet told is lost."""

TALLY = "tally-"

log = logging.getLogger("hare_ray")


class Tally:
    """Numbers of one process, kept in the scratch under `tally-<run>-<process>`."""

    def __init__(self, desk: Desk, run: str) -> None:
        """Belongs to the run with this name."""
        self._desk, self._name = desk, f"{TALLY}{run}-{uuid.uuid4().hex[:12]}"
        self.values: dict[str, int] = {}

    def save(self) -> None:
        """Keep the numbers as they are now."""
        self._desk.put(self._name, json.dumps(self.values).encode())


def totals(desk: Desk) -> dict[str, int]:
    """Over all processes and runs; of the most in flight, that of the run in which most were."""
    found = {"retried": 0, "milliseconds": 0, "accelerator_seconds": 0}
    in_flight: dict[str, int] = {}
    for name in desk.kept():
        if not name.startswith(TALLY):
            continue
        run = name.split("-")[1]
        for key, value in json.loads(desk.get(name)).items():
            if key == "in_flight":
                in_flight[run] = in_flight.get(run, 0) + value
            else:
                found[key] = found.get(key, 0) + value
    return {**found, "in_flight": max(in_flight.values(), default=0)}


@contextmanager
def clocked(desk: Desk, run: str, held: Callable[[], float]) -> Iterator[None]:
    """Count the wall time of the block, and that times the accelerators which are `held`, asked every tick."""
    tally, began, ended = Tally(desk, run), time.monotonic(), threading.Event()
    accelerator_seconds, told, before = 0.0, began, 0.0

    def save() -> None:
        nonlocal accelerator_seconds, told, before
        now, at_work = time.monotonic(), held()
        accelerator_seconds += max(before, at_work) * (now - told)  # at its end a server may have gone already
        told, before = now, at_work
        tally.values = {
            "milliseconds": round(1000 * (now - began)),
            "accelerator_seconds": round(accelerator_seconds),
        }
        tally.save()

    def tick() -> None:
        while not ended.wait(TALLY_SECONDS):
            save()

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield
    finally:
        ended.set()
        ticking.join()
        save()


class Meter:
    """Rows and tokens of one client task."""

    def __init__(self, stage: str, rows: int) -> None:
        """`rows` are to be answered by this task, at most."""
        self._stage, self._of = stage, rows
        self._rows = self._tokens = self._told_tokens = 0
        self._began = self._told = time.monotonic()
        self._metrics = _metrics(stage)

    def ended(self, tokens: int) -> None:
        """A row has its answer."""
        self._rows += 1
        self._tokens += tokens
        if self._metrics:
            self._metrics[0].inc(1)
            if tokens:
                self._metrics[1].inc(tokens)

    def tell(self, in_flight: int) -> None:
        """Set the gauge; a line, where it is time for one."""
        if self._metrics:
            self._metrics[2].set(in_flight)
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS:
            log.info("%s", self.line(in_flight, now))
            self._told, self._told_tokens = now, self._tokens

    def line(self, in_flight: int, now: float) -> str:
        """Where it stands; tokens/s are those since the last line."""
        speed = (self._tokens - self._told_tokens) / max(now - self._told, 1e-9)
        left = (self._of - self._rows) * (now - self._began) / self._rows if self._rows else float("inf")
        eta = f"{left / 60:,.0f} min" if left < float("inf") else "unknown"
        done = f"{self._rows:,} of {self._of:,} rows"
        return f"{self._stage}: {done}, {speed:,.0f} tokens/s, {in_flight} in flight, ETA {eta}"


def _metrics(stage: str) -> list[Any]:
    """Ray's counters and gauge; none where Ray does not run."""
    if importlib.util.find_spec("ray") is None:
        return []
    import ray

    if not ray.is_initialized():
        return []
    from ray.util.metrics import Counter, Gauge

    made: list[Any] = [
        Counter("hare_synth_rows", description="Prompts that were answered", tag_keys=("stage",)),
        Counter("hare_synth_tokens", description="Tokens of the answers", tag_keys=("stage",)),
        Gauge("hare_synth_in_flight", description="Requests in flight", tag_keys=("stage",)),
    ]
    for metric in made:
        metric.set_default_tags({"stage": stage})
    return made
