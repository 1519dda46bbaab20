"""The OpenAI wire format: one request, and what its outcome means for its row.

    POST {url}/completions        {"model", "prompt", ...}      -> choices[0].text
    POST {url}/chat/completions   {"model", "messages", ...}    -> choices[0].message.content

A row with a JSON schema is asked with `response_format`, which vLLM follows by guided decoding on both routes.

What a server says, and what becomes of the row (`hare_ray.synth.client` does it):

    200                          an answer, with its finish reason and the tokens the server counted
    200 without an answer in it  a row `error: no answer in the reply ...` (HTML, torn JSON), or `error: no text in the
                                 answer ...` (a null: a reasoning model that spent its tokens before the answer began)
    429, 408                     BUSY: fewer requests from now on; again after Retry-After or a wait that doubles
    503                          DOWN: nobody worked on it, or the engine died with it
    no connection                ABSENT: waited for
    a lost connection, 502, 504  LOST: the row may be what the server died of (502, 504: behind a proxy)
    other 5xx                    FAILED: again, and where the server lives the row's own fault
    no answer in time            a row `error: no answer within ...`
    other 4xx                    a row `error: HTTP ...`: this prompt is refused (too long, say), others are not
    401, 403, 404, 3xx, a bad    the run stops: every prompt would get the same. Where the model is served by us, 404
      certificate                is DOWN: its route comes with the replica

The key is the endpoint's own or, where somebody else serves, that of OPENAI_API_KEY, read where it is used and kept
nowhere. A seed goes with every request, so that a server that honours it answers alike the second time. Text comes
back as valid UTF-8: JSON can hold halves of surrogate pairs, which become U+FFFD.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hare_ray.synth.prompt import ERROR, LENGTH, STOP

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

KEY = "OPENAI_API_KEY"

REQUEST_SECONDS = 900.0
"""For one request: a full queue of long answers takes minutes, a hanging server forever."""

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 15.0
"""Before a row is asked again; a server that wants a longer pause says so in Retry-After."""

PATIENCE_SECONDS, OUR_PATIENCE_SECONDS = 120.0, 900.0
"""Without any answer from a server that answered before: then it is gone for good. One of ours may load a model on
another node meanwhile."""

FIRST_PATIENCE_SECONDS = 20.0
"""Likewise, of somebody else's that never answered: a wrong address or a broken server is told soon."""

CONNECT_SECONDS = 30.0
"""To open a connection; then it counts as lost."""

MESSAGE_CHARS = 300
"""Kept of what a server says about an error."""

MOST_TOKENS = (1 << 31) - 1

ABSENT, BUSY, DOWN, LOST, FAILED = "absent", "busy", "down", "lost", "failed"

RUNNING, CAPACITY = "x-hare-running", "x-hare-capacity"
"""Headers of our replicas: requests inside, and how many sequences the engine works on at a time."""


