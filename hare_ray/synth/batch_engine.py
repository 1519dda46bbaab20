"""One vLLM engine of the batch path, as a stage of Ray Data LLM that journals every answer as it comes.

    rows of QUESTION -> one row a batch: the part, and how many of its rows are dealt with

Ray Data hands a batch on when its last answer is there, and asks the whole batch again when the engine dies. So the
answers take the way of the journal instead: what comes out of this stage says only that the rows are kept. Before a
batch is asked, rows that the journal has are dropped.

How a prompt that kills the engine is found is told in `hare_ray.synth.batch_notes`.

Prompts of a chat go through the model's template here, and not through Ray's stage for it: that one gives text, to
which vLLM would add the model's special tokens a second time.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF
from ray.llm._internal.common.errors import VLLM_FATAL_ERRORS

from hare_ray.manifest import folder
from hare_ray.synth import journal
from hare_ray.synth.batch_notes import (
    ALONE_DEATHS,
    KILLER,
    SUSPECT_DEATHS,
    Gate,
    Notes,
    shared_desk,
    suspect_groups,
)
from hare_ray.synth.endpoint import MESSAGE_CHARS, Answer
from hare_ray.synth.prompt import ERROR, LENGTH, STOP

MIN_FAILED, MAX_FAILED_SHARE = 8, 0.9
"""Errors among the rows that ended beyond which the fault is the model's or the request's, not a prompt's."""

HANG_SECONDS = 3600.0
"""For one answer inside the engine; beyond that it hangs, and is ended like one that died."""

START_DEATHS = 2
"""Of the engine before it has answered TRIAL, before the run gives up."""

TRIAL = "a"
"""Asked first. An engine that dies of it cannot run the model; one that dies later met a prompt, or was killed."""

FLUSH_SECONDS = 30.0
"""To keep what has ended when the engine is dead."""

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

    def __init__(self, *, shared: Any, **settings: Any) -> None:
        """Start the engine. What it fails by is told to the driver, for whom Ray buries it in a traceback."""
        import ray

        self.desk = shared_desk(shared)
        self.notes = Notes(self.desk)
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
        self.unanswered: dict[int, asyncio.Task[NDArray[np.int32]]] = {}
        self.trial: asyncio.Task[None] | None = None
        self.ended = self.failed = 0
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
        tokens = await asyncio.gather(*[self._answer(part, rows) for part, rows in parts.items()])
        told = zip(parts.items(), tokens, strict=True)
        yield {self.data_column: [{"part": part, "rows": len(rows), "tokens": made} for (part, rows), made in told]}

    async def _answer(self, part: int, rows: list[dict[str, Any]]) -> int:
        """Have an answer of each of these rows in the journal; tokens of those that were made now."""
        if part not in self.unanswered:
            self.unanswered[part] = asyncio.create_task(asyncio.to_thread(self._unanswered, part))
        left = set((await self.unanswered[part]).tolist())
        rows = [row for row in rows if row["row"] in left]
        if not rows:
            return 0
        numbers = np.array([row["row"] for row in rows], np.int32)
        deaths, alone = await asyncio.to_thread(self.notes.deaths, part, numbers)
        for place in np.flatnonzero(alone >= ALONE_DEATHS):
            self._keep(rows[place], Answer(None, KILLER))
        asked = alone < ALONE_DEATHS
        calm = np.flatnonzero(asked & (deaths < SUSPECT_DEATHS))
        tokens = 0
        if len(calm):
            async with self.gate.together():
                tokens += await self._ask([rows[place] for place in calm], alone=False)
        for group in suspect_groups(np.flatnonzero(asked & (deaths >= SUSPECT_DEATHS)), deaths):
            async with self.gate.alone():
                tokens += await self._ask([rows[place] for place in group], alone=len(group) == 1)
        await self._kept()
        return tokens

    def _unanswered(self, part: int) -> NDArray[np.int32]:
        if self.desk.root.exists(f"{folder(self.desk.stage)}/part-{part:05d}.json"):
            return np.empty(0, np.int32)
        return journal.missing(self.desk, part, self.desk.rows(self._stage.prompts)[part])

    @property
    def _stage(self) -> Any:
        return self.desk.stage

    async def _ask(self, rows: list[dict[str, Any]], alone: bool) -> int:
        """Ask these rows at the same time, with a note of it until they are kept; tokens of their answers."""
        part, numbers = rows[0]["part"], np.array([row["row"] for row in rows], np.int32)
        note = await asyncio.to_thread(self.notes.begin, part, numbers, alone)
        ended = await asyncio.gather(*[self._one(row) for row in rows])
        errors = [(row, answer) for row, answer in zip(rows, ended, strict=True) if answer.finish.startswith(ERROR)]
        self.ended += len(rows)
        self.failed += len(errors)
        if self.failed >= MIN_FAILED and self.failed > MAX_FAILED_SHARE * self.ended:
            message = (
                f"{self.failed} of {self.ended} prompts got an error from the model, such as "
                f"{errors[0][1].finish!r}; expected answers; check the model (does it take chats, is its context long "
                "enough) and run the same command again: what was answered is kept"
            )
            self.notes.refuse(message)
            raise ValueError(message)
        for row, answer in errors:  # not before it is clear that they are the rows' own
            self._keep(row, answer)
        await self._kept()
        await asyncio.to_thread(self.notes.end, note)
        return sum(answer.completion_tokens for answer in ended)

    async def _one(self, row: dict[str, Any]) -> Answer:
        """Ask one row and journal its answer, unless it is an error."""
        try:
            answer = await self._answered(row)
        except (*VLLM_FATAL_ERRORS, TimeoutError):
            await self._die()
        except Exception as error:  # told in the row; where most rows have one, it ends the run
            said = " ".join(str(error).split())[:MESSAGE_CHARS]
            answer = Answer(None, f"{ERROR}: {said or type(error).__name__}")
        if not answer.finish.startswith(ERROR):
            self._keep(row, answer)
        return answer

    async def _answered(self, row: dict[str, Any]) -> Answer:
        if not row["given"]:
            from hare_ray.synth.generate import NOT_ASKED

            return Answer(None, NOT_ASKED)
        async with self.llm.semaphore, asyncio.timeout(HANG_SECONDS):
            output = await self.llm._generate_async(await self._request(row))
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
