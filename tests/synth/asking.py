"""A client for the tests of servers: many requests at once, each with status, headers and what was said."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

Reply = tuple[int, Mapping[str, str], Any]


async def ask(url: str, bodies: list[dict[str, Any]], key: str = "") -> list[Reply]:
    """All of them at the same time."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = {"connector": aiohttp.TCPConnector(limit=0), "timeout": aiohttp.ClientTimeout(total=None)}
    async with aiohttp.ClientSession(headers=headers, **limits) as session:

        async def one(body: dict[str, Any]) -> Reply:
            async with session.post(url + "/completions", json=body) as answer:
                json = answer.content_type == "application/json"
                return answer.status, answer.headers, await (answer.json() if json else answer.text())

        return await asyncio.gather(*(one(body) for body in bodies))


def complete(url: str, body: dict[str, Any], key: str = "") -> Reply:
    """One."""
    return asyncio.run(ask(url, [body], key))[0]


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    """Fail where it does not come true in time."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)