@dataclass(frozen=True)
class Sampling:
    """How to draw an answer."""

    chat: bool
    max_tokens: int
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, whom, and how long to wait."""

    url: str
    llm: str
    key: str = field(default="", repr=False)
    """Goes before the one in OPENAI_API_KEY."""
    ours: bool = False
    """Served by `hare_ray.synth.serve`: what dies there comes back."""
    request_seconds: float = REQUEST_SECONDS
    first_wait_seconds: float = FIRST_WAIT_SECONDS
    patience_seconds: float = PATIENCE_SECONDS
    first_patience_seconds: float = FIRST_PATIENCE_SECONDS

    def __post_init__(self) -> None:
        """Refuse what is no address of a server."""
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port or an IPv6 address that is none
            usable = False
        if not usable:
            raise ValueError(_no_address(self.url))

    @property
    def key_name(self) -> str:
        """What its key is called."""
        return "the endpoint's own key" if self.key or self.ours else KEY

    @property
    def server(self) -> str:
        """The address without the version of the API: where health and metrics are."""
        return self.url.rstrip("/").removesuffix("/v1")


@dataclass(frozen=True)
class Question:
    """What one row asks."""

    prompt: str
    seed: int
    schema: str | None = None
    """JSON schema of the answer; None: free text."""


@dataclass(frozen=True)
class Answer:
    """What came back for one prompt; no text where none came."""

    text: str | None
    finish: str
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def failed(self) -> bool:
        """Whether `finish` is an error."""
        return self.finish.startswith(ERROR)


@dataclass(frozen=True)
class Trouble:
    """No answer yet: the row is asked again."""

    kind: str
    """ABSENT, BUSY, DOWN, LOST or FAILED."""
    said: str
    retry_after_seconds: float = 0.0


@dataclass(frozen=True)
class Load:
    """How full a server is."""

    ratio: float
    """1: every sequence that it can work on is there, and none waits."""
    capacity: int = 0
    """Sequences that it works on at a time, where it says so."""


@dataclass(frozen=True)
class Reply:
    """What a server said."""

    status: int
    text: str
    load: Load | None
    retry_after_seconds: float


def _no_address(url: str) -> str:
    return f"given endpoint={url!r}, expected an URL such as http://host:8000/v1, with http:// or https:// and a host"


def headers(endpoint: Endpoint) -> dict[str, str]:
    """The authorisation, where there is a key. That of the environment is not for servers of ours.

    Raises:
        ValueError: no header can hold the key.
    """
    key = (endpoint.key or ("" if endpoint.ours else os.environ.get(KEY, ""))).strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError(
            f"given {endpoint.key_name} with a line break, a control character or one beyond ASCII inside; expected "
            "one line of printable ASCII: set it to the key alone, as whoever runs the server gave it"
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def session_for(endpoint: Endpoint) -> ClientSession:
    """Connections without a limit of their own: the pace sets it."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        headers=headers(endpoint),
    )


def body(sampling: Sampling, llm: str, question: Question) -> dict[str, Any]:
    """The request for one row."""
    text = question.prompt
    asked = {"messages": [{"role": "user", "content": text}]} if sampling.chat else {"prompt": text}
    drawn = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p}
    guided = {} if question.schema is None else {"response_format": response_format(question.schema)}
    return {"model": llm, **asked, **drawn, "seed": question.seed, **guided}


def response_format(schema: str) -> dict[str, Any]:
    """OpenAI's structured output, which vLLM takes on /completions, too."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": json.loads(schema), "strict": True}}


def wait_seconds(attempt: int, first: float, retry_after: float) -> float:
    """How long to wait after a failed attempt (0, 1, ...): doubled each time, half of it random."""
    step = min(LONGEST_WAIT_SECONDS, first * 2 ** min(attempt, 30))
    return max(retry_after, step / 2 + random.uniform(0, step / 2))


def retry_after_seconds(value: str | None, now: float) -> float:
    """Seconds that a Retry-After header (seconds, or a date) asks for; 0 where there is none or it is senseless."""
    if not value:
        return 0.0
    try:
        return min(max(0.0, float(value)), REQUEST_SECONDS)
    except ValueError:
        pass
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - now), REQUEST_SECONDS)
    except ValueError:
        return 0.0


def valid(text: str) -> str:
    """`text` with surrogate pairs joined and halves of them replaced: what UTF-8 can hold."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_answer(text: str, chat: bool) -> Answer:
    """The answer in the body of a 200; an error row where it does not hold one."""
    try:
        found = json.loads(text)
        choice = found["choices"][0]
        content = choice["message"]["content"] if chat else choice["text"]
        finish = choice.get("finish_reason") or STOP
        usage = found.get("usage") or {}
        counted = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        if not isinstance(content, str | None) or not all(0 <= count <= MOST_TOKENS for count in counted):
            raise TypeError("no text, or no number of tokens")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        return Answer(None, f"{ERROR}: no answer in the reply ({type(error).__name__}): {valid(text[:MESSAGE_CHARS])}")
    if finish not in (STOP, LENGTH):
        finish = valid(f"{ERROR}: ended by {str(finish)[:MESSAGE_CHARS]}")
    elif content is None:
        finish = f"{ERROR}: no text in the answer, ended by {finish}"
    return Answer(None if content is None else valid(content), finish, *counted)


