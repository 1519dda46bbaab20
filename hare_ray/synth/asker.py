"""Requests to one server: counted, paced, and waited with while nobody is there.

A request that ended in trouble closes the gate until the server says that it is up; rows wait before it and cost
nothing. A 5xx is most often its row's own: then the gate stays open while the server is asked, once for all who want
to know. The run ends where no answer has come for as long as the server is worth waiting for: 20 s for somebody
else's that never gave one, 2 minutes for one that did, 15 for ours, which may have a model to load.

Whether a row died with the server: its request was taken (a connection stood) and then lost, or ended in a 503 that
came late, or in a 5xx after which the server was down. A refusal says nothing about the row.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from hare_ray.synth.endpoint import (
    ABSENT,
    BUSY,
    DOWN,
    FAILED,
    LOST,
    Answer,
    Endpoint,
    Question,
    Sampling,
    Trouble,
    ask_once,
)
from hare_ray.synth.greeting import is_up, load_of, nobody
from hare_ray.synth.pace import START, TARGET, Pace

if TYPE_CHECKING:
    from aiohttp import ClientSession

LOOK_SECONDS = 2.0
"""Between two looks at a server's load, beside what its answers say."""

LOOK_WEIGHT = 0.5
"""Of such a look in the estimate."""

SILENT_LOOKS = 5
"""Looks without a load, after which the throughput decides."""

RARE_LOOK_SECONDS = 300.0
"""Between two looks from then on: one day another server may stand there."""

STALLED_SECONDS = 60.0
"""Without any answer, after which a server is asked whether it is up: a hanging one accepts requests for ever."""

FIRST_PROBE_SECONDS, LONGEST_PROBE_SECONDS = 0.25, 5.0
"""Between two questions whether it is up again."""

REFUSAL_SECONDS = 0.5
"""A 503 that takes longer came after the request was taken in."""


class Asker:
    """One client task's requests."""

    def __init__(self, session: ClientSession, endpoint: Endpoint, sampling: Sampling, most: int) -> None:
        """At most `most` in flight."""
        self._session, self._endpoint, self._sampling, self._most = session, endpoint, sampling, most
        self.pace = Pace(most)
        self.in_flight = self.most_in_flight = 0
        self.up = asyncio.Event()
        """The gate."""
        self.up.set()
        self.changed = asyncio.Event()
        """Something ended, or more may be asked."""
        self.answered_at: float | None = None
        self._heard_at = time.monotonic()
        self._trouble_since: float | None = None
        self._downs = 0
        self._said = ""
        self._silent = 0
        self._look_at = 0.0
        self._asking_health = asyncio.Lock()
        self._health_asked_at = 0.0

    async def begin(self) -> None:
        """Learn the server's capacity, if it tells."""
        load = await load_of(self._session, self._endpoint)
        if load is not None:
            start = TARGET * load.capacity if load.capacity else START
            self.pace = Pace(self._most, start)
            self.pace.seen(load, 0)

    async def ask(self, question: Question) -> tuple[Answer | Trouble, bool]:
        """One request; and whether its row may be what the server died of. The caller waits for gate and pace."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        sent, downs = time.monotonic(), self._downs
        try:
            outcome, load = await ask_once(self._session, self._endpoint, self._sampling, question)
        finally:
            self.in_flight -= 1
            self.changed.set()
        now = time.monotonic()
        self._heard_at = now
        if load is not None:
            self.pace.seen(load, self.in_flight + 1)
        if isinstance(outcome, Answer):
            self._trouble_since = None
            self.answered_at = now
            self.pace.ended(outcome.completion_tokens or 1, self.in_flight + 1, now)
            return outcome, False
        await self._trouble(outcome)
        if outcome.kind == BUSY or (outcome.kind == DOWN and self._downs == downs):  # it is there, and refuses
            self.pace.refused(sent, self.in_flight + 1, now)
        late = outcome.kind == DOWN and now - sent > REFUSAL_SECONDS
        died = outcome.kind == LOST or late or (outcome.kind in (DOWN, FAILED) and self._downs > downs)
        return outcome, died

    async def _trouble(self, outcome: Trouble) -> None:
        """Wait for the server, where it may be gone; stop where that takes too long."""
        if self._trouble_since is None:
            self._trouble_since = time.monotonic()
        self._said = outcome.said
        if outcome.kind == FAILED:
            await self._unless_up()
        elif outcome.kind != BUSY:
            await self._until_up()
        self._check_patience()

    def _check_patience(self) -> None:
        if self._trouble_since is not None and time.monotonic() - self._trouble_since > self._patience():
            raise nobody(self._endpoint, self._said)

    def _patience(self) -> float:
        if self.answered_at is None and not self._endpoint.ours:
            return self._endpoint.first_patience_seconds
        return self._endpoint.patience_seconds

    async def _unless_up(self) -> None:
        """Close the gate if the server is down; one question is enough for all that failed before it was asked."""
        failed_at = time.monotonic()
        async with self._asking_health:
            if self._health_asked_at < failed_at:
                self._health_asked_at = time.monotonic()
                if not (self.up.is_set() and await is_up(self._session, self._endpoint)):
                    await self._until_up()

    async def _until_up(self) -> None:
        """Close the gate until the server is up; whoever comes second waits with the first."""
        if not self.up.is_set():
            await self.up.wait()
            return
        self.up.clear()
        pause, down = FIRST_PROBE_SECONDS, False
        while not await is_up(self._session, self._endpoint):
            if not down:
                down = True
                self._downs += 1
            self._check_patience()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PROBE_SECONDS)
        self.up.set()
        self.changed.set()

    def back(self) -> None:
        """The server came back after a row that it may have died of: patience begins anew."""
        self._trouble_since = None

    async def watch(self) -> None:
        """Look at the load now and then, and whether a server that says nothing is there at all."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self.up.is_set():
                continue
            if time.monotonic() >= self._look_at:
                await self._look()
            now = time.monotonic()
            if self.in_flight and now - self._heard_at > STALLED_SECONDS:
                await self._trouble(Trouble(ABSENT, f"no answer for {now - self._heard_at:.0f} s"))
                self._heard_at = now
                self._trouble_since = None  # it is up, and slow

    async def _look(self) -> None:
        """At the load; rarely where the server never says it."""
        load = await load_of(self._session, self._endpoint)
        if load is not None:
            self._silent, self._look_at = 0, 0.0
            self.pace.seen(load, self.in_flight, LOOK_WEIGHT)
            self.changed.set()
            return
        self._silent += 1
        if self._silent == SILENT_LOOKS:
            self.pace.silent()
        if self._silent >= SILENT_LOOKS:
            self._look_at = time.monotonic() + RARE_LOOK_SECONDS
