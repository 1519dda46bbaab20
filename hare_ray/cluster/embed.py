"""A sentence vector for every document: where it lies among all others.

    title, text -> embedding fixed_size_list<float16>[dimensions], of length 1

The model (any of sentence-transformers) reads title and text up to `max_chunks` windows of `max_tokens` tokens; the
vector is the mean of the windows', by their tokens (`hare_ray.cluster.encoder`). max_chunks=1 is the beginning alone,
which says what a document is about at a fraction of the cost. Texts are cut by characters first, so a whole book is
never tokenised to keep its first page. A document without title and text gets the zero vector: it is like nothing
(similarity 0 to everything), while a row of nulls would have to be carried around by every later stage.

Windows of one part are sorted by length and batched together, so the result is a function of the part alone. On CPU
the model runs in one thread per worker; the workers are the parallelism. With `gpus` it runs in as many long-lived
workers of one GPU each. The model is read from its folder; the hub is never asked.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.cluster.encoder import DTYPES, Encode, Plan, encoder
from hare_ray.stage import Annotate, Files, Needs, PartFunction, Source, Table

CHARACTERS_PER_TOKEN = 8
"""Text kept per token the model may read. English has 4 to 6; a text beyond 8 is read a little less far."""


class Embed(Annotate):
    """The vector of every document."""

    docs: Table
    model: Source
    """A sentence-transformers model directory."""
    dimensions: int
    """Of the model; said here because the schema must be known before the model is loaded."""
    max_tokens: int
    """Of one window."""
    max_chunks: int
    """Windows that are read of a document; what lies behind them is not looked at."""
    batch_rows: int
    """Windows per forward pass, about 8 on CPU and hundreds on a GPU; it shapes the last bits, so it is part of the
    recipe."""
    dtype: str
    """'bfloat16' (on CPUs that have it in hardware twice as fast), 'float16' (GPU only) or 'float32'."""
    gpus: int = 0
    """Workers with one GPU each; 0: CPU."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("sentence_transformers",)
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "gpus"})
    reads: ClassVar[tuple[str, ...] | None] = ("title", "text")

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing; say what a worker takes."""
        super().__post_init__()
        for name, least in (("dimensions", 1), ("max_tokens", 3), ("max_chunks", 1), ("batch_rows", 1), ("gpus", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least {least}")
        if self.dtype not in DTYPES:
            raise ValueError(f"{self!r}: given dtype={self.dtype!r}, expected one of {DTYPES}")
        if self.dtype == "float16" and not self.gpus:
            raise ValueError(
                f"{self!r}: given dtype='float16' on CPU, expected a GPU; set gpus, or dtype='bfloat16', the format of "
                "16 bits that CPUs compute with"
            )
        if self.gpus:
            object.__setattr__(self, "needs", Needs(gpus=1, actors=self.gpus))

    def schema(self) -> pa.Schema:
        """One vector per row."""
        return embedding_schema(self.dimensions)

    def prepare(self, files: Files) -> PartFunction:
        """Load the model."""
        encode = encoder(files(self.model), self.plan)
        characters = CHARACTERS_PER_TOKEN * self.max_tokens * self.max_chunks
        schema = self.schema()

        def embed(docs: pa.Table) -> pa.Table:
            vectors = encoded(beginnings(docs, characters), encode, self.dimensions)
            return pa.table([embedding_column(vectors)], schema=schema)

        return embed

    @property
    def plan(self) -> Plan:
        """The fields as the encoder wants them."""
        return Plan(
            dimensions=self.dimensions,
            max_tokens=self.max_tokens,
            max_chunks=self.max_chunks,
            batch_rows=self.batch_rows,
            dtype=self.dtype,
            gpu=self.gpus > 0,
        )


def embedding_schema(dimensions: int) -> pa.Schema:
    """The one column of every table of embeddings."""
    return pa.schema([pa.field("embedding", pa.list_(pa.float16(), dimensions))])


def embedding_column(vectors: NDArray) -> pa.FixedSizeListArray:
    """A matrix [rows, dimensions] as a column of float16."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), vectors.shape[1])


def encoded(texts: pa.ChunkedArray, encode: Encode, dimensions: int) -> NDArray[np.float32]:
    """Vectors of texts; zeros for the empty ones."""
    filled = np.flatnonzero(np.asarray(pc.greater(pc.binary_length(texts), 0), bool))
    vectors = np.zeros((len(texts), dimensions), np.float32)
    if len(filled):
        vectors[filled] = encode(texts.take(pa.array(filled)).to_pylist())
    return vectors


def beginnings(docs: pa.Table, characters: int) -> pa.ChunkedArray:
    """The first characters of title and text, as one string each; empty where there is neither."""
    pieces = [
        pc.utf8_slice_codeunits(pc.fill_null(docs.column(name).cast(pa.large_string()), ""), 0, characters)
        for name in ("title", "text")
    ]
    joined = pc.utf8_trim_whitespace(pc.binary_join_element_wise(*pieces, pa.scalar("\n", pa.large_string())))
    return pc.utf8_slice_codeunits(joined, 0, characters)
