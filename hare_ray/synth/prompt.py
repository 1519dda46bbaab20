"""The tables between what asks the LLM, the LLM and what reads its answers.

    PROMPT      what the LLM is shown, and the seed text that it is to write from
    GENERATED   an opinion on PROMPT, row for row: what came back
    WRITTEN     a DOCUMENT with the topic, template and seed that it comes from

A prompt's id is the xxh3-128 of its seed's id, its template and its number among those of that pair, so that it
depends neither on how rows lie in parts nor on which other seeds were drawn. Its URL `<seed url>#<template>` leads
a person back to the document behind a synthetic text.
"""

from __future__ import annotations

import pyarrow as pa
import xxhash

from hare_ray.schema import DOCUMENT, ID

PROMPT = pa.schema(
    [
        ID,
        pa.field("url", pa.string(), nullable=False),
        pa.field("topic", pa.int32()),
        pa.field("template", pa.string(), nullable=False),
        pa.field("seed", pa.large_string(), nullable=False),
        pa.field("prompt", pa.large_string(), nullable=False),
        pa.field("variant", pa.string()),
        pa.field("schema", pa.large_string()),
    ]
)
"""`url`: `<seed url>#<template>`; `topic`: the seed's cluster, null for one in none; `seed`: the seed text as shown
inside `prompt`; `variant`: what of the prompt varies beside its template (audience and style), null for nothing;
`schema`: the JSON schema that the answer must follow, null for free text."""

GENERATED = pa.schema(
    [
        pa.field("answer", pa.large_string()),
        pa.field("finish", pa.string(), nullable=False),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("completion_tokens", pa.int32(), nullable=False),
        pa.field("request", pa.binary(16), nullable=False),
    ]
)
"""`answer`: null where none came; `finish`: STOP, LENGTH or `error: ...`; `request`: the key of model, prompt and
parameters under which the same question finds this answer again."""

WRITTEN = pa.schema(
    [
        *DOCUMENT,
        pa.field("topic", pa.int32()),
        pa.field("template", pa.string(), nullable=False),
        pa.field("seed", pa.large_string(), nullable=False),
        pa.field("finish", pa.string(), nullable=False),
        pa.field("variant", pa.string()),
        pa.field("tokens", pa.int32()),
    ]
)
"""`title` is null, `file` is SYNTHETIC_FILE, `offset` is 0; `tokens`: those of the LLM's answer as its server counted
them, null where no LLM wrote it."""

STOP = "stop"
"""The LLM ended by itself."""

LENGTH = "length"
"""The LLM was cut off at its token limit."""

ERROR = "error"
"""Start of `finish` where no answer came."""

SYNTHETIC_FILE = "synthetic"


def prompt_id(seed: bytes, template: str, number: int) -> bytes:
    """16 bytes: xxh3-128 of the seed's id, the template's name and the prompt's number for that pair."""
    return xxhash.xxh3_128_digest(seed + number.to_bytes(4, "little") + template.encode())


def prompt_url(seed_url: str, template: str) -> str:
    """`<seed url>#<template>`."""
    return f"{seed_url}#{template}"
