"""Lines or paragraphs of documents as 64-bit hashes, by which copies are found across documents.

    text -> passages       list<uint64>   hash of the folded words of every passage, in order; 0: too few to compare
            passage_words  list<int32>    how many words it has

A passage is a line, or the lines between two blank ones, that holds more than white space. Its words are folded (case,
punctuation, accents and, in a paragraph, line breaks are gone), so re-cased, re-punctuated and re-wrapped copies are
equal, and text without spaces counts its characters. Headings, "read more" and the like have few words and say little
about a copy: passages with fewer than `min_words` are never compared.

The unit is what an author or a template repeats as a whole. Spans of a fixed number of sentences (datatrove) need a
sentence splitter per language, which costs more than all else here; substrings (suffix arrays) need the corpus in
memory several times over.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import pyarrow as pa

from hare_ray.stage import Annotate, Files, PartFunction, Table

UNITS = ("line", "paragraph")


class Passages(Annotate):
    """Hashes of the passages of every document."""

    docs: Table
    unit: Literal["line", "paragraph"]
    min_words: int
    """Passages with fewer words are not compared."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("passages", pa.list_(pa.uint64()), nullable=False),
            pa.field("passage_words", pa.list_(pa.int32()), nullable=False),
        ]
    )
    reads: ClassVar[tuple[str, ...] | None] = ("text",)

    def __post_init__(self) -> None:
        """Refuse units that do not exist and numbers that mean nothing."""
        super().__post_init__()
        if self.unit not in UNITS:
            raise ValueError(f"{self!r}: given unit={self.unit!r}, expected one of {', '.join(UNITS)}")
        if self.min_words < 1:
            raise ValueError(f"{self!r}: given min_words={self.min_words}, expected at least 1")

    def prepare(self, files: Files) -> PartFunction:
        """Compile, or load the compiled kernels."""
        del files
        from hare_ray.dedup.passage_kernels import hashes_of, places_of
        from hare_ray.text import words_of

        def hashed(docs: pa.Table) -> pa.Table:
            text = docs.column("text")
            places = places_of(text, self.unit == "paragraph")
            hashes, counts = hashes_of(words_of(text), places, self.min_words)
            offsets = pa.array(places.offsets, pa.int32())
            lists = [pa.ListArray.from_arrays(offsets, pa.array(values)) for values in (hashes, counts)]
            return pa.table(lists, schema=self.writes)

        return hashed
