"""A client of any server that speaks the OpenAI wire format: many prompts in flight, each answered once.

    POST {url}/completions        {"model", "prompt", ...}      -> choices[0].text
    POST {url}/chat/completions   {"model", "messages", ...}    -> choices[0].message.content
    GET  {url}/models                                           -> the names it serves

What a server says, and what becomes of the prompt:

    200                          an answer, with its finish reason and the tokens the server counted
    429, 5xx, lost connection    asked again after min(60 s, 0.5 s * 2^attempt), half of it random, or after
                                 Retry-After where the server names a longer time; 12 times, within REQUEST_SECONDS
    other 4xx                    a row `error: ...`: this prompt is refused (too long, say), others are not
    401, 403, 404                the run stops: every prompt would get the same
    nobody there, to the end     the run stops: what was answered is journaled, and the same command goes on

The key is read from OPENAI_API_KEY where it is used and kept nowhere. A seed goes with every request, so that a
server that honours it answers alike the second time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from hare_ray.synth.prompt import ERROR, LENGTH, STOP

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

KEY = "OPENAI_API_KEY"

REQUEST_SECONDS = 900.0
"""For one prompt with all its repetitions: a full queue of long answers takes minutes, a hanging server forever."""

ATTEMPTS = 12
"""With the waits between them more than two minutes: a server that restarts is waited for."""

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0

GREETING_ATTEMPTS = 4
"""Of the first question, the names it serves: a wrong address is told within a few seconds."""

MESSAGE_CHARS = 300
"""Kept of what a server says about an error."""


@dataclass(frozen=True)
class Sampling:
    """How to draw an answer."""

    chat: bool
    max_tokens: int
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, whom, and how long to wait for one prompt."""

    url: str
    llm: str
    request_seconds: float = REQUEST_SECONDS
    first_wait_seconds: float = FIRST_WAIT_SECONDS


@dataclass(frozen=True)
class Answer:
    """What came back for one prompt; no text where none came."""

    text: str | None
    finish: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class _Reply:
    status: int
    text: str
    retry_after_seconds: float


def headers() -> dict[str, str]:
    """The authorisation, where there is a key."""
    key = os.environ.get(KEY)
    return {"Authorization": f"Bearer {key}"} if key else {}


def body(sampling: Sampling, llm: str, prompt: str, seed: int) -> dict[str, Any]:
    """The request for one prompt."""
    asked = {"messages": [{"role": "user", "content": prompt}]} if sampling.chat else {"prompt": prompt}
    drawn = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p}
    return {"model": llm, **asked, **drawn, "seed": seed}


def wait_seconds(attempt: int, first: float, retry_after: float) -> float:
    """How long to wait after a failed attempt (0, 1, ...): doubled each time, half of it random."""
    step = min(LONGEST_WAIT_SECONDS, first * 2**attempt)
    return max(retry_after, step / 2 + random.uniform(0, step / 2))


