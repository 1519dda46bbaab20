"""Documents that say what a better document of their topic says already, in other words.

    docs id, url; embeddings embedding; clusters cluster
    ->  reason                       semantic_duplicate, or null for what stays
        detail                       URL of the document that stays for it
        semantic_similarity float32  cosine with that document; null for what stays
        semantic_cluster             id of that document; the own id of what stays

Rule: documents are compared within their cluster, the better first: the one with the larger value in each preferred
column in turn (nothing is less than any number), then the smaller id, then the earlier row. A document goes if one that
STAYS is better and has a cosine of at least `min_similarity` with it; the most similar of these speaks for it. So no
two that stay are similar, and all that goes has its likeness among what stays. SemDeDup (arXiv 2303.09540) drops what
is similar to any better one, be it one that went itself: along a chain of small changes only the first stays. It
prefers what is farther from the centroid, which says little of a text and changes with k; here a column such as
`quality` decides.

A zero vector (a document without text) is like nothing. Cosines are exact, see `hare_ray.dedup.semantic_kernel`, so the
result depends on the rows and their order, not on how they are cut into parts, the memory or the number of workers.

Method: parts are cut by ranges of clusters that one task can hold; each range is decided alone, by products of blocks
of rows with the rows that stay so far; a cluster that no task can hold, block by block. The rows of a large corpus are
cut twice on their way, see `hare_ray.dedup.semantic_spans`. Cost: half of rows^2 / clusters products, so the number of
clusters should grow with the corpus. Pairs across clusters are not seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from hare_ray.dedup.preferred import check_same_documents, preferred
from hare_ray.schema import DETAIL, ID, REASON
from hare_ray.stage import Gather, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

SEMANTIC_DUPLICATE = "semantic_duplicate"


class SemanticDuplicates(Gather):
    """One verdict per row: kept, or said already by what."""

    docs: Table
    embeddings: Table
    clusters: Table
    min_similarity: float
    """Cosine at and above which two documents say the same."""
    prefer: tuple[str, ...]
    """Numeric columns of documents, clusters or opinions; of two documents the one with the larger value stays."""
    opinions: tuple[Table, ...] = ()
    """Further tables on the same base that such columns are in."""
    memory_bytes: int = 1 << 30
    """What one task may hold."""

    imports: ClassVar[tuple[str, ...]] = ("numba", "threadpoolctl")
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "memory_bytes"})
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            REASON,
            DETAIL,
            pa.field("semantic_similarity", pa.float32()),
            ID.with_name("semantic_cluster"),
        ]
    )

    def __post_init__(self) -> None:
        """Refuse tables of other documents, columns that are not there, and thresholds that mean nothing."""
        check_same_documents(self, self.docs, self.embeddings, self.clusters, *self.opinions)
        for table, name in ((self.embeddings, "embedding"), (self.clusters, "cluster")):
            if name not in table.schema().names:
                raise ValueError(f"{self!r}: given {table!r} with columns {table.schema().names}, expected {name!r}")
        if not 0 < self.min_similarity <= 1:
            raise ValueError(
                f"{self!r}: given min_similarity={self.min_similarity}, expected a cosine above 0 and at most 1"
            )
        for name in self.prefer:
            self._preferred(name)

    def _preferred(self, name: str) -> tuple[Table, str]:
        """The one table that a preferred column is in."""
        return preferred(self, (self.docs, self.clusters, *self.opinions), name)

    def gather(self, desk: Desk) -> dict[str, int]:
        """Rows to ranges of clusters, ranges to who speaks for whom, and that to verdicts."""
        from hare_ray.dedup import semantic_steps as steps
        from hare_ray.dedup.plan import cut_of
        from hare_ray.dedup.semantic_range import decide

        rows = desk.rows(self.docs)
        if not rows:
            return {}
        dimensions = self.embeddings.schema().field("embedding").type.list_size
        plan = cut_of(rows, rows, steps.bytes_per_row(dimensions), self.memory_bytes)
        prefer = tuple(self._preferred(name) for name in self.prefer)
        work = steps.SemanticWork(desk, plan, self.memory_bytes, self, prefer, dimensions)
        work.run(steps.count, range(len(plan.groups)))
        work = steps.ranged(work)
        work.run(steps.spill, range(len(plan.groups)))
        if work.spans is not None:
            work.run(steps.join, range(len(work.spans.items)))
        found = work.run(decide, work.ranges)
        work.run(steps.write, range(len(plan.groups)))
        return {
            "compared_rows": sum(result["rows"] for result in found),
            "compared_clusters": sum(result["clusters"] for result in found),
            "largest_cluster": max((result["largest"] for result in found), default=0),
            "pairs": sum(result["pairs"] for result in found),
        }
