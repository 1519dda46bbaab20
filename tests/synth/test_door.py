"""The door of a served model, asked by hand: who is let in, who is refused how, and what everybody is told."""

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from hare_ray.synth.door import LONGEST_WAIT_SECONDS, RESTART_SECONDS, UNKNOWN_WAIT_SECONDS, WAITING, Door


@dataclass
class Reply:
    messages: list = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.messages[0]["headers"] if key == name.encode()]
        assert len(found) <= 1
        return found[0].decode() if found else None

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


async def knock(door, path="/v1/completions", method="POST", key=None, root="", scheme="Bearer") -> Reply:
    headers = [] if key is None else [(b"authorization", f"{scheme} {key}".encode())]
    scope = {"type": "http", "method": method, "path": root + path, "root_path": root, "headers": headers}
    reply = Reply()

    async def receive():
        return {"type": "http.request", "body": b"{}"}

    async def send(message):
        reply.messages.append(message)

    await door(scope, receive, send)
    return reply


class Engine:
    """An app that answers when it is told to."""

    def __init__(self, status: int = 200) -> None:
        self.go = asyncio.Event()
        self.status = status
        self.asked = self.ended = 0

    async def __call__(self, scope, receive, send) -> None:
        self.asked += 1
        try:
            await self.go.wait()
            await send({"type": "http.response.start", "status": self.status, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
        finally:
            self.ended += 1


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def ready(status: int = 200) -> Engine:
    engine = Engine(status)
    engine.go.set()
    return engine


async def filled(door: Door) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(knock(door)) for _ in range((1 + WAITING) * door.capacity)]
    await asyncio.sleep(0.01)
    return tasks


def test_an_answer_passes_unchanged_with_the_load_in_its_headers():
    reply = asyncio.run(knock(Door(ready(), capacity=4)))
    assert (reply.status, reply.body) == (200, b"ok")
    assert (reply.header("x-hare-running"), reply.header("x-hare-capacity")) == ("1", "4")
    assert reply.header("content-length") == "2"


@pytest.mark.parametrize("given", [None, "", "wrong", "secre", "secrets", "SECRET"])
def test_without_the_key_nobody_reaches_the_engine(given):
    engine = ready()
    for method, path in (("POST", "/v1/completions"), ("GET", "/v1/models"), ("POST", "/health/../v1/completions")):
        reply = asyncio.run(knock(Door(engine, 4, key="secret"), path, method, key=given))
        assert reply.status == 401
        assert (reply.header("www-authenticate") or "").startswith("Bearer")
        assert "Authorization" in json.loads(reply.body)["error"]["message"]
        assert b"secret" not in reply.body
    assert engine.asked == 0


def test_with_the_key_as_bearer_everything_is_reached():
    engine = ready()
    door = Door(engine, 4, key="secret")
    assert asyncio.run(knock(door, key="secret")).status == 200
    assert asyncio.run(knock(door, key="secret", scheme="bearer")).status == 200
    assert asyncio.run(knock(door, "/v1/models", "GET", key="secret")).status == 200
    assert asyncio.run(knock(door, key="secret", scheme="Basic")).status == 401
    assert engine.asked == 3


def test_health_is_open_and_speaks_also_under_a_prefix():
    door = Door(ready(), 4, key="secret")
    for root in ("", "/hare-12"):
        reply = asyncio.run(knock(door, "/health", "GET", root=root))
        assert reply.status == 200
        assert json.loads(reply.body) == {"status": "ok", "running": 0, "capacity": 4}
    door.close("it is over", drop=False)
    reply = asyncio.run(knock(door, "/health", "GET"))
    assert (reply.status, json.loads(reply.body)["status"]) == (503, "it is over")


def test_more_than_may_wait_are_refused_and_let_in_when_there_is_room():
    async def act() -> None:
        engine = Engine()
        door = Door(engine, capacity=4)
        tasks = await filled(door)
        reply = await knock(door)
        assert (reply.status, reply.header("retry-after")) == (429, str(UNKNOWN_WAIT_SECONDS))
        assert reply.header("x-hare-running") == "12"
        assert (await knock(door, "/health", "GET")).status == 200
        engine.go.set()
        assert {reply.status for reply in await asyncio.gather(*tasks)} == {200}
        assert (await knock(door)).status == 200
        assert engine.asked == 13

    asyncio.run(act())


def test_retry_after_is_the_queue_over_the_rate_of_late():
    async def act(answered: int, seconds: float) -> str | None:
        clock = Clock()
        engine = ready()
        door = Door(engine, capacity=8, clock=clock)
        for _ in range(answered):
            await knock(door)
        clock.now += seconds
        engine.go.clear()
        tasks = await filled(door)
        reply = await knock(door)
        engine.go.set()
        await asyncio.gather(*tasks)
        assert reply.status == 429
        return reply.header("retry-after")

    assert asyncio.run(act(20, 10)) == "8"  # 16 wait, 2 a second are answered
    assert asyncio.run(act(4000, 1)) == "1"
    assert asyncio.run(act(1, 29)) == str(LONGEST_WAIT_SECONDS)
    assert asyncio.run(act(20, 31)) == str(UNKNOWN_WAIT_SECONDS)  # too long ago to tell


def test_a_dead_engine_is_a_503_and_no_500():
    for engine, reached in ((ready(500), 0), (ready(200), 0)):
        reply = asyncio.run(knock(Door(engine, 4, dead=lambda: True)))
        assert (reply.status, reply.header("retry-after")) == (503, str(RESTART_SECONDS))
        assert reply.header("x-hare-lost") is None
        assert engine.asked == reached


def test_an_engine_that_dies_with_requests_inside_gives_them_503():
    async def act() -> None:
        engine, died = Engine(500), []
        door = Door(engine, 4, dead=lambda: bool(died))
        tasks = [asyncio.create_task(knock(door)) for _ in range(3)]
        await asyncio.sleep(0.01)
        died.append(True)
        engine.go.set()
        replies = await asyncio.gather(*tasks)
        assert {(reply.status, reply.header("retry-after")) for reply in replies} == {(503, str(RESTART_SECONDS))}
        assert {reply.header("x-hare-lost") for reply in replies} == {"1"}

    asyncio.run(act())


def test_an_error_of_a_living_engine_stays_what_it_is():
    reply = asyncio.run(knock(Door(ready(500), 4)))
    assert (reply.status, reply.header("retry-after"), reply.header("x-hare-lost")) == (500, None, None)


def test_closing_drops_those_who_wait_or_lets_them_finish():
    async def act(drop: bool) -> set[tuple[int, str | None]]:
        engine = Engine()
        door = Door(engine, 4)
        tasks = [asyncio.create_task(knock(door)) for _ in range(3)]
        await asyncio.sleep(0.01)
        door.close("the engine hangs", drop=drop)
        late = await knock(door)
        assert (late.status, late.header("x-hare-lost")) == (503, None)
        if not drop:
            engine.go.set()
        replies = await asyncio.gather(*tasks)
        assert engine.ended == 3
        assert door.running == 0
        return {(reply.status, reply.header("x-hare-lost")) for reply in replies}

    assert asyncio.run(act(drop=True)) == {(503, "1")}
    assert asyncio.run(act(drop=False)) == {(200, None)}


def test_a_client_that_leaves_takes_its_request_along():
    async def act() -> None:
        engine = Engine()
        door = Door(engine, 4)
        task = asyncio.create_task(knock(door))
        await asyncio.sleep(0.01)
        assert door.running == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (door.running, engine.ended) == (0, 1)

    asyncio.run(act())


def test_websockets_are_closed_and_lifespan_passes():
    seen, sent = [], []

    async def app(scope, receive, send) -> None:
        seen.append(scope["type"])

    async def send(message) -> None:
        sent.append(message["type"])

    async def receive():
        return {"type": "lifespan.startup"}

    door = Door(app, 4, key="secret")
    for kind in ("lifespan", "websocket"):
        asyncio.run(door({"type": kind, "path": "/v1/realtime", "headers": []}, receive, send))
    assert (seen, sent) == (["lifespan"], ["websocket.close"])
