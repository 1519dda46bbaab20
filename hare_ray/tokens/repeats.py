"""How often every document is packed, from the weight of its topic.

    id, weight -> repeats int32

A weight w becomes floor(w) copies, and one more for a share w - floor(w) of the documents: those whose hash of seed
and id, as a number in [0, 1), is below that share. On average a document is there w times; which ones, depends on
nothing but the seed and themselves. An epoch of the packed corpus then has the topics in the proportions that a person
asked for, and the documents stay where they are, once.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa

from hare_ray.mixing import id_keys
from hare_ray.stage import Annotate, Files, PartFunction, Table

MOST = 1000
"""Copies of a document; more is a mistake in a weight, not a wish."""


class Repeats(Annotate):
    """Copies of every document in one epoch."""

    docs: Table
    """With a column `weight`, at least 0."""
    seed: int

    imports: ClassVar[tuple[str, ...]] = ("numba",)
    reads: ClassVar[tuple[str, ...] | None] = ("id", "weight")
    writes: ClassVar[pa.Schema] = pa.schema([pa.field("repeats", pa.int32(), nullable=False)])

    def __post_init__(self) -> None:
        """Refuse documents without a weight."""
        super().__post_init__()
        if "weight" not in self.docs.schema().names:
            raise ValueError(
                f"{self!r}: given documents with the columns {self.docs.schema().names}, expected `weight` among them; "
                "let the Keep that makes them carry it from a Balance"
            )
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 to 2^64 - 1")

    def prepare(self, files: Files) -> PartFunction:
        """Nothing to load."""
        del files

        def repeats(docs: pa.Table) -> pa.Table:
            weight = docs.column("weight").to_numpy().astype(np.float64)
            if not ((weight >= 0) & (weight <= MOST)).all():
                raise ValueError(f"{self!r}: given weights outside 0 to {MOST}, or no numbers; mend what writes them")
            ids = docs.column("id").combine_chunks()
            drawn = id_keys(ids, self.seed, np.zeros(len(ids), np.int64)) / 2.0**64
            whole = np.floor(weight)
            copies = whole + (drawn < weight - whole)
            return pa.table([pa.array(copies.astype(np.int32))], schema=self.writes)

        return repeats
