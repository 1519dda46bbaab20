"""Which passages of a document other documents have too, over all parts of all sources.

    docs id; passages (`hare_ray.dedup.passages`)
    ->  repeated         list<int32>  numbers of its passages that go, in order
        repeated_share   float32      share of its words in them
        edge_part, edge_row list<int32>, edge_similarity list<float32>
                         the document that holds most of its words, if `min_share` of them or more; else empty

Document means id: rows with one id are one record and get one answer. The first copy of a passage is that of the
smallest id, and stays. Another one goes where more than `max_documents` documents hold the passage: 1 removes every
repeat, more removes only what many pages share, such as notices and menus. Within its own document a passage stands
once: later places always go.

The edge is how a document made of another's passages joins its cluster of duplicates. A document has at most one, to
what contains it, so two long texts are not tied together by a short one that both quote. What it is compared with:
`hare_ray.dedup.passage_pairs`. Unlike what goes, this does not depend on `max_documents`.

Method: an external sort, bounded by `memory_bytes` per task. Every group of parts writes its passages as packed
records sorted by hash, one object per range of hashes; each range is sorted alone and gives the places of shared
passages, each with documents to compare with; these go back to the place's group, which adds up the words per pair
of documents and tells the group of the contained one. A passage that very many documents have is matched in pieces.
The result is a function of the set of documents: how they are cut into parts, their order, the memory and the number of
workers do not matter. A run that was killed goes on with the steps that are missing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.dedup.edges import EDGES
from hare_ray.dedup.passages import Passages
from hare_ray.stage import Gather, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

PASSAGE_DUPLICATE = "passage_duplicate"


class RepeatedPassages(Gather):
    """Passages that go, and the document that contains a document."""

    docs: Table
    passages: Passages
    max_documents: int
    """A passage goes from all documents but the first where more than this many have it."""
    min_share: float
    """Share of a document's words that another one must hold to contain it."""
    memory_bytes: int = 1 << 30
    """What one task may hold."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "memory_bytes"})
    edge_reason: ClassVar[str] = PASSAGE_DUPLICATE
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("repeated", pa.list_(pa.int32()), nullable=False),
            pa.field("repeated_share", pa.float32(), nullable=False),
            *EDGES,
        ]
    )

    def __post_init__(self) -> None:
        """Refuse passages of other documents, and numbers that mean nothing."""
        if self.passages.base is not self.docs.base:
            raise ValueError(
                f"{self!r} joins documents on base {self.docs.base!r} with passages on base {self.passages.base!r}; "
                "make the passages from these documents"
            )
        if self.max_documents < 1:
            raise ValueError(f"{self!r}: given max_documents={self.max_documents}, expected at least 1")
        if not 0 < self.min_share <= 1:
            raise ValueError(f"{self!r}: given min_share={self.min_share}, expected above 0 and at most 1")

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """Places that go, and documents in others."""
        lengths = (("repeated_passages", "repeated"), ("passage_edges", "edge_part"))
        return {name: int(pc.sum(pc.list_value_length(rows[column])).as_py() or 0) for name, column in lengths}

    def gather(self, desk: Desk) -> dict[str, int]:
        """Passages to pairs of documents, pairs to verdicts, each step over groups or ranges."""
        from hare_ray.dedup import passage_steps as steps
        from hare_ray.dedup.passage_pairs import BYTES_PER_PASSAGE
        from hare_ray.dedup.plan import Cut, cut_of

        rows = desk.rows(self.docs)
        if not rows:
            return {}
        work = steps.PassageWork(desk, Cut((), (), 0), self.memory_bytes, self)
        records = work.run(steps.count, range(len(rows)))
        work = replace(work, plan=cut_of(rows, records, BYTES_PER_PASSAGE, self.memory_bytes))
        groups, ranges = range(len(work.plan.groups)), range(work.plan.partitions)
        spilled = work.run(steps.spill, groups)
        work = replace(work, records=tuple(map(sum, zip(*spilled, strict=True))))
        shared = work.run(steps.match, ranges)
        work.run(steps.contain, groups)
        work.run(steps.write, groups)
        return {"passages_compared": sum(records), "passages_shared": sum(shared)}
