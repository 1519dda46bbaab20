"""What duplicates are found by: the exact hash of a document's words, and its MinHash band keys.

    text -> exact binary(16)               128-bit hash of the sequence of folded words
            words int32                    number of words; of two copies the one with more is kept
            bands fixed list<uint64>[bands]  see `hare_ray.dedup.minhash`

Words are folded (case, punctuation, line breaks and accents are gone), so two documents that differ only in
these are exactly equal. A document without words has nothing to compare: `exact` and `bands` are null, and
it is nobody's copy.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.stage import Annotate, Files, PartFunction, Table


class Signature(Annotate):
    """Exact hash, number of words and MinHash band keys of every document."""

    docs: Table
    ngram: int
    """Words in a shingle."""
    bands: int
    rows: int
    """Minima per band; two documents of similarity s meet with probability 1 - (1 - s^rows)^bands."""
    seed: int
    """Of the permutations; signatures of different seeds do not compare."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    reads: ClassVar[tuple[str, ...] | None] = ("text",)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        for name in ("ngram", "bands", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")
        if self.seed < 0:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 or more")

    def schema(self) -> pa.Schema:
        """The band keys are a list of fixed length."""
        return pa.schema(
            [
                pa.field("exact", pa.binary(16)),
                pa.field("words", pa.int32(), nullable=False),
                pa.field("bands", pa.list_(pa.uint64(), self.bands)),
            ]
        )

    def prepare(self, files: Files) -> PartFunction:
        """Compile, or load the compiled kernels."""
        from hare_ray.dedup.minhash import band_keys
        from hare_ray.text import document_hashes, ngram_hashes, words_of

        def sign(docs: pa.Table) -> pa.Table:
            words = words_of(docs.column("text"))
            whole = document_hashes(words)
            keys = band_keys(ngram_hashes(words, self.ngram), whole, self.bands, self.rows, self.seed)
            counts = words.lengths.astype(np.int32)
            empty = counts == 0
            exact = pa.Array.from_buffers(pa.binary(16), len(whole), [None, pa.py_buffer(whole.tobytes())])
            return pa.table(
                [
                    pc.if_else(pa.array(empty), pa.scalar(None, pa.binary(16)), exact),
                    pa.array(counts),
                    pa.FixedSizeListArray.from_arrays(pa.array(keys.ravel()), self.bands, mask=pa.array(empty)),
                ],
                schema=self.schema(),
            )

        return sign
