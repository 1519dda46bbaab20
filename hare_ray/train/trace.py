"""Which step of a training saw a packed sequence, and of which document a token was that a step saw.

    mixture.json + seed  ->  the order of all samples (`hare_ray.train.order`)  ->  steps that read given rows
    step, sequence, token  ->  sample  ->  table, row  ->  document, and the token's number in it

The order is arithmetic, so nothing was written down while training: every sample's row is computed again, in
stretches, some ten million a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hare_ray.catalog import place
from hare_ray.manifest import Manifest
from hare_ray.store import Root
from hare_ray.train.order import Order
from hare_ray.train.sequences import TOKEN_TYPES, PackedTable, Sequences


@dataclass(frozen=True)
class Seen:
    """What one training saw of some sequences of one table."""

    stage: str
    steps: tuple[int, ...]
    """From 1, in order; empty: it saw none of them."""


def seen(root: Root, manifests: dict[str, Manifest], table: str, rows: Iterable[tuple[int, int]]) -> Iterator[Seen]:
    """For each finished training on the packed table `table`, the steps that read any of `rows` (part, row)."""
    sizes = [part["rows"] for part in manifests[table]["parts"]]
    starts = np.cumsum([0, *sizes])
    wanted = np.array(sorted(int(starts[part]) + row for part, row in rows), np.int64)
    for name, manifest in manifests.items():
        sources = manifest["inputs"].get("sources", [])
        if manifest["recipe"]["class"] == "Pretrain" and table in sources:
            mixture = _mixture(root, manifests[manifest["inputs"]["mixture"][0]])
            yield Seen(name, _steps(manifest["recipe"]["fields"], mixture, sources.index(table), wanted))


@dataclass(frozen=True)
class Origin:
    """Where a token of a training comes from."""

    table: str
    part: int
    row: int
    document: bytes | None
    """Its id; None: the token is padding."""
    token: int
    """Its number in the document, the one that opens it being 0; in the padding, where it is padding."""


def origin(root: Root, manifests: dict[str, Manifest], stage: str, at: tuple[int, int, int]) -> Origin:
    """Where a token comes from that the training `stage` saw, by step (from 1), sequence of the step, and place."""
    fields, inputs = manifests[stage]["recipe"]["fields"], manifests[stage]["inputs"]
    mixture = _mixture(root, manifests[inputs["mixture"][0]])
    step, sequence, token = at
    width = mixture["sequence_tokens"]
    if not (step >= 1 and 0 <= sequence < fields["batch_sequences"] and 0 <= token < width):
        raise ValueError(
            f"given step {step}, sequence {sequence}, token {token} of {stage}, expected a step from 1, a sequence "
            f"below {fields['batch_sequences']} and a token below {width}"
        )
    samples = np.array([(step - 1) * fields["batch_sequences"] + sequence])
    source, _, row = Order.of_mixture(mixture, fields["seed"]).of(samples)
    table = inputs["sources"][int(source[0])]
    where = place(root, manifests[table])
    packed = PackedTable(f"{where.root.url.rstrip('/')}/{where.folder}", where.rows)
    # No token is read, so that how many bytes one has does not matter.
    found = Sequences((packed,), width, min(TOKEN_TYPES)).documents(np.zeros_like(row), row).to_pylist()[0]
    part = int(np.searchsorted(packed.edges, row[0], side="right")) - 1
    stops = np.cumsum(found["lengths"])
    piece = int(np.searchsorted(stops, token, side="right"))
    place_ = (table, part, int(row[0] - packed.edges[part]))
    if piece == len(stops):
        return Origin(*place_, None, token - int(stops[-1]))
    inside = token - int(stops[piece]) + found["lengths"][piece]
    return Origin(*place_, found["documents"][piece], found["starts"][piece] + inside)


def _mixture(root: Root, manifest: Manifest) -> dict[str, Any]:
    where = place(root, manifest)
    return json.loads(where.root.read(f"{where.folder}/mixture.json"))


def _steps(fields: dict[str, Any], mixture: dict[str, Any], source: int, wanted: np.ndarray) -> tuple[int, ...]:
    found: list[int] = []
    for samples, of, row in Order.of_mixture(mixture, fields["seed"]).walk():
        found += (samples[(of == source) & np.isin(row, wanted)] // fields["batch_sequences"] + 1).tolist()
    return tuple(sorted(set(found)))
