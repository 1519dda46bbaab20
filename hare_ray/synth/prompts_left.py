"""The rows that a client task has yet to ask: its parts one after the other, each less what the journal holds.

One part's prompts are in memory, and the next one's while the last rows of this one are dealt out, so that the server
never waits for a read. Rows that are not asked (a null prompt, an empty one) have their answer here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.gather import Desk
from hare_ray.stage import Table
from hare_ray.synth.cache import request_keys
from hare_ray.synth.endpoint import Answer, Question
from hare_ray.synth.journal import Journal, missing
from hare_ray.synth.prompt import ERROR

if TYPE_CHECKING:
    from hare_ray.synth.generate import Generate

NOT_ASKED = Answer(None, "not_asked")
EMPTY_PROMPT = Answer(None, f"{ERROR}: the prompt is empty")

SEED_BITS = 31
"""Of a request's seed: servers differ in what they take beyond a positive int32."""

AHEAD = 256
"""Rows left of a part when the next one is read."""


@dataclass
class Row:
    """A prompt on its way."""

    part: int
    row: int
    question: Question
    request: bytes
    attempts: int = 0
    refusals: int = 0
    """Of a server that answered others meanwhile."""
    failures: int = 0
    """At a server that lives."""
    deaths: int = 0
    """Of a server while this row was there."""
    first_sent: float = 0.0
    sent: float = 0.0


@dataclass(frozen=True)
class _Left:
    """What is left of a part."""

    part: int
    rows: int
    """Of the whole part."""
    numbers: np.ndarray
    prompts: pa.Table
    requests: list[bytes]


def request_seed(seed: int, prompt: bytes) -> int:
    """The seed of the request for the prompt with this id."""
    return xxhash.xxh3_64_intdigest(prompt, seed=seed & (1 << 64) - 1) & ((1 << SEED_BITS) - 1)


def not_asked(prompt: str | None) -> Answer | None:
    """The answer to a prompt that is not asked; None for one that is."""
    if prompt is None:
        return NOT_ASKED
    return None if prompt.strip() else EMPTY_PROMPT


def columns(prompts: Table) -> list[str]:
    """Those that are read of the prompts."""
    return ["id", "prompt", *(["schema"] if "schema" in prompts.schema().names else [])]


def read_rows(desk: Desk, stage: Generate, part: int, numbers: np.ndarray) -> list[Row]:
    """These rows of a part."""
    table = desk.read(stage.prompts, part, columns(stage.prompts)).take(pa.array(numbers))
    left = _Left(part, 0, numbers, table, request_keys(stage, table).to_pylist())
    return [_row(stage, left, at)[0] for at in range(len(numbers))]


def _row(stage: Generate, left: _Left, at: int) -> tuple[Row, str | None]:
    """One row, and its prompt as it is."""
    prompt = left.prompts["prompt"][at].as_py()
    schema = left.prompts["schema"][at].as_py() if "schema" in left.prompts.column_names else None
    seed = request_seed(stage.seed, left.prompts["id"][at].as_py())
    return Row(left.part, int(left.numbers[at]), Question(prompt or "", seed, schema), left.requests[at]), prompt


async def rows_left(desk: Desk, stage: Generate, parts: list[int], journal: Journal) -> AsyncIterator[Row]:
    """Rows to ask, in order. Those that are not asked go into the journal on the way."""
    done = await asyncio.to_thread(desk.done)
    todo = [part for part in parts if part not in done]
    sizes = desk.rows(stage.prompts)
    coming = _reading(desk, stage, todo, 0, sizes)
    for position in range(len(todo)):
        assert coming is not None
        left = await coming
        coming = None
        journal.expect(left.part, len(left.numbers), left.rows)
        for at in range(len(left.numbers)):
            if coming is None and len(left.numbers) - at <= AHEAD:
                coming = _reading(desk, stage, todo, position + 1, sizes)
            row, prompt = _row(stage, left, at)
            answer = not_asked(prompt)
            if answer is None:
                yield row
            else:
                journal.add(row.part, row.row, answer, row.request)
        coming = coming or _reading(desk, stage, todo, position + 1, sizes)


def _reading(
    desk: Desk, stage: Generate, parts: list[int], position: int, sizes: list[int]
) -> asyncio.Task[_Left] | None:
    if position == len(parts):
        return None
    return asyncio.create_task(asyncio.to_thread(_left, desk, stage, parts[position], sizes[parts[position]]))


def _left(desk: Desk, stage: Generate, part: int, rows: int) -> _Left:
    numbers = missing(desk, part, rows)
    if not len(numbers):  # it died between the last row and the part
        return _Left(part, rows, numbers, pa.table({}), [])
    prompts = desk.read(stage.prompts, part, columns(stage.prompts))
    if len(numbers) < rows:
        prompts = prompts.take(pa.array(numbers))
    return _Left(part, rows, numbers, prompts.combine_chunks(), request_keys(stage, prompts).to_pylist())
