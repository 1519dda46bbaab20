"""Which documents are copies of which, over all parts of all sources and earlier crawls, in one graph.

    docs id, url, file, offset; signatures exact, sketch
    ->  reason               null for the kept copy and the unique; else why the row goes
        detail               URL of the copy that stays, be it of an earlier crawl
        duplicate_cluster    smallest id in the cluster; the own id in a cluster of one
        duplicates int32     rows in the cluster and known texts, 1 = unique
        similarity float32   of the sketches of row and kept copy; null for the kept and the unique

Evidence that ties texts together: the same `exact` hash, the same id (one record, read twice), a shared band key where
the sketches say at least `min_similarity`, and what other stages find (`edges`). One connected-components step over all
of it gives the clusters; see `hare_ray.dedup.match` for which candidates are compared, `hare_ray.dedup.survivors` for
the copy that stays. Reasons speak of the row and that copy: same_record, the same id; exact_duplicate, the same words;
near_duplicate, tied to it by our evidence, maybe over third documents; else the reason of the strongest other edge.
Rows without words are dropped (no_words) and nobody's copy. Rows that have a copy in a known index all go.

The result is a function of the set of rows: how they are cut into parts, their order, the memory and the number of
workers do not matter. Files matter only among rows with one id, which are one record: which of them is kept.

Method: an external sort-and-join over distinct texts, so that memory is bounded and machines add up: runs cut by hash,
each partition sorted alone. Ray Data's group-by does the same in ten times the time. What grows with the corpus in one
process is 5 bytes a text, see `hare_ray.dedup.components`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from hare_ray.dedup.edges import check_edges
from hare_ray.dedup.preferred import check_same_documents, preferred
from hare_ray.dedup.signature import Signature
from hare_ray.schema import DETAIL, ID, REASON
from hare_ray.stage import Gather, Stage, Table

if TYPE_CHECKING:
    from hare_ray.dedup.plan import Work
    from hare_ray.gather import Desk


class Duplicates(Gather):
    """One verdict per row: kept, or a copy of what."""

    docs: Table
    signatures: Signature
    min_similarity: float
    """Candidates whose sketches are less similar are no copies; 0 believes every shared key."""
    prefer: tuple[str, ...]
    """Numeric columns of signatures, documents or opinions; of two copies the one with the larger value stays."""
    opinions: tuple[Table, ...] = ()
    """Further tables on the same base that such columns are in."""
    edges: tuple[Table, ...] = ()
    """Other evidence, see `hare_ray.dedup.edges`."""
    known: tuple[Stage, ...] = ()
    """Indexes of earlier crawls: each a DuplicateIndex, or a Source whose folder holds its files."""
    memory_bytes: int = 1 << 30
    """What one task may hold."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("numba",)

    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "memory_bytes"})
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            REASON,
            DETAIL,
            ID.with_name("duplicate_cluster"),
            pa.field("duplicates", pa.int32(), nullable=False),
            pa.field("similarity", pa.float32()),
        ]
    )

    def __post_init__(self) -> None:
        """Refuse tables of other documents, and preferences that no table can answer."""
        check_same_documents(self, self.docs, self.signatures, *self.opinions)
        for edges in self.edges:
            check_edges(self, edges, self.docs.base)
        if not 0 <= self.min_similarity <= 1:
            raise ValueError(f"{self!r}: given min_similarity={self.min_similarity}, expected 0 to 1")
        for name in self.prefer:
            self._preferred(name)

    def _preferred(self, name: str) -> tuple[Table, str]:
        """The one table that a preferred column is in."""
        return preferred(self, (self.signatures, self.docs, *self.opinions), name)

    def gather(self, desk: Desk) -> dict[str, int]:
        """Rows to texts, texts to edges, edges to clusters, clusters to verdicts; how many pairs were compared."""
        from hare_ray.dedup.index_files import opened
        from hare_ray.dedup.plan import Work, plan_of

        known = tuple(opened(desk, stage, self.signatures) for stage in self.known)
        shape = (self.signatures.bands, self.signatures.sketch_bytes)
        plan = plan_of(desk.rows(self.docs), shape, self.memory_bytes, known)
        prefer = tuple(self._preferred(name) for name in self.prefer)
        work = Work(desk, plan, self.memory_bytes, self.docs, self.signatures, self.min_similarity, prefer, self.edges)
        return _compared(work) if plan.groups else {}


def _compared(work: Work) -> dict[str, int]:
    """All steps, each over groups or partitions; what the books say of them."""
    from hare_ray.dedup import door, match, survivors, texts
    from hare_ray.dedup.components import connect

    plan = work.plan
    groups, partitions = range(len(plan.groups)), range(plan.partitions)
    work.run(texts.spill_texts, groups)
    sizes = [*work.run(texts.number_texts, partitions), *(index.texts[file] for index, file in plan.known_files)]
    work = replace(work, plan=replace(plan, starts=tuple(accumulate(sizes, initial=0))))
    work.run(texts.spill_ids, groups)
    work.run(texts.match_ids, partitions)
    matched = work.run(match.match_bands, range(1 << plan.band_bits))
    work.run(match.attach_sketches, range(len(sizes)))
    verified = work.run(match.verify_pairs, partitions)
    if work.edges:
        work.run(door.spill_edges, groups)
        work.run(door.attach_edges, groups)
    connect(work)
    work.run(survivors.cluster_members, partitions)
    work.run(survivors.best_of_group, groups)
    work.run(survivors.best_of_known, range(len(plan.known_files)))
    work.run(survivors.decide, partitions)
    work.run(survivors.write_verdicts, groups)
    return {
        "texts": sum(sizes[: plan.partitions]),
        "known_texts": sum(sizes[plan.partitions :]),
        "buckets": sum(result["buckets"] for result in matched),
        "largest_bucket": max(result["largest"] for result in matched),
        "pairs": sum(result["pairs"] for result in verified),
        "pairs_verified": sum(result["verified"] for result in verified),
        "pairs_refused": sum(result["refused"] for result in verified),
    }
