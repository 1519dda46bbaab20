"""The request cache: a question that was answered before is not asked again.

    key = xxh3-128(model, chat, max_tokens, temperature, top_p; seed of the request; JSON schema; prompt)

The key is kept beside every answer (`request` in GENERATED), so the stage's own folders are the cache: those of its
earlier recipes under this root, finished or not, with their journals, and those under a root that --reuse names. When
a template, a seed or a number upstream changes, the fingerprint of the stage changes and all its rows are to be asked;
before that, `take_over` puts the answers of equal key into the journal, and only the rest is asked. A store of its own
beside the parts would hold every answer twice.

The model is known by the fingerprint of the stage that holds it, or by its name; an endpoint's only model that has
none, by the endpoint's address. What went wrong is asked again: only answers that ended by themselves or at their
token limit are taken. Parts written before answers had keys serve nothing and are passed over.

Whoever wants new answers to old questions names the stage in --redo, or gives it another seed.
"""

from __future__ import annotations

import json
import re
import uuid
from functools import partial
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import xxhash

from hare_ray.earlier import ASIDE, folders
from hare_ray.gather import LASTING, Desk
from hare_ray.manifest import encode, folder
from hare_ray.synth.cache_join import Join, Piece
from hare_ray.synth.prompt import GENERATED

if TYPE_CHECKING:
    from hare_ray.synth.generate import Generate

KEY = GENERATED.field("request").type

SEED_BYTES = 8
NO_SCHEMA = bytes(KEY.byte_width)
"""Stands for the schema of an answer in free text."""

MARK = "taken_over.json"
"""Says, until the stage is finished, from where answers were taken over, and how many."""

PART = re.compile(r"part-(\d{5,})\.parquet")


def request_keys(stage: Generate, prompts: pa.Table) -> pa.Array:
    """The key of the request that each prompt makes: binary(16), without nulls.

    Args:
        stage: whose model, parameters and seed are asked with.
        prompts: columns `id` and `prompt`, and `schema` where there is one. A null prompt is never asked; it has the
            key of the bare parameters.
    """
    from hare_ray.synth.generate import request_seed  # which asks through this module

    common = _common(stage)
    seeds = (request_seed(stage.seed, key).to_bytes(SEED_BYTES, "little") for key in prompts["id"].to_pylist())
    texts = prompts["prompt"].cast(pa.large_binary()).to_pylist()
    keys = [
        common if text is None else xxhash.xxh3_128_digest(common + seed + schema + text)
        for seed, schema, text in zip(seeds, _schemas(prompts), texts, strict=True)
    ]
    return pa.array(keys, KEY)


def _common(stage: Generate) -> bytes:
    """16 bytes for all that the requests of a stage share."""
    if stage.model is not None:
        model = ["stage", stage.model.fingerprint]
    else:
        model = ["name", stage.llm] if stage.llm else ["endpoint", stage.endpoint]
    shared = [*model, stage.chat, stage.max_tokens, float(stage.temperature), float(stage.top_p)]
    return xxhash.xxh3_128_digest(json.dumps(shared).encode())


def _schemas(prompts: pa.Table) -> list[bytes]:
    """16 bytes for each row's schema. A template's rows share one, so each different one is hashed once."""
    if "schema" not in prompts.column_names:
        return [NO_SCHEMA] * len(prompts)
    told = pa.concat_arrays(prompts["schema"].chunks or [pa.array([], pa.large_string())]).dictionary_encode()
    digests = [
        NO_SCHEMA if text is None else xxhash.xxh3_128_digest(text.encode()) for text in told.dictionary.to_pylist()
    ]
    return [NO_SCHEMA if index is None else digests[index] for index in told.indices.to_pylist()]


def take_over(desk: Desk) -> int:
    """Put earlier answers to the same requests into the journal; the number of rows that are so not asked.

    Nothing is read where no earlier recipe was answered, nor again in a run that goes on after this was through.
    """
    stage = cast("Generate", desk.stage)
    mark = f"{folder(stage)}{LASTING}/{MARK}"
    known = json.loads(desk.root.read(mark)) if desk.root.exists(mark) else {"from": [], "reused": 0, "through": True}
    rows, done = desk.rows(stage.prompts), desk.done()
    parts = [part for part in range(len(rows)) if rows[part] and part not in done]
    pieces = pieces_of(desk)
    places = sorted({f"{piece.root.url}/{piece.folder}" for piece in pieces})
    if not parts or not pieces or (known["through"] and set(places) <= set(known["from"])):
        return known["reused"]
    goes_on = not known["through"] and known["from"] == places  # stopped midway: its matches are counted already
    resumed = frozenset(int(name) for name in desk.kept() if name.isdigit())
    join = Join(desk, stage.prompts, partial(request_keys, stage), tuple(pieces), resumed, uuid.uuid4().hex[:12])
    matches = join.matches(parts)
    reused = known["reused"] + (0 if goes_on else matches.rows)
    desk.root.write(mark, encode({"from": places, "reused": reused, "through": False}))
    join.fetch(matches)
    desk.root.write(mark, encode({"from": places, "reused": reused, "through": True}))
    return reused


def pieces_of(desk: Desk) -> list[Piece]:
    """All parts and journals with answers of earlier recipes of the stage."""
    found: dict[Piece, None] = {}
    for root in desk.earlier:
        for place in folders(root, desk.stage.name):
            here = root.url == desk.root.url and place == folder(desk.stage)
            names = root.names(place)
            if not here or ASIDE in names:  # else a part without its commit is one that this run is writing
                done = desk.done() if here else set()
                parts = (int(match[1]) for match in map(PART.fullmatch, names) if match)
                found |= {Piece(root, place, part, journal=False): None for part in parts if part not in done}
            for above in ([] if here else [place]) + ([f"{place}/{ASIDE}"] if ASIDE in names else []):
                kept = filter(str.isdigit, root.names(f"{above}/scratch"))
                found |= {Piece(root, above, int(part), journal=True): None for part in kept}
    return list(found)
