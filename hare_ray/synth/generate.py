"""An LLM's answer to every prompt: the one stage that talks to a server.

    PROMPT -> GENERATED, row for row

Where `endpoint` names no server, the model is served on this cluster for as long as it is needed
(`hare_ray.synth.serve`). Parts are dealt out to client tasks; a task has `concurrency` requests in flight, over the
borders of chunks and parts, so that the server never waits for the last answer of a part.

Answers are the dearest thing of the run. Each `journal_rows` rows are kept on the root as soon as the last of them
is there; a task, a driver or a machine that dies loses the chunks in flight. A part is written from its chunks: every
prompt has one row, by position, and one that the server refused has the reason in `finish`.

A request carries a seed made of `seed` and the prompt's id, so it doesn't depend on when or where it is asked.
Byte-equal answers are still not promised: a server's batches change the last bits of its sums. The recipe's identity
is what was asked and how, and the manifest holds the hash of what came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import xxhash

from hare_ray.gather import Desk
from hare_ray.stage import Gather, Stage, Table
from hare_ray.synth.endpoint import Answer, Endpoint, Sampling, ask, greet, headers
from hare_ray.synth.prompt import ERROR, GENERATED
from hare_ray.synth.serve import busy_requests, served

if TYPE_CHECKING:
    from aiohttp import ClientSession

MIN_FAILED, MAX_FAILED_SHARE = 8, 0.2
"""Errors in one chunk of the journal beyond which nothing is kept of it: a few prompts may be too long or refused."""

SEED_BITS = 31
"""Of a request's seed: servers differ in what they take beyond a positive int32."""

CONNECT_SECONDS = 30.0
"""To open a connection; then it counts as lost and is tried again."""


class Generate(Gather):
    """Answers of an LLM, served here or asked for at an endpoint."""

    prompts: Table
    model: Stage | None
    """A Source or Make whose folder is a Hugging Face model; None: `llm` names one."""
    llm: str
    """Name on the hub, or at the endpoint; '' where `model` is given, or for the only one an endpoint serves."""
    chat: bool
    """Ask as a chat (the model has a chat template) instead of having the prompt completed."""
    max_tokens: int
    """Of one answer."""
    temperature: float
    """0 takes the likeliest token each time."""
    top_p: float
    seed: int
    endpoint: str = ""
    """Base address of an OpenAI-compatible server such as http://host:8000/v1; '' serves the model here."""
    concurrency: int = 64
    """Requests in flight of one client task."""
    clients: int = 8
    """Client tasks at an endpoint; a server of our own gets as many as keep it busy."""
    journal_rows: int = 256
    linger_seconds: float = 20.0
    """How long a server of our own is kept for a next stage that wants it; 0 gives its resources back at once."""
    gpus: int = 0
    """Of one replica of a server of our own; 0: it runs on a CPU."""
    replicas: int = 1
    """Of a server of our own, at most."""

    imports: ClassVar[tuple[str, ...]] = ("aiohttp",)
    unidentified: ClassVar[frozenset[str]] = frozenset(
        {"label", "endpoint", "concurrency", "clients", "journal_rows", "linger_seconds", "gpus", "replicas"}
    )
    writes: ClassVar[pa.Schema] = GENERATED

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, and a model that is named twice or not at all."""
        for name in ("max_tokens", "concurrency", "clients", "journal_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"{self!r}: given temperature={self.temperature}, top_p={self.top_p}; expected a temperature of at "
                "least 0 and a top_p above 0 and up to 1 (1 = no limit)"
            )
        if (self.model is not None and self.llm) or (self.model is None and not self.llm and not self.endpoint):
            raise ValueError(
                f"{self!r}: given model={self.model!r} and llm={self.llm!r}, expected one of them: a stage that holds "
                "the model, or its name; both may be missing only where an endpoint serves a single model"
            )

    @property
    def sampling(self) -> Sampling:
        """How to draw an answer."""
        return Sampling(self.chat, self.max_tokens, self.temperature, self.top_p)

    def gather(self, desk: Desk) -> None:
        """Answer all prompts that have no answer yet."""
        rows, done = desk.rows(self.prompts), desk.done()
        todo = [part for part in range(len(rows)) if part not in done]
        for part in todo:
            if rows[part] == 0:
                desk.write(part, GENERATED.empty_table())
        todo = [part for part in todo if rows[part]]
        if not todo:
            return
        with self._served(desk) as (endpoint, most):
            tasks = min(most, len(todo))
            desk.map(partial(answer_parts, desk, endpoint), [todo[task::tasks] for task in range(tasks)])

    @contextmanager
    def _served(self, desk: Desk) -> Iterator[tuple[Endpoint, int]]:
        """Where to ask, checked to answer, and the most client tasks that make sense there."""
        if self.endpoint:
            yield _checked(Endpoint(self.endpoint, self.llm)), self.clients
            return
        model = self.llm if self.model is None else str(desk.files(self.model))
        name = self.llm or (self.model.name if self.model is not None else "")
        with served(model, name, self.linger_seconds, self.gpus, self.replicas) as url:
            yield _checked(Endpoint(url, name)), -(-busy_requests(self.gpus, self.replicas) // self.concurrency)


def _checked(endpoint: Endpoint) -> Endpoint:
    async def name() -> str:
        async with _session(1) as session:
            return await greet(session, endpoint)

    return Endpoint(endpoint.url, asyncio.run(name()))


def _session(connections: int) -> ClientSession:
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        headers=headers(),
    )


def answer_parts(desk: Desk, endpoint: Endpoint, parts: list[int]) -> None:
    """Answer and write these parts: what one client task does."""
    try:
        asyncio.run(_Client(desk, endpoint, parts).run())
    except BaseExceptionGroup as group:  # the first that stopped the others
        raise group.exceptions[0] from None


def request_seed(seed: int, prompt: bytes) -> int:
    """The seed of the request for the prompt with this id."""
    return xxhash.xxh3_64_intdigest(prompt, seed=seed & (1 << 64) - 1) & ((1 << SEED_BITS) - 1)


def missing(rows: int, kept: list[tuple[int, int]], journal_rows: int) -> list[tuple[int, int]]:
    """The stretches [start, end) of `rows` rows, at most `journal_rows` long, that no kept stretch covers."""
    found: list[tuple[int, int]] = []
    at = 0
    for start, end in (*sorted(kept), (rows, rows)):
        found += [(low, min(low + journal_rows, start)) for low in range(at, start, journal_rows)]
        at = max(at, end)
    return found


def _name(part: int, start: int, end: int) -> str:
    return f"{part:05d}-{start:09d}-{end:09d}.arrow"


@dataclass
class _Chunk:
    """Rows that are journaled together."""

    part: int
    start: int
    answers: list[Answer | None]
    left: int

    def table(self) -> pa.Table:
        """The rows of GENERATED."""
        rows = [answer for answer in self.answers if answer is not None]
        columns = [
            [answer.text for answer in rows],
            [answer.finish for answer in rows],
            [answer.prompt_tokens for answer in rows],
            [answer.completion_tokens for answer in rows],
        ]
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, GENERATED, strict=True)], schema=GENERATED)


def _refuse_failure(endpoint: Endpoint, chunk: _Chunk) -> None:
    """Raise where too many rows got an error: that is the server's or the request's fault, not a prompt's."""
    failed = [answer.finish for answer in chunk.answers if answer is not None and answer.finish.startswith(ERROR)]
    if len(failed) >= MIN_FAILED and len(failed) > MAX_FAILED_SHARE * len(chunk.answers):
        raise ValueError(
            f"{endpoint.url} gave an error to {len(failed)} of {len(chunk.answers)} prompts, such as {failed[0]!r}; "
            "expected answers. Check the model (does it take chats, is its context long enough) and its server, and "
            "run the same command again: what was answered before is kept"
        )


