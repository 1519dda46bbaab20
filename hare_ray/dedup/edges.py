"""The door for other evidence that two documents are copies: meaning, shared passages, whatever a stage finds.

    a table on the same base: for each row its neighbours, as part and row of the base, and how similar they are
    ClassVar edge_reason: the reason of rows that only this evidence ties to the copy that stays

An edge is believed as it is and counts in both directions; to say it once is enough. Rows without words take no part.
Our own evidence comes first: texts that it joins are one cluster, other evidence joins such clusters, and a row of
another cluster than the kept copy's is dropped for the strongest edge of its cluster.
"""

from __future__ import annotations

import pyarrow as pa

from hare_ray.stage import Stage, Table

EDGES = pa.schema(
    [
        pa.field("edge_part", pa.list_(pa.int32()), nullable=False),
        pa.field("edge_row", pa.list_(pa.int32()), nullable=False),
        pa.field("edge_similarity", pa.list_(pa.float32()), nullable=False),
    ]
)
"""`edge_part`, `edge_row`: where the neighbour is in the base; `edge_similarity`: larger is stronger."""


def check_edges(whose: Stage, edges: Table, base: Stage) -> None:
    """Refuse what is no evidence on the same base."""
    if edges.base is not base:
        raise ValueError(f"{whose!r} is on base {base!r}, given edges {edges!r} on base {edges.base!r}; take the same")
    missing = [field.name for field in EDGES if field.name not in edges.schema().names]
    if missing or not getattr(edges, "edge_reason", ""):
        raise ValueError(
            f"{whose!r}: given edges {edges!r} with columns {edges.schema().names}, expected {EDGES.names} and a "
            "ClassVar edge_reason; see hare_ray.dedup.edges"
        )
