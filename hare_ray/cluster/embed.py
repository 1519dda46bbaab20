"""A sentence vector for every document: where it lies among all others.

    title, text -> embedding fixed list<float16>[dimensions], of length 1

The model reads title and text up to `max_tokens`. Texts are cut by characters first, so a whole book is
never tokenised to keep its first page. A document without title and text gets the zero vector: it is like
nothing (similarity 0 to everything), while a row of nulls would have to be carried around by every later
stage.

Batches are made within one part: rows sorted by number of tokens (equal ones in order), `batch_rows` at a
time. That saves the padding (on short texts half of all tokens) and makes the result a function of the part
alone: a vector differs in its last bits with the batch it was computed in. On CPU the model runs in one
thread per worker; the workers are the parallelism. The model is read from its folder; the hub is never
asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.cluster.kmeans import normalised
from hare_ray.stage import Annotate, Files, PartFunction, Source, Table

CHARACTERS_PER_TOKEN = 8
"""Text kept per token the model may read. English has 4 to 6; a text beyond 8 is read a little less far."""

DTYPES = ("bfloat16", "float32")

Encode = Callable[[list[str]], NDArray[np.float32]]


class Embed(Annotate):
    """The vector of every document's beginning."""

    docs: Table
    model: Source
    """A sentence-transformers model directory."""
    dimensions: int
    """Of the model; said here because the schema must be known before the model is loaded."""
    max_tokens: int
    batch_rows: int
    """Rows per forward pass; it shapes the last bits, so it is part of the recipe."""
    dtype: str
    """'bfloat16' (about three times as fast on CPUs that have it in hardware) or 'float32'."""

    imports: ClassVar[tuple[str, ...]] = ("sentence_transformers",)

    reads: ClassVar[tuple[str, ...] | None] = ("title", "text")

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        for name in ("dimensions", "max_tokens", "batch_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")
        if self.dtype not in DTYPES:
            raise ValueError(f"{self!r}: given dtype={self.dtype!r}, expected one of {DTYPES}")

    def schema(self) -> pa.Schema:
        """One vector per row."""
        return pa.schema([pa.field("embedding", pa.list_(pa.float16(), self.dimensions))])

    def prepare(self, files: Files) -> PartFunction:
        """Load the model."""
        encode = encoder(files(self.model), self.dimensions, self.max_tokens, self.batch_rows, self.dtype)
        characters = CHARACTERS_PER_TOKEN * self.max_tokens
        schema = self.schema()

        def embed(docs: pa.Table) -> pa.Table:
            texts = beginnings(docs, characters)
            filled = np.flatnonzero(np.asarray(pc.greater(pc.binary_length(texts), 0), bool))
            vectors = np.zeros((len(texts), self.dimensions), np.float16)
            if len(filled):
                vectors[filled] = encode(texts.take(pa.array(filled)).to_pylist())
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.dimensions)
            return pa.table([column], schema=schema)

        return embed


def beginnings(docs: pa.Table, characters: int) -> pa.ChunkedArray:
    """The first characters of title and text, as one string each; empty where there is neither."""
    pieces = [
        pc.utf8_slice_codeunits(pc.fill_null(docs.column(name).cast(pa.large_string()), ""), 0, characters)
        for name in ("title", "text")
    ]
    joined = pc.utf8_trim_whitespace(pc.binary_join_element_wise(*pieces, pa.scalar("\n", pa.large_string())))
    return pc.utf8_slice_codeunits(joined, 0, characters)


def encoder(folder: Path, dimensions: int, max_tokens: int, batch_rows: int, dtype: str) -> Encode:
    """The model in `folder` as a function from a list of texts to vectors of length 1."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from sentence_transformers import SentenceTransformer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    model = SentenceTransformer(str(folder), device=device, local_files_only=True).eval()
    model.to(getattr(torch, dtype))
    model.max_seq_length = max_tokens
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)

    def encode(texts: list[str]) -> NDArray[np.float32]:
        tokenizer.no_padding()  # `model.encode` leaves its own setting behind
        tokenizer.no_truncation()
        lengths = [min(len(encoding.ids), max_tokens) for encoding in tokenizer.encode_batch(texts)]
        order = np.argsort(lengths, kind="stable")
        found = np.empty((len(texts), dimensions), np.float32)
        for start in range(0, len(order), batch_rows):
            rows = order[start : start + batch_rows]
            given = [texts[row] for row in rows]
            vectors = model.encode(given, batch_size=batch_rows, convert_to_tensor=True, show_progress_bar=False)
            if vectors.shape[1] != dimensions:
                raise ValueError(
                    f"the model in {folder.name!r} gives {vectors.shape[1]} dimensions, "
                    f"the recipe says {dimensions}; set dimensions={vectors.shape[1]}"
                )
            found[rows] = vectors.float().cpu().numpy()
        return normalised(found)

    return encode