@dataclass
class _Client:
    """One client task: workers that share a stream of prompts."""

    desk: Desk
    endpoint: Endpoint
    parts: list[int]
    open_chunks: dict[int, int] = field(default_factory=dict)
    """Part -> chunks that are not journaled yet."""
    kept: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Part -> journaled stretches."""

    @property
    def stage(self) -> Generate:
        """The stage whose desk it is."""
        assert isinstance(self.desk.stage, Generate)
        return self.desk.stage

    async def run(self) -> None:
        """Answer all prompts of the parts."""
        for name in self.desk.kept():
            part, start, end = (int(number) for number in name.removesuffix(".arrow").split("-"))
            self.kept.setdefault(part, []).append((start, end))
        stream = self._stream()
        async with _session(self.stage.concurrency) as session, asyncio.TaskGroup() as workers:
            for _ in range(self.stage.concurrency):
                workers.create_task(self._work(session, stream))

    async def _work(self, session: ClientSession, stream: Iterator[tuple[_Chunk, int, bytes, str]]) -> None:
        for chunk, row, prompt_id, prompt in stream:
            seed = request_seed(self.stage.seed, prompt_id)
            chunk.answers[row] = await ask(session, self.endpoint, self.stage.sampling, prompt, seed)
            chunk.left -= 1
            if chunk.left == 0:
                await self._journal(chunk)

    def _stream(self) -> Iterator[tuple[_Chunk, int, bytes, str]]:
        """Prompts without an answer, in order, parts read one after the other."""
        done = self.desk.done()
        for part in self.parts:
            if part in done:
                continue
            rows = self.desk.read(self.stage.prompts, part, ["id", "prompt"])
            stretches = missing(len(rows), self.kept.get(part, []), self.stage.journal_rows)
            self.open_chunks[part] = len(stretches)
            if not stretches:  # it died between the last chunk and the part
                self._write(part)
            for start, end in stretches:
                chunk = _Chunk(part, start, [None] * (end - start), end - start)
                piece = rows.slice(start, end - start)
                ids, prompts = piece.column("id").to_pylist(), piece.column("prompt").to_pylist()
                for row, (prompt_id, prompt) in enumerate(zip(ids, prompts, strict=True)):
                    yield chunk, row, prompt_id, prompt

    async def _journal(self, chunk: _Chunk) -> None:
        """Keep a chunk that is complete; write its part with the last one. Other requests go on meanwhile."""
        _refuse_failure(self.endpoint, chunk)
        start, end = chunk.start, chunk.start + len(chunk.answers)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, GENERATED) as writer:
            writer.write_table(chunk.table())
        await asyncio.to_thread(self.desk.put, _name(chunk.part, start, end), sink.getvalue().to_pybytes())
        self.kept.setdefault(chunk.part, []).append((start, end))
        self.open_chunks[chunk.part] -= 1
        if self.open_chunks[chunk.part] == 0:
            await asyncio.to_thread(self._write, chunk.part)

    def _write(self, part: int) -> None:
        """The part, from its chunks."""
        stretches = sorted(self.kept[part])
        chunks = [pa.ipc.open_stream(self.desk.get(_name(part, start, end))).read_all() for start, end in stretches]
        self.desk.write(part, pa.concat_tables(chunks))
