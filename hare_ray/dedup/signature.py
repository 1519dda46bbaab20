"""What duplicates are found by: the exact hash of a document's words, and its MinHash sketch.

    text -> exact binary(16)        128-bit hash of the sequence of folded words
            words int32             number of words
            sketch binary(width)    of its word or character n-grams, see `hare_ray.dedup.minhash`

Words are folded (case, punctuation, line breaks and accents are gone), so two documents that differ only in these are
exactly equal. Scripts without spaces have a word per character. Character n-grams are of the folded words with one
space between them: they forgive misspelt words, at five times the shingles. A document without words has nothing to
compare: `exact` and `sketch` are null.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.stage import Annotate, Files, PartFunction, Table

WORD, CHARACTER = "word", "character"

KEY_BYTES = 8
"""Of the minima of a band, at least: fewer would be equal by chance."""

MINIMUM_BYTES = 4
"""A minimum has 32 bits."""


class Signature(Annotate):
    """Exact hash, number of words and MinHash sketch of every document."""

    docs: Table
    ngram: int
    """Words, or characters, in a shingle."""
    unit: str
    """`word` or `character`."""
    bands: int
    rows: int
    """Minima per band; two documents of similarity s meet with probability 1 - (1 - s^rows)^bands."""
    seed: int
    """Of the permutations; signatures of different seeds do not compare."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("numba",)
    reads: ClassVar[tuple[str, ...] | None] = ("text",)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        for name in ("ngram", "bands", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")
        if self.unit not in (WORD, CHARACTER):
            raise ValueError(f"{self!r}: given unit={self.unit!r}, expected {WORD!r} or {CHARACTER!r}")
        if self.seed < 0:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 or more")

    @property
    def sketch_bytes(self) -> int:
        """Width of a sketch."""
        return self.bands * self.rows * min(MINIMUM_BYTES, -(-KEY_BYTES // self.rows))

    def schema(self) -> pa.Schema:
        """The sketch has a fixed width."""
        return pa.schema(
            [
                pa.field("exact", pa.binary(16)),
                pa.field("words", pa.int32(), nullable=False),
                pa.field("sketch", pa.binary(self.sketch_bytes)),
            ]
        )

    def prepare(self, files: Files) -> PartFunction:
        """Compile, or load the compiled kernels."""
        from hare_ray.dedup.minhash import permutations, sketches
        from hare_ray.dedup.runs import binary
        from hare_ray.text import characters_of, document_hashes, table_words

        chosen = permutations(self.bands * self.rows, self.seed)

        def sign(docs: pa.Table) -> pa.Table:
            words = table_words(docs)
            whole = document_hashes(words)
            units = words if self.unit == WORD else characters_of(docs.column("text"))
            found = sketches(units, self.ngram, whole, chosen, self.sketch_bytes)
            counts = words.lengths.astype(np.int32)
            empty = pa.array(counts == 0)
            columns = [
                pc.if_else(empty, pa.scalar(None, pa.binary(16)), binary(whole.view(np.uint8).reshape(-1, 16))),
                pa.array(counts),
                pc.if_else(empty, pa.scalar(None, pa.binary(self.sketch_bytes)), binary(found)),
            ]
            return pa.table(columns, schema=self.schema())

        return sign
