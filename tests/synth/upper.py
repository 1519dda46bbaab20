"""A stage that answers in its own process, through the cache and the journal: prompts in upper case."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.gather import Desk
from hare_ray.schema import REASON
from hare_ray.stage import Files, Gather, Map, PartFunction, Stage, Table
from hare_ray.synth.cache import request_keys, take_over
from hare_ray.synth.journal import ANSWERED, finish_part, missing, put_rows
from hare_ray.synth.prompt import GENERATED, PROMPT, prompt_url

ASKED: list[str] = []
"""Prompts that were asked for, in order."""


class Templated(Map):
    """A prompt of every template for each line of each file: `<template text> <line>`."""

    files: Stage
    templates: tuple[tuple[str, str], ...]
    writes: ClassVar[pa.Schema] = PROMPT
    derives: ClassVar[bool] = True

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = []
            for path in splits["path"].to_pylist():
                for line in Path(path).read_text().splitlines():
                    for name, text in self.templates:
                        url = prompt_url(f"https://example.org/{line}", name)
                        same = {"url": url, "template": name, "seed": line, "prompt": f"{text} {line}"}
                        rows.append({"id": xxhash.xxh3_128_digest(url.encode()), **same})
            return pa.Table.from_pylist(rows, schema=PROMPT.append(REASON))

        return read


class Upper(Gather):
    """Answers in upper case, `stop_after` of them; a prompt with "fail" in it gets an error."""

    prompts: Table
    model: Stage | None = None
    llm: str = "upper"
    chat: bool = False
    max_tokens: int = 8
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 1
    endpoint: str = ""
    stop_after: int | None = None
    unidentified: ClassVar[frozenset[str]] = Gather.unidentified | {"stop_after", "endpoint"}
    writes: ClassVar[pa.Schema] = GENERATED

    def gather(self, desk: Desk) -> dict[str, int]:
        reused, left = take_over(desk), self.stop_after
        for part, rows in enumerate(desk.rows(self.prompts)):
            if part in desk.done():
                continue
            todo = missing(desk, part, rows)[:left]
            table = desk.read(self.prompts, part).take(todo)
            put_rows(desk, part, answers(self, table, todo))
            left = None if left is None else left - len(todo)
            if not finish_part(desk, part, rows):
                raise RuntimeError("stopped")
        return {"reused": reused}


def answers(stage: Upper, table: pa.Table, rows: np.ndarray) -> pa.Table:
    texts = table["prompt"].to_pylist()
    ASKED.extend(texts)
    failed = ["fail" in text for text in texts]
    columns = [
        rows,
        [None if fail else text.upper() for text, fail in zip(texts, failed, strict=True)],
        ["error: so it was told" if fail else "stop" for fail in failed],
        [1] * len(texts),
        [2] * len(texts),
        request_keys(stage, table),  # pyright: ignore[reportArgumentType]
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, ANSWERED, strict=True)], schema=ANSWERED)
