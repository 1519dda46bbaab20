"""Questions to a server beside the prompts: which models it serves, whether it is up, how full it is.

    GET {url}/models          the names it serves: asked before the first prompt
    GET {server}/health       up or not; those of our replicas also say how full they are
    GET {server}/metrics      gauges of vLLM (vllm:num_requests_running, _waiting) and SGLang (sglang:num_running_reqs,
                              num_queue_reqs), summed over engines

`server` is the URL without /v1. A server that has no such route is up if it answers /models, and says nothing of its
load: then the pace is found by throughput (`hare_ray.synth.pace`).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from hare_ray.synth.endpoint import (
    ABSENT,
    LOST,
    MESSAGE_CHARS,
    Endpoint,
    Load,
    Reply,
    Trouble,
    exchange,
    message,
    passing,
    stop_where_all_would_fail,
    wait_seconds,
)

if TYPE_CHECKING:
    from aiohttp import ClientSession

PROBE_SECONDS = 10.0
"""For an answer to such a question: it asks for no work, also of a busy server."""

CONNECTIONS = 4
"""Tried with somebody else's server before the first prompt: where nobody listens, waiting is no cure."""

GAUGE = re.compile(
    r"^(?:vllm:num_requests_(?P<vllm>running|waiting)|sglang:num_(?P<sglang>running|queue)_reqs)(?:\{[^}]*\})?\s+(\S+)",
    re.MULTILINE,
)

EMPTY = 0.5
"""Taken as the load of a server at which nobody waits: how much more it could work on it does not say."""


async def greet(session: ClientSession, endpoint: Endpoint) -> str:
    """The name of the model to ask for: the one given, if it is served, or the only one that is.

    Raises:
        PermissionError, ValueError, ConnectionError: nobody would be answered there, or the name is not served or
            must be chosen.
    """
    reply = await _insisting(session, endpoint)
    if reply.status == HTTPStatus.NOT_FOUND and endpoint.llm:
        return endpoint.llm  # some servers have no such list
    stop_where_all_would_fail(endpoint, "models", reply)
    try:
        names = [entry["id"] for entry in json.loads(reply.text)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{endpoint.url}/models answered HTTP {reply.status} {reply.text[:MESSAGE_CHARS]!r}; expected a list of "
            "models as OpenAI's API gives it; check the endpoint (its address ends in /v1 with most servers)"
        ) from error
    if endpoint.llm in names or (not endpoint.llm and len(names) == 1):
        return endpoint.llm or names[0]
    raise ValueError(f"{endpoint.url} serves {names}, given llm={endpoint.llm!r}; give one of these names as llm")


async def _insisting(session: ClientSession, endpoint: Endpoint) -> Reply:
    """The first reply that is no passing trouble; ConnectionError where none comes in time."""
    patience = endpoint.patience_seconds if endpoint.ours else endpoint.first_patience_seconds
    until, attempt = time.monotonic() + patience, 0
    while True:
        reply = await _quickly(session, endpoint, "models", max(0.0, until - time.monotonic()))
        if isinstance(reply, Reply) and not passing(endpoint, reply.status):
            return reply
        pause = wait_seconds(attempt, endpoint.first_wait_seconds, reply.retry_after_seconds)
        absent = isinstance(reply, Trouble) and reply.kind == ABSENT and not endpoint.ours
        if time.monotonic() + pause >= until or (absent and attempt + 1 == CONNECTIONS):
            raise nobody(endpoint, _said(reply))
        await asyncio.sleep(pause)
        attempt += 1


def _said(reply: Reply | Trouble) -> str:
    return reply.said if isinstance(reply, Trouble) else f"HTTP {reply.status}: {message(reply.text)}"


async def _quickly(
    session: ClientSession, endpoint: Endpoint, path: str, seconds: float = PROBE_SECONDS
) -> Reply | Trouble:
    seconds = min(seconds, PROBE_SECONDS)
    try:
        async with asyncio.timeout(seconds):
            return await exchange(session, endpoint, path)
    except TimeoutError:
        return Trouble(LOST, f"no answer within {seconds:.3g} s")


async def is_up(session: ClientSession, endpoint: Endpoint) -> bool:
    """Whether the server takes requests."""
    reply = await _quickly(session, endpoint, f"{endpoint.server}/health")
    if isinstance(reply, Reply) and not endpoint.ours and 400 <= reply.status < 500:  # it has no such route
        reply = await _quickly(session, endpoint, "models")
    return isinstance(reply, Reply) and (reply.status < 400 if endpoint.ours else not passing(endpoint, reply.status))


async def load_of(session: ClientSession, endpoint: Endpoint) -> Load | None:
    """How full the server is; None where it does not say."""
    if endpoint.ours:
        reply = await _quickly(session, endpoint, f"{endpoint.server}/health")
        return reply.load if isinstance(reply, Reply) else None
    reply = await _quickly(session, endpoint, f"{endpoint.server}/metrics")
    if isinstance(reply, Trouble) or reply.status != HTTPStatus.OK:
        return None
    return reply.load or read_metrics(reply.text)


def read_metrics(text: str) -> Load | None:
    """The load in the text of a metrics page; None where it has no such gauges."""
    running = waiting = 0.0
    found = False
    for vllm, sglang, value in GAUGE.findall(text):
        try:
            number = float(value)
        except ValueError:
            continue
        found = True
        if (vllm or sglang) == "running":
            running += number
        else:
            waiting += number
    if not found:
        return None
    return Load((running + waiting) / max(running, 1.0)) if waiting else Load(EMPTY)


def nobody(endpoint: Endpoint, what: str) -> ConnectionError:
    """No answer, for longer than is waited for."""
    return ConnectionError(
        f"nobody answers at {endpoint.url} ({what}); expected an OpenAI-compatible server such as `vllm serve MODEL`; "
        "start it and run the same command again (what was answered is kept), or give another endpoint"
    )
