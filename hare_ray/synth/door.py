"""The door of a served model: plain ASGI around an engine's routes. Nobody who knocks is kept waiting for ever.

    no key, a wrong key          401, WWW-Authenticate         the key is compared in constant time
    too many are inside          429, Retry-After              inside: being worked on, or waiting for it
    the engine is dead, or the   503, Retry-After              also for those inside whose answer had not begun, with
      door is shut                                             `x-hare-lost: 1`: one of them may be what killed it
    GET /health                  200 or 503                    open to all; {"status", "running", "capacity"}

An engine works on `capacity` sequences at a time; WAITING times as many may wait inside it, where they cost memory
but no time. More than that would only grow a queue that its clients cannot see. Retry-After is the time in which the
rate of the last RATE_SECONDS empties that queue.

Every answer carries `x-hare-running` (requests inside) and `x-hare-capacity`, from which a client learns how many
to send: the engine is full as long as running is above capacity.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

WAITING = 2
"""Requests that may wait inside, as a multiple of the capacity: as long as two generations of sequences."""

RATE_SECONDS = 30.0
"""Answers of this time tell the rate."""

RATE_ANSWERS = 4096
"""At most; a rate from the last of them is as good."""

SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1, 60
UNKNOWN_WAIT_SECONDS = 10
"""While nothing was answered yet: a model that has just been loaded."""

RESTART_SECONDS = 10
"""Retry-After while a replica is replaced."""

POLICY_VIOLATION = 1008
"""Of RFC 6455: how a websocket is refused."""

RUNNING, CAPACITY = b"x-hare-running", b"x-hare-capacity"

LOST: tuple[bytes, bytes] = (b"x-hare-lost", b"1")
"""With the 503 of a request that was inside when the engine ended, and of no other."""


class Door:
    """Lets requests through to `app` that hold the key, as long as there is room and the engine lives."""

    def __init__(
        self,
        app: App,
        capacity: int,
        key: str = "",
        dead: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`dead` says that the engine is; '' as key lets everyone in."""
        self.app = app
        self.capacity = capacity
        self.shut = ""
        """Why nobody is let in."""
        self._key = key.encode()
        self._dead = dead
        self._clock = clock
        self._answered: deque[float] = deque(maxlen=RATE_ANSWERS)
        self._inside: set[asyncio.Future[None]] = set()

    @property
    def running(self) -> int:
        """Requests inside."""
        return len(self._inside)

    def close(self, why: str, *, drop: bool) -> None:
        """Let nobody in any more; with `drop` those inside get a 503 at once instead of their answer."""
        self.shut = why
        if drop:
            for work in self._inside:
                work.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        elif scope["path"].removeprefix(scope.get("root_path", "")) == "/health":
            await self._health(send)
        elif not holds_key(scope, self._key):
            await refuse_key(send, self._load())
        elif scope["method"] == "POST":
            await self._generate(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.shut or self._dead():
            await self._unavailable(send)
        elif self.running >= (1 + WAITING) * self.capacity:
            said = f"{self.running} requests are here and {self.capacity} are worked on at a time; come back later"
            await refuse(send, HTTPStatus.TOO_MANY_REQUESTS, said, [*self._load(), retry_after(self._queue_seconds())])
        else:
            await self._let_in(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._mark(message)
            await send(message)

        work = asyncio.ensure_future(self.app(scope, receive, answer))
        self._inside.add(work)
        try:
            await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.shut or begun or (task is not None and task.cancelling()):
                raise  # the client has gone
            await self._unavailable(send, LOST)
        finally:
            self._inside.discard(work)
            self._answered.append(self._clock())

    def _mark(self, message: Message) -> None:
        """Add what a client must know; an error made by a dead engine is none of the request."""
        more = self._load()
        if message["status"] == HTTPStatus.INTERNAL_SERVER_ERROR and (self.shut or self._dead()):
            message["status"] = int(HTTPStatus.SERVICE_UNAVAILABLE)
            more += [retry_after(RESTART_SECONDS), LOST]
        message["headers"] = [*message.get("headers", ()), *more]

    async def _health(self, send: Send) -> None:
        ill = self.shut or ("the engine is dead" if self._dead() else "")
        status = HTTPStatus.SERVICE_UNAVAILABLE if ill else HTTPStatus.OK
        said = {"status": ill or "ok", "running": self.running, "capacity": self.capacity}
        await respond(send, status, said, self._load())

    async def _unavailable(self, send: Send, *more: tuple[bytes, bytes]) -> None:
        said = self.shut or "the engine is dead; another is started"
        await refuse(send, HTTPStatus.SERVICE_UNAVAILABLE, said, [*self._load(), retry_after(RESTART_SECONDS), *more])

    def _load(self) -> Headers:
        return [(RUNNING, b"%d" % self.running), (CAPACITY, b"%d" % self.capacity)]

    def _queue_seconds(self) -> int:
        """Until nobody waits any more, at the rate of late."""
        now = self._clock()
        while self._answered and self._answered[0] < now - RATE_SECONDS:
            self._answered.popleft()
        if not self._answered:
            return UNKNOWN_WAIT_SECONDS
        took = max(now - self._answered[0], 1e-3)
        seconds = math.ceil((self.running - self.capacity) * took / len(self._answered))
        return min(max(seconds, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)


def holds_key(scope: Scope, key: bytes) -> bool:
    """Whether the request's bearer token is `key`; everyone holds the empty one."""
    if not key:
        return True
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, token = given.partition(b" ")
    return hmac.compare_digest(token.strip(), key) and scheme.lower() == b"bearer"


def retry_after(seconds: int) -> tuple[bytes, bytes]:
    """The header."""
    return b"retry-after", b"%d" % seconds


async def refuse_key(send: Send, headers: Headers) -> None:
    """401 as RFC 6750 and OpenAI's clients expect it."""
    said = "expected the header `Authorization: Bearer KEY` with the key of this server"
    await refuse(send, HTTPStatus.UNAUTHORIZED, said, [*headers, (b"www-authenticate", b'Bearer realm="hare"')])


async def refuse(send: Send, status: HTTPStatus, said: str, headers: Headers) -> None:
    """An error in OpenAI's form."""
    error = {"message": said, "type": status.phrase, "param": None, "code": int(status)}
    await respond(send, status, {"error": error}, headers)


async def respond(send: Send, status: HTTPStatus, said: dict[str, Any], headers: Headers) -> None:
    """A whole answer in JSON."""
    data = json.dumps(said).encode()
    form = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": int(status), "headers": [*form, *headers]})
    await send({"type": "http.response.body", "body": data})
