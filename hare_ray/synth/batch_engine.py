"""One vLLM engine of the batch path, as a stage of Ray Data LLM that journals every answer as it comes.

    rows of QUESTION -> Told, one row for each part of a batch

Ray Data hands a batch on when its last answer is there, and asks the whole batch again when the engine dies. So the
answers take the way of the journal instead: what comes out of this stage says that the rows are kept, and which ended
with an error. Before a batch is asked, rows that the journal has are dropped.

How a prompt that kills the engine is found is told in `hare_ray.synth.batch_notes`.

Prompts of a chat go through the model's template here, and not through Ray's stage for it: that one gives text, to
which vLLM would add the model's special tokens a second time.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF
from ray.llm._internal.common.errors import VLLM_FATAL_ERRORS

from hare_ray.synth import journal
from hare_ray.synth.batch_notes import (
    ALONE_DEATHS,
    KILLER,
    SUSPECT_DEATHS,
    Gate,
    Notes,
    Told,
    shared_desk,
    suspect_groups,
)
from hare_ray.synth.endpoint import MESSAGE_CHARS, Answer
from hare_ray.synth.prompt import ERROR, LENGTH, STOP
from hare_ray.synth.prompts_left import not_asked

HANG_SECONDS = 3600.0
"""For one answer inside the engine; beyond that it hangs, and is ended like one that died."""

START_DEATHS = 2
"""Of the engine before it has answered TRIAL, before the run gives up."""

TRIAL = "a"
"""Asked first. An engine that dies of it cannot run the model; one that dies later met a prompt, or was killed."""

FLUSH_SECONDS = 30.0
"""To keep what has ended when the engine is dead."""

PARTS_LEFT = 16
"""Parts of which the rows without an answer are remembered: those of the batches in hand, not of the corpus."""

LOG_BYTES = 1 << 17
CAUSE = re.compile(r"^.*?\b(\w+(?:Error|Exception): \S.*)$", re.MULTILINE)


def logged_cause() -> str:
    """The first error in this process's log that stands behind the last traceback, '' if there is none.

    The engine runs in a child process, and all that its parent is told is to look for the root cause above.
    """
    found = []
    for stream in (1, 2):
        path = Path(f"/proc/self/fd/{stream}")
        if path.is_file():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - LOG_BYTES))
                found += CAUSE.findall(file.read().decode(errors="replace"))
    causes = [line for line in found if "root cause" not in line]
    return causes[-1][:MESSAGE_CHARS] if causes else ""


class Asking(vLLMEngineStageUDF):
    """The stage of Ray Data LLM, with answers that go to the journal."""

    def __init__(self, *, shared: Any, run: str, **settings: Any) -> None:
        """Start the engine. What it fails by is told to the driver, for whom Ray buries it in a traceback."""
        import ray

        self.desk = shared_desk(shared)
        self.notes = Notes(self.desk, run)
        who = ray.get_runtime_context().get_actor_id() or ""
        self.who, self.starts = who, 1 + self.notes.starting(who)
        if self.starts > START_DEATHS:
            self._refuse_start("its process died without a word; is there enough memory?")
        try:
            super().__init__(**{**settings, "expected_input_keys": []})
        except Exception as error:
            self._refuse_start(logged_cause() or f"{type(error).__name__}: {error}")
        self.defaults = self.llm._vllm_config.model_config.get_diff_sampling_param()
        self.gate, self.journal = Gate(), journal.Journal(self.desk)
        self.closing: set[asyncio.Task[None]] = set()
        self.left: dict[int, asyncio.Task[NDArray[np.int32]]] = {}
        self.trial: asyncio.Task[None] | None = None
        self.in_flight = self.most_in_flight = 0
        self.dying, self.dead = False, asyncio.Event()

    def _refuse_start(self, cause: str) -> NoReturn:
        message = (
            f"vLLM cannot start the model of {self.desk.stage!r} ({cause}); expected a model that it knows and that "
            "fits into the memory; check the model's folder, the GPUs of one replica and the log of Ray's worker"
        )
        self.notes.refuse(message)
        raise ValueError(message)

    async def _try(self) -> None:
        """Have the engine answer TRIAL."""
        from vllm import SamplingParams

        try:
            async with asyncio.timeout(HANG_SECONDS):
                async for _ in self.llm.engine.generate(TRIAL, SamplingParams(max_tokens=1), "trial"):
                    pass
        except (*VLLM_FATAL_ERRORS, TimeoutError):
            if self.starts < START_DEATHS:
                os._exit(1)  # it may have been killed
            self._refuse_start(logged_cause())
        self.notes.started(self.who)

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Ask a batch; says how many rows of which part are dealt with."""
        parts: dict[int, list[dict[str, Any]]] = {}
        for row in list(batch[self.data_column]):
            parts.setdefault(row["part"], []).append(row)
        if self.trial is None:
            self.trial = asyncio.create_task(self._try())
        await self.trial
        told = await asyncio.gather(*[self._answer(part, rows) for part, rows in parts.items()])
        yield {self.data_column: [asdict(one) for one in told]}

    async def _answer(self, part: int, rows: list[dict[str, Any]]) -> Told:
        """Have an answer of each of these rows in the journal, or an error told."""
        numbers, left = np.array([row["row"] for row in rows], np.int32), await self._left(part)
        asked = []
        for place in np.flatnonzero(np.isin(numbers, left)):
            row = rows[place]
            answer = not_asked(row["prompt"] if row["given"] else None)
            if answer is None:
                asked.append(row)
            else:
                self._keep(row, answer)
        ended, retried = await self._ended(part, asked) if asked else ([], 0)
        await self._kept()
        errors = [(row["row"], said.finish, row["request"].hex()) for row, said in ended if said.failed]
        tokens = sum(said.completion_tokens for _, said in ended)
        return Told(
            part, len(rows), self.who, len(ended), tokens, retried, self.most_in_flight, json.dumps(errors)
        )  # fmt: skip

    async def _left(self, part: int) -> NDArray[np.int32]:
        """Rows that had no answer when the part was first met, sorted."""
        if part not in self.left:
            while len(self.left) >= PARTS_LEFT:
                del self.left[next(iter(self.left))]
            self.left[part] = asyncio.create_task(asyncio.to_thread(self._missing, part))
        return await self.left[part]

    def _missing(self, part: int) -> NDArray[np.int32]:
        return journal.missing(self.desk, part, self.desk.rows(self._stage.prompts)[part])

    async def _ended(self, part: int, rows: list[dict[str, Any]]) -> tuple[list[tuple[dict[str, Any], Answer]], int]:
        """Each row and its answer, together or alone as the notes say; and how often they were asked before."""
        numbers = np.array([row["row"] for row in rows], np.int32)
        deaths, alone = await asyncio.to_thread(self.notes.deaths, part, numbers)
        ended = [(rows[place], Answer(None, KILLER)) for place in np.flatnonzero(alone >= ALONE_DEATHS)]
        asked = alone < ALONE_DEATHS
        calm = np.flatnonzero(asked & (deaths < SUSPECT_DEATHS))
        if len(calm):
            async with self.gate.together():
                ended += await self._ask([rows[place] for place in calm], alone=False)
        for group in suspect_groups(np.flatnonzero(asked & (deaths >= SUSPECT_DEATHS)), deaths):
            async with self.gate.alone():
                ended += await self._ask([rows[place] for place in group], alone=len(group) == 1)
        return ended, int(deaths.sum())

    @property
    def _stage(self) -> Any:
        return self.desk.stage

    async def _ask(self, rows: list[dict[str, Any]], alone: bool) -> list[tuple[dict[str, Any], Answer]]:
        """Ask these rows at the same time, with a note of it until they are kept."""
        part, numbers = rows[0]["part"], np.array([row["row"] for row in rows], np.int32)
        note = await asyncio.to_thread(self.notes.begin, part, numbers, alone)
        ended = await asyncio.gather(*[self._one(row) for row in rows])
        await self._kept()
        await asyncio.to_thread(self.notes.end, note)
        return list(zip(rows, ended, strict=True))

    async def _one(self, row: dict[str, Any]) -> Answer:
        """Ask one row and journal its answer, unless it is an error."""
        try:
            answer = await self._answered(row)
        except (*VLLM_FATAL_ERRORS, TimeoutError):
            await self._die()
        except Exception as error:  # told in the row; where many rows have one, it ends the run
            said = " ".join(str(error).split())[:MESSAGE_CHARS]
            answer = Answer(None, f"{ERROR}: {said or type(error).__name__}")
        if not answer.failed:
            self._keep(row, answer)
        return answer

    async def _answered(self, row: dict[str, Any]) -> Answer:
        async with self.llm.semaphore, asyncio.timeout(HANG_SECONDS):
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                output = await self.llm._generate_async(await self._request(row))
            finally:
                self.in_flight -= 1
        made = output.outputs[0]
        if made.finish_reason not in (STOP, LENGTH):
            return Answer(None, f"{ERROR}: ended by {made.finish_reason}")
        return Answer(made.text, made.finish_reason, len(output.prompt_token_ids or ()), len(made.token_ids))

    async def _request(self, row: dict[str, Any]) -> Any:
        """The row as Ray's wrapper of the engine wants it. Only the whole answer comes back from the engine."""
        from vllm.sampling_params import RequestOutputKind

        stage = self._stage
        sampling = {
            **self.defaults,
            "max_tokens": stage.max_tokens,
            "temperature": stage.temperature,
            "top_p": stage.top_p,
            "seed": row["seed"],
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        if row["schema"]:
            sampling["structured_outputs"] = {"json": row["schema"]}
        text: dict[str, Any] = {"prompt": row["prompt"]}
        if stage.chat:
            tokenizer: Any = self.llm.engine.get_tokenizer()
            messages = [{"role": "user", "content": row["prompt"]}]
            shown = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            text["tokenized_prompt"] = tokenizer.encode(shown, add_special_tokens=False)
        asked = {**text, "sampling_params": sampling, self.llm.idx_in_batch_column: 0}
        return await self.llm._prepare_llm_request(asked)

    def _keep(self, row: dict[str, Any], answer: Answer) -> None:
        self.journal.add(row["part"], row["row"], answer, row["request"])

    async def _kept(self) -> None:
        """Wait until all that was journaled so far is on the root."""
        ended, self.journal = self.journal, journal.Journal(self.desk)
        task = asyncio.create_task(ended.close())
        self.closing.add(task)
        await asyncio.gather(*self.closing)
        self.closing.discard(task)

    async def _die(self) -> NoReturn:
        """End this process, with what has ended kept: Ray then starts another and asks its batches again."""
        if not self.dying:
            self.dying = True
            try:
                await asyncio.wait_for(self._kept(), FLUSH_SECONDS)
            finally:
                os._exit(1)
        await self.dead.wait()  # of self: whatever waits for an event that nobody else knows is collected as garbage
        raise AssertionError("the process has ended")
