"""Rows that were there when a server died, asked again when all others have their answers.

One that kills the engine takes all others in flight with it, so most suspects are innocent. They are asked in groups;
a group whose asking goes well is answered, and one that the server dies of is asked again in halves (group testing: a
row that kills among n costs log2 n deaths, asking one by one costs n answers). A row is blamed only after the server
died ALONE_DEATHS times with nothing else to do:

    error: the server died each time it was asked
    error: HTTP 500: ...                             where it lives and says so

It is one task that asks, the last of the stage, so that "alone" is true of the whole run.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from hare_ray.gather import Desk
from hare_ray.synth.asker import Asker
from hare_ray.synth.client import REFUSALS, Suspects, first, most_in_flight
from hare_ray.synth.endpoint import BUSY, FAILED, Answer, Endpoint, Trouble, session_for, wait_seconds
from hare_ray.synth.failures import FAILED_SHARE, LEAST_FAILED, kind_of, stopped
from hare_ray.synth.journal import Journal
from hare_ray.synth.prompt import ERROR
from hare_ray.synth.prompts_left import Row, read_rows

if TYPE_CHECKING:
    from hare_ray.synth.generate import Generate

ALONE_DEATHS = 2
"""Once may still be chance."""

GROUP = 64
"""Rows asked together at first: fewer than an engine works on, and six halvings from one."""

DIED = f"{ERROR}: the server died each time it was asked"


def answer_suspects(desk: Desk, endpoint: Endpoint, suspects: Suspects) -> None:
    """Answer these rows, or give them their reason."""
    try:
        asyncio.run(_Suspects(desk, endpoint).run(sorted(suspects)))
    except BaseExceptionGroup as group:
        raise first(group) from None


class _Suspects:
    def __init__(self, desk: Desk, endpoint: Endpoint) -> None:
        from hare_ray.synth.generate import Generate  # which runs this

        assert isinstance(desk.stage, Generate)
        self._desk, self._endpoint = desk, endpoint
        self._stage: Generate = desk.stage
        self._failed: list[tuple[Row, Answer]] = []

    async def run(self, suspects: Suspects) -> None:
        journal = Journal(self._desk)
        try:
            async with session_for(self._endpoint) as session:
                most = most_in_flight(GROUP)
                self._asker = Asker(session, self._endpoint, self._stage.sampling, most)
                for some in _cut(suspects, GROUP):
                    await self._settle(self._read(some), journal)
            for row, answer in self._failed:
                journal.add(row.part, row.row, answer, row.request)
        finally:
            await journal.close()

    def _read(self, suspects: Suspects) -> list[Row]:
        return [
            row
            for part, some in groupby(suspects, key=lambda suspect: suspect[0])
            for row in read_rows(self._desk, self._stage, part, np.array([row for _, row in some]))
        ]

    async def _settle(self, rows: list[Row], journal: Journal) -> None:
        """Ask a group, then what is left of it in halves, until each row has ended."""
        stack = [rows]
        while stack:
            group = stack.pop()
            outcomes = await self._together(group)
            left: list[Row] = []
            for row, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, Trouble) and (len(group) > 1 or self._innocent(row)):
                    left.append(row)
                else:
                    self._ended(row, _reason(outcome), journal)
            if left:
                half = -(-len(left) // 2) if len(group) > 1 else 1
                stack += reversed(_cut(left, half))

    def _innocent(self, row: Row) -> bool:
        row.deaths += 1
        return row.deaths < ALONE_DEATHS

    def _ended(self, row: Row, answer: Answer, journal: Journal) -> None:
        if not kind_of(answer):
            journal.add(row.part, row.row, answer, row.request)
            return
        self._failed.append((row, answer))
        total = sum(self._desk.rows(self._stage.prompts))
        if len(self._failed) >= LEAST_FAILED and len(self._failed) > FAILED_SHARE * total:
            raise stopped(self._endpoint.url, len(self._failed), total, answer.finish)

    async def _together(self, rows: list[Row]) -> list[Answer | Trouble]:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._ask(row)) for row in rows]
        self._asker.back()
        return [task.result() for task in asked]

    async def _ask(self, row: Row) -> Answer | Trouble:
        """The outcome, once the server is up and not busy."""
        attempt = 0
        while True:
            await self._asker.up.wait()
            outcome, died = await self._asker.ask(row.question)
            if isinstance(outcome, Answer) or died or outcome.kind == FAILED:
                return outcome
            attempt += 1
            if attempt == REFUSALS:
                return Answer(None, f"{ERROR}: {outcome.said}") if outcome.kind == BUSY else outcome
            await asyncio.sleep(wait_seconds(attempt, self._endpoint.first_wait_seconds, outcome.retry_after_seconds))


def _cut(rows: list, size: int) -> list[list]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def _reason(outcome: Answer | Trouble) -> Answer:
    if isinstance(outcome, Answer):
        return outcome
    return Answer(None, f"{ERROR}: {outcome.said}" if outcome.kind == FAILED else DIED)
