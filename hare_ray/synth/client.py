"""One client task: as many requests in flight as keep the server full, each row asked until it ended.

A row that was refused waits its time and comes before new ones; rows that wait count against the limit, so that no
more of them are held than can be in flight. Every row that ended goes to the journal.

An engine that dies takes all rows in flight with it, and one of them may be the reason. A row that was there at
SUSPECT_DEATHS deaths is asked no more beside others: the task returns it as a suspect, and
`hare_ray.synth.suspects` asks those when everything else is answered. A row to which a living server says 5xx needs no
quiet: it is asked FAILURES times among the others, has its reason then, and counts with those that stop the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import resource
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hare_ray.gather import Desk
from hare_ray.synth.asker import Asker
from hare_ray.synth.endpoint import BUSY, FAILED, Answer, Endpoint, Trouble, session_for, wait_seconds
from hare_ray.synth.failures import Window
from hare_ray.synth.journal import Journal
from hare_ray.synth.meter import TALLY_SECONDS, Meter, Tally
from hare_ray.synth.prompt import ERROR
from hare_ray.synth.prompts_left import Row, rows_left

if TYPE_CHECKING:
    from hare_ray.synth.generate import Generate

SUSPECT_DEATHS = 2
"""One may be chance: a lost machine."""

FAILURES = 4
"""Of one row, at a server that answered others meanwhile: the three waits between them, some 3 s, pass a hiccup."""

REFUSALS = 12
"""Of one row, by a server that answered others meanwhile; then it ends with the reason that the server gave."""

SPARE_FILES = 128
"""Of those that a process may open; each request in flight is one."""

Suspects = list[tuple[int, int]]
"""Part and row."""


def answer_parts(desk: Desk, endpoint: Endpoint, run: str, parts: list[int]) -> Suspects:
    """Answer the rows of these parts that have no answer, but for those that the server may die of."""
    try:
        return asyncio.run(_Client(desk, endpoint, run, parts).run())
    except BaseExceptionGroup as group:  # the first that stopped the others
        raise first(group) from None


def first(group: BaseExceptionGroup) -> BaseException:
    """The exception that a group began with."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def most_in_flight(wanted: int) -> int:
    """`wanted`, or what this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + SPARE_FILES:
        more = wanted + SPARE_FILES if hard == resource.RLIM_INFINITY else min(hard, wanted + SPARE_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
        soft = more
    return max(1, min(wanted, soft - SPARE_FILES))


@dataclass
class _Client:
    desk: Desk
    endpoint: Endpoint
    run_name: str
    parts: list[int]
    suspects: Suspects = field(default_factory=list)
    waiting: list[tuple[float, int, Row]] = field(default_factory=list)
    """Rows to ask again: when, a number that keeps order, and the row."""
    open: int = 0
    """Rows that were begun and have not ended."""
    retried: int = 0
    window: Window[Row] = field(init=False)
    journal: Journal = field(init=False)
    meter: Meter = field(init=False)
    tally: Tally = field(init=False)
    asker: Asker | None = None

    @property
    def stage(self) -> Generate:
        from hare_ray.synth.generate import Generate  # which runs clients

        assert isinstance(self.desk.stage, Generate)
        return self.desk.stage

    async def run(self) -> Suspects:
        sizes = self.desk.rows(self.stage.prompts)
        self.meter = Meter(self.stage.name, sum(sizes[part] for part in self.parts))
        self.tally = Tally(self.desk, self.run_name)
        self.window = Window(self.endpoint.url)
        self.journal = Journal(self.desk)
        try:
            async with session_for(self.endpoint) as session:
                most = most_in_flight(self.stage.concurrency)
                self.asker = Asker(session, self.endpoint, self.stage.sampling, most)
                await self.asker.begin()
                await self._run(self.asker)
            for row, answer in self.window.rest():
                self._keep(row, answer)
        finally:
            await self.journal.close()
            self._save()
        return self.suspects

    async def _run(self, asker: Asker) -> None:
        async with asyncio.TaskGroup() as tasks:
            watches = [tasks.create_task(asker.watch()), tasks.create_task(self._tell(asker))]
            await self._deal(tasks, asker)
            for watch in watches:
                watch.cancel()

    async def _tell(self, asker: Asker) -> None:
        told = time.monotonic()
        while True:
            await asyncio.sleep(1)
            self.meter.tell(asker.in_flight)
            if time.monotonic() - told > TALLY_SECONDS:
                told = time.monotonic()
                await asyncio.to_thread(self._save)

    def _save(self) -> None:
        if self.asker is not None:
            self.tally.values = {"retried": self.retried, "in_flight": self.asker.most_in_flight}
            self.tally.save()

    async def _deal(self, tasks: asyncio.TaskGroup, asker: Asker) -> None:
        """Begin rows as long as there are any, then wait for the last."""
        fresh = rows_left(self.desk, self.stage, self.parts, self.journal)
        exhausted = False
        while not exhausted or self.open:
            asker.changed.clear()
            row = self._due()
            if row is None and not exhausted and self.open < asker.pace.limit:
                row = await anext(fresh, None)
                exhausted = row is None
                self.open += row is not None
            if row is None:
                await self._changed(asker)
                continue
            while not (asker.up.is_set() and asker.in_flight < asker.pace.limit):
                asker.changed.clear()
                await asker.changed.wait()  # rows that are due meanwhile would not get through either
            tasks.create_task(self._one(row, asker))
            await asyncio.sleep(0)  # it counts itself as in flight

    def _due(self) -> Row | None:
        """A row whose wait is over."""
        if self.waiting and self.waiting[0][0] <= time.monotonic():
            return heapq.heappop(self.waiting)[2]
        return None

    async def _changed(self, asker: Asker) -> None:
        """Until something ended, or a wait is over."""
        if not self.open:
            return
        until = self.waiting[0][0] - time.monotonic() if self.waiting else None
        with contextlib.suppress(TimeoutError):
            # Not wait_for: up to Python 3.11 it swallows a cancellation that comes with the event.
            async with asyncio.timeout(None if until is None else max(until, 0.001)):
                await asker.changed.wait()

    async def _one(self, row: Row, asker: Asker) -> None:
        row.sent = time.monotonic()
        row.first_sent = row.first_sent or row.sent
        outcome, died = await asker.ask(row.question)
        if isinstance(outcome, Answer):
            self._ended(row, outcome)
        else:
            self._again(row, outcome, died, asker.answered_at)
        asker.changed.set()

    def _ended(self, row: Row, answer: Answer) -> None:
        self.open -= 1
        self.meter.ended(answer.completion_tokens)
        for ended, said in self.window.ended(row, answer):
            self._keep(ended, said)

    def _keep(self, row: Row, answer: Answer) -> None:
        self.journal.add(row.part, row.row, answer, row.request)

    def _again(self, row: Row, trouble: Trouble, died: bool, answered: float | None) -> None:
        """Ask it again later, or beside no others, or give it the reason that the server gave."""
        self.retried += 1
        row.attempts += 1
        row.deaths += died
        failed = trouble.kind == FAILED and not died
        others = answered is not None and answered > (row.first_sent if failed else row.sent)
        row.failures += failed
        row.refusals += others and not failed and not died
        if (failed and row.failures >= FAILURES and others) or (trouble.kind == BUSY and row.refusals >= REFUSALS):
            self._ended(row, Answer(None, f"{ERROR}: {trouble.said}"))
        elif row.deaths >= SUSPECT_DEATHS or row.refusals >= REFUSALS or row.failures >= FAILURES:
            self.suspects.append((row.part, row.row))
            self.open -= 1
        else:
            wait = wait_seconds(row.attempts - 1, self.endpoint.first_wait_seconds, trouble.retry_after_seconds)
            heapq.heappush(self.waiting, (time.monotonic() + wait, self.retried, row))
