"""Which step of a training saw a packed sequence.

    mixture.json + seed  ->  the order of all samples (`hare_ray.train.order`)  ->  steps that read given rows

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

STRETCH = 1 << 20
"""Samples looked at together."""


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


def _mixture(root: Root, manifest: Manifest) -> dict[str, Any]:
    where = place(root, manifest)
    return json.loads(where.root.read(f"{where.folder}/mixture.json"))


def _steps(fields: dict[str, Any], mixture: dict[str, Any], source: int, wanted: np.ndarray) -> tuple[int, ...]:
    counts = tuple(one["actual"] for one in mixture["sources"])
    order = Order(counts, tuple(one["available"] for one in mixture["sources"]), fields["seed"])
    found: list[int] = []
    for begin in range(0, order.total, STRETCH):
        samples = np.arange(begin, min(begin + STRETCH, order.total))
        of, _, row = order.of(samples)
        found += (samples[(of == source) & np.isin(row, wanted)] // fields["batch_sequences"] + 1).tolist()
    return tuple(sorted(set(found)))