async def ask_once(
    session: ClientSession, endpoint: Endpoint, sampling: Sampling, question: Question
) -> tuple[Answer | Trouble, Load | None]:
    """The answer to one row, or why there is none yet; and how full the server said that it is.

    Raises:
        PermissionError, ValueError: no row would be answered there.
    """
    path = "chat/completions" if sampling.chat else "completions"
    try:
        async with asyncio.timeout(endpoint.request_seconds):
            reply = await exchange(session, endpoint, path, body(sampling, endpoint.llm, question))
    except TimeoutError:
        return Answer(None, f"{ERROR}: no answer within {endpoint.request_seconds:g} s"), None
    if isinstance(reply, Trouble):
        return reply, None
    if reply.status == HTTPStatus.OK:
        return read_answer(reply.text, sampling.chat), reply.load
    said = f"HTTP {reply.status}: {message(reply.text)}"
    kind = passing(endpoint, reply.status)
    if kind:
        return Trouble(kind, said, reply.retry_after_seconds), reply.load
    stop_where_all_would_fail(endpoint, path, reply)
    return Answer(None, f"{ERROR}: {said}"), reply.load


def passing(endpoint: Endpoint, status: int) -> str:
    """The kind of trouble that a status is; '' for one that is final."""
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT):
        return BUSY
    if status == HTTPStatus.SERVICE_UNAVAILABLE or (endpoint.ours and status == HTTPStatus.NOT_FOUND):
        return DOWN
    if status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT):
        return LOST
    return FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ""


async def exchange(
    session: ClientSession, endpoint: Endpoint, path: str, sent: dict[str, Any] | None = None
) -> Reply | Trouble:
    """One request to `path` under the URL (to an address, where it is one): what came back, or LOST."""
    import aiohttp

    url = path if "://" in path else f"{endpoint.url.rstrip('/')}/{path}"
    try:
        method = "GET" if sent is None else "POST"
        async with session.request(method, url, json=sent, allow_redirects=False) as response:
            text = response.headers.get("Location", "") if 300 <= response.status < 400 else await _text(response)
            pause = retry_after_seconds(response.headers.get("Retry-After"), time.time())
            return Reply(response.status, text, _load(response), pause)
    except aiohttp.ClientConnectorCertificateError as error:
        raise ValueError(
            f"{endpoint.url} shows a certificate that is not trusted ({error}); expected one by an authority that this "
            "machine knows: add it to the machine's store (SSL_CERT_FILE), or give an http:// address in a safe network"
        ) from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise ValueError(_no_address(endpoint.url)) from error
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        return Trouble(ABSENT, f"{type(error).__name__}: {error}")
    except (aiohttp.ClientError, OSError) as error:
        return Trouble(LOST, f"{type(error).__name__}: {error}")


async def _text(response: ClientResponse) -> str:
    return (await response.read()).decode("utf-8", "replace")


def _load(response: ClientResponse) -> Load | None:
    running, capacity = response.headers.get(RUNNING, ""), response.headers.get(CAPACITY, "")
    if not (running.isdigit() and capacity.isdigit() and int(capacity)):
        return None
    return Load(int(running) / int(capacity), int(capacity))


def stop_where_all_would_fail(endpoint: Endpoint, path: str, reply: Reply) -> None:
    """Raise for an answer that every other row would get too."""
    said = f"{endpoint.url}/{path} answered HTTP {reply.status} ({message(reply.text)})"
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise PermissionError(f"{said}; {_about_the_key(endpoint)}")
    if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
        raise ValueError(f"{said}, a redirection; given endpoint={endpoint.url!r}, expected the address it leads to")
    if reply.status == HTTPStatus.NOT_FOUND:
        raise ValueError(
            f"{said}; given endpoint={endpoint.url!r} and llm={endpoint.llm!r}, expected the base address of an "
            "OpenAI-compatible server and a model it serves; its address ends in /v1 with most servers"
        )


def _about_the_key(endpoint: Endpoint) -> str:
    if endpoint.key or endpoint.ours:
        given = "asked with the endpoint's own key" if endpoint.key else "the endpoint was given no key"
        return f"{given}, expected one that may ask there; check that the address is that of the server it belongs to"
    return (
        f"{'a' if os.environ.get(KEY) else 'no'} key was given in {KEY}, expected one that may ask there; set the "
        f"environment variable {KEY} where the workers of Ray run: before `ray start`, or in the runtime environment "
        "of the job"
    )


def message(text: str) -> str:
    """What a server says in the body of an error."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return valid(text.strip()[:MESSAGE_CHARS])
    error = found.get("error", found) if isinstance(found, dict) else found
    said = error.get("message", error) if isinstance(error, dict) else error
    return valid(str(said)[:MESSAGE_CHARS])
