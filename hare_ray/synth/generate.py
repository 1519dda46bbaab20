"""An LLM's answer to every prompt: the one stage that talks to a model.

    PROMPT -> GENERATED, row for row

Three ways, chosen in the recipe, with the same rows and the same journal:

    endpoint             an OpenAI-compatible server elsewhere
    through = "serve"    the model is served on this cluster for as long as it is needed (`hare_ray.synth.serve`)
    through = "batch"    it runs inside a Ray Data pipeline, without a server (`hare_ray.synth.batch`)

Answers are the dearest thing of the run. Each is kept on the root as it ends (`journal`); a task, an engine or a
machine that dies costs the rows in flight. Requests that another run of the stage has answered are taken from there
first (`cache`). Parts are dealt out to client tasks (`client`), each of which keeps as many requests in flight as the
server's queue asks for (`pace`). Every prompt has one row, by position, and one without an answer has the reason in
`finish`: `error: ...`, or `not_asked` for a prompt that is null.

A request carries a seed made of `seed` and the prompt's id, so it doesn't depend on when or where it is asked.
Byte-equal answers are still not promised: a server's batches change the last bits of its sums. The recipe's identity
is what was asked and how, and the manifest holds the hash of what came.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.gather import Desk
from hare_ray.stage import Gather, Stage, Table
from hare_ray.synth import cache
from hare_ray.synth.client import answer_parts
from hare_ray.synth.endpoint import OUR_PATIENCE_SECONDS, Endpoint, Sampling, session_for
from hare_ray.synth.greeting import greet
from hare_ray.synth.journal import finish_part
from hare_ray.synth.meter import clocked, totals
from hare_ray.synth.prompt import ERROR, GENERATED
from hare_ray.synth.prompts_left import NOT_ASKED as NOT_ASKED_ANSWER
from hare_ray.synth.prompts_left import request_seed
from hare_ray.synth.serve import served
from hare_ray.synth.suspects import answer_suspects

__all__ = ["NOT_ASKED", "Generate", "request_seed"]

NOT_ASKED = NOT_ASKED_ANSWER.finish
"""`finish` of a null prompt."""

SERVE, BATCH = "serve", "batch"

REPLICAS_PER_CLIENT = 4
"""Of a server of our own: one process reads some thousand answers a second."""


class Generate(Gather):
    """Answers of an LLM, run here or asked for at an endpoint."""

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
    """Base address of an OpenAI-compatible server such as http://host:8000/v1; '' runs the model here."""
    through: str = SERVE
    """How it runs here: "serve" or "batch"."""
    concurrency: int = 4096
    """Requests in flight of one client task, at most; how many there are follows the server's queue."""
    clients: int = 4
    """Client tasks, at most."""
    linger_seconds: float = 20.0
    """How long a server of our own is kept for a next stage that wants it; 0 gives its resources back at once."""
    gpus: int = 0
    """Of one replica of a model that runs here; 0: it runs on a CPU."""
    replicas: int = 1
    """Of it, at most."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("aiohttp",)
    unidentified: ClassVar[frozenset[str]] = frozenset(
        {"label", "endpoint", "through", "concurrency", "clients", "linger_seconds", "gpus", "replicas"}
    )
    writes: ClassVar[pa.Schema] = GENERATED

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, and a model that is named twice or not at all."""
        for name in ("max_tokens", "concurrency", "clients"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"{self!r}: given temperature={self.temperature}, top_p={self.top_p}; expected a temperature of at "
                "least 0 and a top_p above 0 and up to 1 (1 = no limit)"
            )
        if self.through not in (SERVE, BATCH):
            raise ValueError(f"{self!r}: given through={self.through!r}, expected {SERVE!r} or {BATCH!r}")
        if (self.model is not None and self.llm) or (self.model is None and not self.llm and not self.endpoint):
            raise ValueError(
                f"{self!r}: given model={self.model!r} and llm={self.llm!r}, expected one of them: a stage that holds "
                "the model, or its name; both may be missing only where an endpoint serves a single model"
            )

    @property
    def sampling(self) -> Sampling:
        """How to draw an answer."""
        return Sampling(self.chat, self.max_tokens, self.temperature, self.top_p)

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """Answers, rows without one, and tokens."""
        failed = pc.starts_with(rows["finish"], ERROR)
        sums = {name: pc.sum(rows[name]).as_py() or 0 for name in ("prompt_tokens", "completion_tokens")}
        errors = pc.sum(failed).as_py() or 0
        unasked = pc.sum(pc.equal(rows["finish"], NOT_ASKED)).as_py() or 0
        return {"answered": len(rows) - errors - unasked, "errors": errors, "not_asked": unasked, **sums}

    def gather(self, desk: Desk) -> dict[str, int]:
        """Answer all prompts that have no answer yet; what the asking took."""
        rows, done = desk.rows(self.prompts), desk.done()
        todo = [part for part in range(len(rows)) if part not in done]
        for part in todo:
            if rows[part] == 0:
                desk.write(part, GENERATED.empty_table())
        todo = [part for part in todo if rows[part]]
        reused = cache.take_over(desk)
        if todo:
            todo = _unfinished(desk, todo)
        if todo:
            run = uuid.uuid4().hex[:12]
            with clocked(desk, run, self._held):
                self._answer(desk, run, todo)
            if left := _unfinished(desk, todo):
                raise RuntimeError(f"{self!r}: parts {left[:5]} lack answers although every row has ended")
        return {**totals(desk), "reused": reused, "endpoint": int(bool(self.endpoint))}

    def _held(self) -> float:
        """GPUs at work now: those of the cluster that are taken, as far as they can be of this stage."""
        if self.endpoint or not self.gpus:
            return 0.0
        import ray

        taken = ray.cluster_resources().get("GPU", 0.0) - ray.available_resources().get("GPU", 0.0)
        return min(taken, float(self.gpus * self.replicas))

    def _answer(self, desk: Desk, run: str, todo: list[int]) -> None:
        if self.through == BATCH and not self.endpoint:
            from hare_ray.synth.batch import answer_all

            answer_all(desk, todo)
            return
        with self._served(desk) as (endpoint, most):
            tasks = min(most, len(todo))
            asking = partial(answer_parts, desk, endpoint, run)
            suspects = desk.map(asking, [todo[task::tasks] for task in range(tasks)])
            if found := [suspect for some in suspects for suspect in some]:
                desk.map(partial(answer_suspects, desk, endpoint), [found])

    @contextmanager
    def _served(self, desk: Desk) -> Iterator[tuple[Endpoint, int]]:
        """Where to ask, checked to answer, and the most client tasks that make sense there."""
        if self.endpoint:
            yield _checked(Endpoint(self.endpoint, self.llm)), self.clients
            return
        model = self.llm if self.model is None else str(desk.files(self.model))
        name = self.llm or (self.model.name if self.model is not None else "")
        with served(model, name, self.linger_seconds, self.gpus, self.replicas) as place:
            ours = Endpoint(place.url, name, place.key, ours=True, patience_seconds=OUR_PATIENCE_SECONDS)
            yield _checked(ours), min(self.clients, -(-self.replicas // REPLICAS_PER_CLIENT))


def _unfinished(desk: Desk, parts: list[int]) -> list[int]:
    """Those of `parts` that are not written, after those that are complete in the journal were."""
    done, kept = desk.done(), {name for name in desk.kept() if name.isdigit()}
    begun = [part for part in parts if f"{part:05d}" in kept]
    finished = desk.map(partial(_finish, desk), begun)
    done |= {part for part, through in zip(begun, finished, strict=True) if through}
    return [part for part in parts if part not in done]


def _finish(desk: Desk, part: int) -> bool:
    assert isinstance(desk.stage, Generate)
    return finish_part(desk, part, desk.rows(desk.stage.prompts)[part])


def _checked(endpoint: Endpoint) -> Endpoint:
    async def name() -> str:
        async with session_for(endpoint) as session:
            return await greet(session, endpoint)

    return replace(endpoint, llm=asyncio.run(name()))
