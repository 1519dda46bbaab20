"""Which documents are set aside to evaluate on and never trained on: a hash of the duplicate cluster decides.

    duplicate_cluster binary(16)  ->  held_out bool, reason = held_out where it is true

A document is held out when hash(cluster) < share * 2^64. All copies of a text share the cluster, so none of
them ends up on both sides. Ids come from URL and payload, so cutting the same records into other files or
parts moves none across, as a row number or a random draw would (records without a URL go by their file). An
added source moves a cluster, as a whole, only where it adds a copy with the smallest id. The cluster's id is
hashed once more: it is the smallest of its members' ids, so large clusters have small ones.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.mixing import GOLDEN, halves, mixed
from hare_ray.schema import REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table

HELD_OUT = "held_out"


def is_held_out(clusters: pa.Array, share: float) -> NDArray[np.bool_]:
    """Whether each cluster, a binary(16) without nulls, is set aside."""
    wide = halves(clusters)
    hashes = mixed((wide[:, 0] ^ mixed(wide[:, 1] + GOLDEN)) + GOLDEN)
    return hashes < np.uint64(int(share * 2.0**64))


class HoldOut(Annotate):
    """Sets a share of the duplicate clusters aside."""

    docs: Table
    share: float
    """Of the clusters, more than 0 and less than 1."""

    reads: ClassVar[tuple[str, ...] | None] = ("duplicate_cluster",)
    writes: ClassVar[pa.Schema] = pa.schema([pa.field("held_out", pa.bool_(), nullable=False), REASON])

    def __post_init__(self) -> None:
        """Refuse a share that leaves one side empty."""
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError(f"{self!r}: given share={self.share}, expected more than 0 and less than 1")

    def prepare(self, files: Files) -> PartFunction:
        """Nothing to load."""

        def hold(docs: pa.Table) -> pa.Table:
            held = is_held_out(docs.column("duplicate_cluster").combine_chunks(), self.share)
            reason = pa.array(np.full(len(held), HELD_OUT, object), pa.string(), mask=~held)
            return pa.table([pa.array(held), reason], schema=self.writes)

        return hold
