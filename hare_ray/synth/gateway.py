"""One address for several served models: OpenAI's routes, and the request's `model` says whom to ask.

    POST, one of ROUTES   to the server of the model named in the body; 404 for a model that is not served
    GET  /v1/models       all of them
    GET  /health          200 when every model answers or is started by a request; open to all

Behind it are whole applications, on a Serve that may hold others, and it opens them with their key. So no path goes
through: a request has one of ROUTES, written just so, or it gets a 404. Bytes pass; of a request it reads the name of
the model, of an answer nothing. An answer takes a millisecond more for it, in a process of its own; a server of a 1 B
model on one H100 ends 80 answers a second, so the model never waits for it. A run that serves its own model asks Serve
directly.

A model whose replica is being replaced is answered for with 503 and Retry-After, one that sleeps is woken. Errors of
Serve itself (a replica died with the request in it) get the same form. Draining, it refuses everything new, and ends
when the last answer is out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from hare_ray.synth.door import (
    CAPACITY,
    RESTART_SECONDS,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    holds_key,
    refuse,
    refuse_key,
    respond,
    retry_after,
)
from hare_ray.synth.keeper import State
from hare_ray.synth.serve import Served

if TYPE_CHECKING:
    from aiohttp import ClientResponse

LOOK_SECONDS = 1.0
"""How often the state of the models is asked for."""

CONNECT_SECONDS = 30.0

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
"""Of RFC 9110: not to be passed on."""

REQUESTS = HOP_BY_HOP | {b"host", b"content-length", b"authorization", b"expect"}
ANSWERS = HOP_BY_HOP | {b"date", b"server"}
"""What is said anew, in a request and in an answer."""

ROUTES = frozenset(("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/embeddings"))
"""Of OpenAI, with a model in the body. Engines have more: to sleep, to load weights, to run any call."""

UNSEEN = State("UNKNOWN", "", 0, 0)
"""A model before the first look: `serve.hold` has just seen it answer."""

BODY_BYTES = 32 << 20
"""Of a request: prompts of a million tokens are below it."""


class Gateway:
    """ASGI; `servers` maps a model's name to where it is, `look` tells how all of them are, in that order."""

    def __init__(self, servers: dict[str, Served], key: str, look: Callable[[], list[State]]) -> None:
        """'' as key lets everyone in."""
        self.servers = servers
        self.draining = False
        self.inside = 0
        self._key = key.encode()
        self._look = look
        self._states = dict.fromkeys(servers, UNSEEN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _live(self, receive: Receive, send: Send) -> None:
        import aiohttp

        await receive()
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            auto_decompress=False,
        ) as self.session:
            await self._look_once()
            looking = asyncio.create_task(self._keep_looking())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            looking.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look_once()

    async def _look_once(self) -> None:
        with contextlib.suppress(ConnectionError):  # the last that was known has to do
            found = await asyncio.to_thread(self._look)
            self._states = dict(zip(self.servers, found, strict=True))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if path == "/health":
            await self._health(send)
        elif not holds_key(scope, self._key):
            await refuse_key(send, [])
        elif self.draining:
            await _unavailable(send, "this server is ending")
        elif path == "/v1/models":
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "hare_ray"} for name in self.servers]
            await respond(send, HTTPStatus.OK, {"object": "list", "data": models}, [])
        elif scope["method"] == "POST" and path in ROUTES:
            self.inside += 1
            try:
                await self._route(path, scope, receive, send)
            finally:
                self.inside -= 1
        else:
            said = f"no route {path}; expected POST to {', '.join(sorted(ROUTES))}, or GET of /v1/models or /health"
            await refuse(send, HTTPStatus.NOT_FOUND, said, [])

    async def _health(self, send: Send) -> None:
        ill = self.draining or any(state.ill for state in self._states.values())
        models = {
            name: {"replicas": state.running, "starting": state.coming, "status": state.status}
            for name, state in self._states.items()
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if ill else HTTPStatus.OK
        said = "draining" if self.draining else "ill" if ill else "ok"
        await respond(send, status, {"status": said, "models": models}, [])

    async def _route(self, route: str, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return
        if len(body) > BODY_BYTES:
            said = f"the request has over {BODY_BYTES} bytes"
            await refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said, [])
            return
        try:
            name = _model(body)
        except ValueError as error:
            await refuse(send, HTTPStatus.BAD_REQUEST, str(error), [])
            return
        if name == "" and len(self.servers) == 1:
            name = next(iter(self.servers))
        if name not in self.servers:
            said = f"the model {name!r} is not served here; expected one of: {', '.join(self.servers)}"
            await refuse(send, HTTPStatus.NOT_FOUND, said, [])
        elif self._states[name].ill:
            await _unavailable(send, f"no replica of {name!r} answers; another is started")
        else:
            await self._until_gone(receive, self._forward(route, scope["headers"], body, self.servers[name], send))

    async def _until_gone(self, receive: Receive, work: Any) -> None:
        """Do the work as long as the client waits for it."""
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            working.cancel()
            gone.cancel()

    async def _forward(self, route: str, headers: Headers, body: bytes, to: Served, send: Send) -> None:
        import aiohttp
        from yarl import URL

        passed = [(name.decode(), value.decode("latin-1")) for name, value in headers if name not in REQUESTS]
        key = [("authorization", f"Bearer {to.key}")] if to.key else []
        url = URL(to.url + route.removeprefix("/v1"), encoded=True)  # as it is written
        asking = self.session.post(url, data=body, headers=[*passed, *key], allow_redirects=False)
        begun = False
        try:
            async with asking as answer:
                status, told = _form(answer)
                await send({"type": "http.response.start", "status": status, "headers": told})
                begun = True
                async for piece in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except aiohttp.ClientError as error:
            if begun:  # the client must see that it is cut off
                raise
            await _unavailable(send, f"the connection to the model was lost ({type(error).__name__})")


def _form(answer: ClientResponse) -> tuple[int, Headers]:
    """Status and headers to pass on; what Serve says for itself becomes 503 with Retry-After."""
    headers = [(name.lower(), value) for name, value in answer.raw_headers if name.lower() not in ANSWERS]
    status = answer.status
    names = {name for name, _ in headers}
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and CAPACITY not in names:
        status = int(HTTPStatus.SERVICE_UNAVAILABLE)
        if b"retry-after" not in names:
            headers.append(retry_after(RESTART_SECONDS))
    return status, headers


def _model(body: bytes) -> str:
    """The name in a request; '' where it gives none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is no JSON: {error}") from None
    name = found.get("model", "") if isinstance(found, dict) else None
    if not isinstance(name, str):
        raise ValueError("expected a JSON object with the name of a model as `model`")
    return name


async def _read(receive: Receive) -> bytes | None:
    """The body, or as much of it as says that it is too long; None where the client has gone."""
    pieces, size = [], 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if not message.get("more_body") or size > BODY_BYTES:
            return b"".join(pieces)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _unavailable(send: Send, said: str) -> None:
    await refuse(send, HTTPStatus.SERVICE_UNAVAILABLE, said, [retry_after(RESTART_SECONDS)])
