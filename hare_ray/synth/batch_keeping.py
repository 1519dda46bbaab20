"""What the engines of the batch path tell, put together where the stage is asked: errors, parts, numbers for the books.

    Told, in any order -> errors in the journal, parts of GENERATED, tally

Errors are judged over all engines, as those of a server are (`hare_ray.synth.failures`): too many among the last rows
stop the run, and until that is clear none is journaled. So what failed because of the model is asked again. A part is
written as soon as each of its rows is kept.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hare_ray.gather import Desk
from hare_ray.synth import journal
from hare_ray.synth.batch_notes import Notes, Told
from hare_ray.synth.endpoint import Answer
from hare_ray.synth.failures import Window
from hare_ray.synth.meter import TALLY_SECONDS, Meter, Tally
from hare_ray.synth.prompt import STOP
from hare_ray.synth.server import Server

WAITING_SECONDS = 60.0
"""Between two lines that say what the first answer is waiting for."""

Stretch = tuple[int, int, int]
"""Part, first row, row behind the last."""

log = logging.getLogger("hare_ray")


class Keeping:
    """What the engines have told so far: the errors that are held back, and the parts that are not complete."""

    def __init__(self, desk: Desk, run: str, rows: list[int], stretches: list[Stretch]) -> None:
        """All rows of the stretches are to come, of parts of these `rows`."""
        self._desk, self._rows = desk, rows
        self._left: Counter[int] = Counter()
        for part, first, end in stretches:
            self._left[part] += end - first
        self._window: Window[tuple[int, int, bytes]] = Window(f"the model of {desk.stage!r}")
        self._in_flight: dict[str, int] = {}
        self._meter, self._tally = Meter(desk.stage.name, self.open), Tally(desk, run)
        self._retried, self._saved_at = 0, time.monotonic()

    @property
    def open(self) -> int:
        """Rows that are not kept."""
        return self._left.total()

    def take(self, told: Told, capacity: int) -> None:
        """A batch has ended, of engines that work on `capacity` rows at a time.

        Raises:
            ValueError: too many prompts fail.
        """
        errors = json.loads(told.errors)
        for row in range(told.rows):
            self._meter.ended(0 if row else told.tokens)
        self._retried += told.retried
        self._in_flight[told.engine] = max(told.in_flight, self._in_flight.get(told.engine, 0))
        # Answers first: within a batch nobody knows which row ended before which, and errors end at once.
        ended = [((told.part, -1, b""), Answer("", STOP))] * (told.asked - len(errors))
        ended += [((told.part, row, bytes.fromhex(key)), Answer(None, finish)) for row, finish, key in errors]
        clear = [one for row, answer in ended for one in self._window.ended(row, answer)]
        self._left[told.part] -= told.rows - len(errors)
        self._keep((row, answer) for row, answer in clear if answer.failed)
        self._finish(told.part)
        self._meter.tell(min(self.open, capacity))
        if time.monotonic() - self._saved_at > TALLY_SECONDS:
            self._saved_at = time.monotonic()
            self.close()

    def rest(self) -> None:
        """All batches have ended: what was held back is kept."""
        self._keep(self._window.rest())

    def close(self) -> None:
        """Keep the numbers for the books."""
        self._tally.values = {"retried": self._retried, "in_flight": sum(self._in_flight.values())}
        self._tally.save()

    def _keep(self, errors: Iterable[tuple[tuple[int, int, bytes], Answer]]) -> None:
        parts: dict[int, list[tuple[int, Answer, bytes]]] = {}
        for (part, row, key), answer in errors:
            parts.setdefault(part, []).append((row, answer, key))
        for part, rows in parts.items():
            journal.put_rows(self._desk, part, journal.table_of(rows))
            self._left[part] -= len(rows)
            self._finish(part)

    def _finish(self, part: int) -> None:
        if self._left[part] > 0 or part not in self._left:
            return
        if not journal.finish_part(self._desk, part, self._rows[part]):
            raise RuntimeError(f"{self._desk.stage!r}: part {part} lacks rows although each was kept")
        del self._left[part]


@contextmanager
def told_while_waiting(desk: Desk, run: str, server: Server) -> Iterator[threading.Event]:
    """Until the event is set or the block left: a line a minute that says what the first answer is waiting for."""
    begun = threading.Event()
    telling = threading.Thread(target=_tell, args=(Notes(desk, run), server, begun), daemon=True)
    telling.start()
    try:
        yield begun
    finally:
        begun.set()
        telling.join()


def _tell(notes: Notes, server: Server, begun: threading.Event) -> None:
    began = time.monotonic()
    first = lacking(server)
    if first:
        log.warning("%s: waiting for %s", server.name, first)
    while not begun.wait(WAITING_SECONDS):
        # Whatever is noted was noted by an engine's process: from then on nothing is lacking.
        cause = "an engine that is starting" if notes.begun() else lacking(server) or "Ray to start an engine's process"
        log.warning("%s: no answer after %.0f s: waiting for %s", server.name, time.monotonic() - began, cause)


def lacking(server: Server) -> str:
    """What one engine needs more than the cluster has free; empty where it has."""
    import ray

    free, there = ray.available_resources(), ray.cluster_resources()
    for resource, wanted in (("GPU", server.gpus), ("CPU", server.cpus)):
        if wanted > free.get(resource, 0.0):
            return f"{wanted} {resource}; {free.get(resource, 0):g} of {there.get(resource, 0):g} are free"
    return ""
