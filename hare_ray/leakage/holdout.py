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

from hare_ray.schema import REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table

HELD_OUT = "held_out"

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


def is_held_out(clusters: pa.Array, share: float) -> NDArray[np.bool_]:
    """Whether each cluster, a binary(16) without nulls, is set aside."""
    data = np.frombuffer(clusters.buffers()[1], np.uint8)[16 * clusters.offset :][: 16 * len(clusters)]
    halves = data.view(np.uint64).reshape(-1, 2)
    return _mixed(halves[:, 0] ^ _mixed(halves[:, 1])) < np.uint64(int(share * 2.0**64))


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
