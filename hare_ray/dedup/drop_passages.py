"""Documents without the passages that another document, or they themselves, had before.

    in      documents; `repeated`, the numbers of their passages that go
    out     the same columns, the text changed where something goes; removed_passages int32, removed_bytes int64

A passage goes with the blank lines after it; what stays, stays byte for byte. Of the documents that lost something,
those with fewer than `min_words` words left get the reason `few_words_left`; untouched ones are not judged here. The
two columns stand in the books as sums.

`repeated` should speak of documents whose duplicates are gone already: otherwise the document that has the first copy
of a passage may be dropped as a duplicate, and the passage with it.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.dedup.repeated_passages import RepeatedPassages
from hare_ray.schema import REASON
from hare_ray.stage import Files, Map, PartFunction, Table

FEW_WORDS_LEFT = "few_words_left"

REMOVED = (
    pa.field("removed_passages", pa.int32(), nullable=False),
    pa.field("removed_bytes", pa.int64(), nullable=False),
)


class DropPassages(Map):
    """Texts without their repeated passages."""

    docs: Table
    repeated: RepeatedPassages
    min_words: int
    """A changed document with fewer words left is dropped."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    def __post_init__(self) -> None:
        """Refuse a number that would let empty texts through."""
        super().__post_init__()
        if self.min_words < 1:
            raise ValueError(f"{self!r}: given min_words={self.min_words}, expected at least 1")

    def schema(self) -> pa.Schema:
        """The documents' columns and what was removed."""
        made = ("base_row", *(field.name for field in REMOVED))
        return pa.schema([*(field for field in self.docs.schema() if field.name not in made), *REMOVED])

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """Passages and bytes removed from the documents that stay."""
        return {field.name: pc.sum(rows[field.name]).as_py() or 0 for field in REMOVED}

    def prepare(self, files: Files) -> PartFunction:
        """Nothing to load; the kernels come with the first part."""
        del files
        return partial(_drop, self)


def _drop(stage: DropPassages, docs: pa.Table, repeated: pa.Table) -> pa.Table:
    from hare_ray.dedup.passage_kernels import places_of, texts_without
    from hare_ray.text import words_of

    text = docs["text"].combine_chunks()
    numbers = repeated["repeated"].combine_chunks()
    removed = pc.list_value_length(numbers).to_numpy(zero_copy_only=False).astype(np.int32)
    changed = removed > 0
    removed_bytes = np.zeros(len(docs), np.int64)
    few = np.zeros(len(docs), bool)
    if changed.any():
        old = text.filter(pa.array(changed))
        places = places_of(old, stage.repeated.passages.unit == "paragraph")
        gone = np.zeros(len(places.starts), bool)
        gone[np.repeat(places.offsets[:-1], removed[changed]) + numbers.flatten().to_numpy()] = True
        edges, data = texts_without(old, places, gone)
        new = pa.Array.from_buffers(pa.large_string(), len(old), [None, pa.py_buffer(edges), pa.py_buffer(data)])
        removed_bytes[changed] = pc.binary_length(old).to_numpy() - np.diff(edges)
        few[changed] = words_of(new).lengths < stage.min_words
        text = pc.replace_with_mask(text, pa.array(changed), new)
    columns = {name: docs[name] for name in stage.schema().names if name in docs.column_names}
    return pa.table(
        {
            **columns,
            "text": text,
            "removed_passages": pa.array(removed),
            "removed_bytes": pa.array(removed_bytes),
            REASON.name: pc.if_else(pa.array(few), FEW_WORDS_LEFT, pa.scalar(None, pa.string())),
        }
    )