def retry_after_seconds(value: str | None, now: float) -> float:
    """Seconds that a Retry-After header (seconds, or a date) asks for; 0 where there is none or it is senseless."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return 0.0


def read_answer(text: str, chat: bool) -> Answer:
    """The answer in the body of a 200; an error row where it does not hold one."""
    try:
        found = json.loads(text)
        choice = found["choices"][0]
        content = choice["message"]["content"] if chat else choice["text"]
        finish = choice.get("finish_reason") or STOP
        usage = found.get("usage") or {}
        counted = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return Answer(None, f"{ERROR}: no answer in the reply ({type(error).__name__}): {text[:MESSAGE_CHARS]}")
    if finish not in (STOP, LENGTH):
        finish = f"{ERROR}: ended by {finish}"
    return Answer(content, finish, *counted)


async def ask(session: ClientSession, endpoint: Endpoint, sampling: Sampling, prompt: str, seed: int) -> Answer:
    """The answer to one prompt.

    Raises:
        PermissionError, ValueError: no prompt would be answered there.
        ConnectionError: nobody answers there, however often asked.
    """
    path = "chat/completions" if sampling.chat else "completions"
    try:
        async with asyncio.timeout(endpoint.request_seconds):
            reply = await _insisting(session, endpoint, path, body(sampling, endpoint.llm, prompt, seed), ATTEMPTS)
    except TimeoutError:
        return Answer(None, f"{ERROR}: no answer within {endpoint.request_seconds:g} s")
    if reply.status == HTTPStatus.OK:
        return read_answer(reply.text, sampling.chat)
    _stop_where_all_would_fail(endpoint, path, reply)
    return Answer(None, f"{ERROR}: HTTP {reply.status}: {_message(reply.text)}")


async def greet(session: ClientSession, endpoint: Endpoint) -> str:
    """The name of the model to ask for: the one given, if it is served, or the only one that is.

    Raises:
        PermissionError, ValueError, ConnectionError: as `ask`, and where the name is not served or must be chosen.
    """
    try:
        async with asyncio.timeout(endpoint.request_seconds):
            reply = await _insisting(session, endpoint, "models", None, GREETING_ATTEMPTS)
    except TimeoutError as error:
        raise _nobody(endpoint, f"no answer within {endpoint.request_seconds:g} s") from error
    if reply.status == HTTPStatus.NOT_FOUND and endpoint.llm:
        return endpoint.llm  # some servers have no such list
    _stop_where_all_would_fail(endpoint, "models", reply)
    try:
        names = [entry["id"] for entry in json.loads(reply.text)["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{endpoint.url}/models answered HTTP {reply.status} {reply.text[:MESSAGE_CHARS]!r}; expected a list of "
            "models as OpenAI's API gives it; check the endpoint (its address ends in /v1 with most servers)"
        ) from error
    if endpoint.llm in names or (not endpoint.llm and len(names) == 1):
        return endpoint.llm or names[0]
    raise ValueError(f"{endpoint.url} serves {names}, given llm={endpoint.llm!r}; give one of these names as llm")


async def _insisting(
    session: ClientSession, endpoint: Endpoint, path: str, sent: dict[str, Any] | None, attempts: int
) -> _Reply:
    """The first reply that is no passing trouble, or the last one; ConnectionError where there was none at all."""
    import aiohttp

    for attempt in range(attempts):
        pause = 0.0
        try:
            reply = await _once(session, endpoint, path, sent)
            if not _passing(reply.status) or attempt == attempts - 1:
                return reply
            pause = reply.retry_after_seconds
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            if attempt == attempts - 1:
                raise _nobody(endpoint, f"{type(error).__name__}: {error}") from error
        except aiohttp.InvalidURL as error:
            raise ValueError(f"given endpoint={endpoint.url!r}, expected an URL such as http://host:8000/v1") from error
        await asyncio.sleep(wait_seconds(attempt, endpoint.first_wait_seconds, pause))
    raise AssertionError("the last attempt returns or raises")


async def _once(session: ClientSession, endpoint: Endpoint, path: str, sent: dict[str, Any] | None) -> _Reply:
    url = f"{endpoint.url.rstrip('/')}/{path}"
    method = session.get(url) if sent is None else session.post(url, json=sent)
    async with method as response:
        return _Reply(response.status, await response.text(errors="replace"), _asked_pause(response))


def _asked_pause(response: ClientResponse) -> float:
    return retry_after_seconds(response.headers.get("Retry-After"), time.time())


def _passing(status: int) -> bool:
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _stop_where_all_would_fail(endpoint: Endpoint, path: str, reply: _Reply) -> None:
    """Raise for an answer that every other prompt would get too."""
    said = f"{endpoint.url}/{path} answered HTTP {reply.status} ({_message(reply.text)})"
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        given = f"a key was given in {KEY}" if os.environ.get(KEY) else f"no key was given in {KEY}"
        raise PermissionError(
            f"{said}; {given}, expected one that may ask there; set the environment "
            f"variable {KEY} where the workers of Ray run: before `ray start`, or in the runtime environment of the job"
        )
    if reply.status == HTTPStatus.NOT_FOUND:
        raise ValueError(
            f"{said}; given endpoint={endpoint.url!r} and llm={endpoint.llm!r}, expected the base address of an "
            "OpenAI-compatible server and a model it serves; its address ends in /v1 with most servers"
        )


def _nobody(endpoint: Endpoint, what: str) -> ConnectionError:
    return ConnectionError(
        f"nobody answers at {endpoint.url} ({what}); expected an OpenAI-compatible server such as `vllm serve MODEL`; "
        "start it and run the same command again (what was answered is kept), or give another endpoint"
    )


def _message(text: str) -> str:
    """What a server says in the body of an error."""
    try:
        found = json.loads(text)
    except ValueError:
        return text.strip()[:MESSAGE_CHARS]
    error = found.get("error", found) if isinstance(found, dict) else found
    said = error.get("message", error) if isinstance(error, dict) else error
    return str(said)[:MESSAGE_CHARS]
