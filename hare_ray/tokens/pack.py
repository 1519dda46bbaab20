"""Documents as rows of tokens for training: encoded, packed whole, shuffled within the part.

    id, text -> tokens     binary(sequence_tokens * token_bytes)  little-endian ids; <pad> from the last piece on
                lengths    list<uint32>      tokens of each piece, in the order of the row
                documents  list<binary(16)>  the document each piece is of
                starts     list<uint32>      first token of the piece within its document

A document is <s> ids </s>, whatever the tokenizer calls them. In front is what the tokenizer itself puts there, as it
will for others: GPT-2's names <|endoftext|> as what begins a text and puts nothing, so a document is ids <|endoftext|>.
What ends one its files say (`hare_ray.tokenizer_files`). A document that is longer than a row is cut, not cropped: its
tokens are the pieces at starts 0, sequence_tokens, ..., and nothing is lost. All pieces of a part are packed best-fit
decreasing, see `hare_ray.tokens.packing`. A document that fits is never split to fill a row, as it is where documents
are joined and cut every sequence_tokens (the usual way), and the padding is still under 1 % in a part of some thousand
documents; in one of a hundred there is too little to fill the gaps with. Training starts the positions anew at every
piece, lets attention see one piece only and leaves the padding out of the loss. Null and empty text lead to nothing.

Rows are put into an order by a hash of the seed and their first piece, so that neighbours are not of one site. With
`repeats` a document is encoded once and packed as often as that says; a copy after the first is in `documents` again.
Specials that a text spells out are encoded as the text they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray import tokenizer_files
from hare_ray.mixing import id_keys
from hare_ray.schema import REASON
from hare_ray.stage import ARROW, Files, Map, PartFunction, Stage, Table
from hare_ray.tokens.given import GivenTokenizer, ending, files_of
from hare_ray.tokens.tokenizer import Tokenizer, batches, library_tokenizer

TOKEN_TYPES = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
"""Token ids by their bytes."""

COPY_SHIFT = 40
"""Bits of a piece's start below the number of its copy, in what rows are ordered by."""


def packed_schema(sequence_tokens: int, token_bytes: int) -> pa.Schema:
    """Columns of packed sequences: the width of a row is their length in bytes."""
    return pa.schema(
        [
            pa.field("tokens", pa.binary(sequence_tokens * token_bytes), nullable=False),
            pa.field("lengths", pa.list_(pa.uint32()), nullable=False),
            pa.field("documents", pa.list_(pa.binary(16)), nullable=False),
            pa.field("starts", pa.list_(pa.uint32()), nullable=False),
        ]
    )


class PackedRows(Map):
    """Rows of `sequence_tokens` tokens, wherever the tokens of the documents come from."""

    sequence_tokens: int
    token_bytes: int
    """2 where the vocabulary has up to 65,536 entries, otherwise 4."""
    seed: int

    derives: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        if self.sequence_tokens < 1 or not 0 <= self.seed < 2**64:
            raise ValueError(
                f"{self!r}: given sequence_tokens={self.sequence_tokens}, seed={self.seed}, "
                "expected at least 1 and 0 to 2^64 - 1"
            )
        if self.token_bytes not in TOKEN_TYPES:
            raise ValueError(f"{self!r}: given token_bytes={self.token_bytes}, expected 2 or 4")

    @property
    def storage(self) -> str:
        """Training reads single rows at random."""
        return ARROW

    def schema(self) -> pa.Schema:
        """The width of a row is a field."""
        return packed_schema(self.sequence_tokens, self.token_bytes)

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """Documents, pieces, tokens of documents, and padding."""
        lengths, starts = (pc.list_flatten(rows.column(name)) for name in ("lengths", "starts"))
        tokens = pc.sum(lengths).as_py() or 0
        return {
            "documents": pc.sum(pc.equal(starts, 0)).as_py() or 0,
            "pieces": len(lengths),
            "tokens": tokens,
            "padding": len(rows) * self.sequence_tokens - tokens,
        }

    def check_fits(self, vocabulary: int) -> None:
        """Refuse ids that a stored token has too few bytes for."""
        if vocabulary > 256**self.token_bytes:
            raise ValueError(
                f"{self!r}: given token_bytes={self.token_bytes} for a vocabulary of {vocabulary}, "
                f"expected at most {256**self.token_bytes} entries; give token_bytes=4"
            )

    def rows(self, pieces: Pieces, ids: pa.Array, stream: NDArray[Any], pad: int) -> pa.Table:
        """The rows of a part, with no reason to drop any."""
        packed = pieces.packed(ids, stream, pad, self.seed)
        columns = [array.cast(field.type) for array, field in zip(packed, self.schema(), strict=True)]
        rows = pa.table(columns, schema=self.schema())
        assert self.counts(rows)["tokens"] == pieces.lengths.sum()
        return rows.append_column(REASON, pa.nulls(len(rows), pa.string()))


class Pack(PackedRows):
    """Packed rows of documents with text."""

    docs: Table
    tokenizer: Stage
    """A Tokenizer, a GivenTokenizer, or a Source folder with a tokenizer.json or a SentencePiece .model."""
    repeats: Table | None = None
    """A Repeats on `docs`; None: every document once."""

    imports: ClassVar[tuple[str, ...]] = ("numba", "tokenizers")
    reads: ClassVar[tuple[str, ...] | None] = ("id", "text")
    code: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, as far as they are known before the tokenizer is made."""
        super().__post_init__()
        if isinstance(self.tokenizer, (Tokenizer, GivenTokenizer)):
            self.check_fits(self.tokenizer.vocabulary)

    def prepare(self, files: Files) -> PartFunction:
        """Load the tokenizer and the kernels."""
        encoder = Encoder.of(files(self.tokenizer), TOKEN_TYPES[self.token_bytes])
        self.check_fits(encoder.vocabulary)

        def pack(docs: pa.Table, repeats: pa.Table | None = None) -> pa.Table:
            copies = None if repeats is None else repeats.column("repeats").to_numpy()
            ids, stream, lengths, copies = encoder.documents(docs, copies)
            pieces = Pieces.of(lengths, self.sequence_tokens, copies)
            assert pieces.lengths.sum() == copies @ lengths
            return self.rows(pieces, ids, stream, encoder.pad)

        return pack


@dataclass(frozen=True)
class Encoder:
    """A tokenizer that makes token streams of documents."""

    tokenizer: Any
    dtype: np.dtype[Any]
    vocabulary: int
    begin: tuple[int, ...]
    """What stands before a document."""
    end: int
    pad: int

    @classmethod
    def of(cls, folder: Path, dtype: np.dtype[Any]) -> Encoder:
        """Load a tokenizer.json or a SentencePiece model; its files name the end."""
        files = files_of(folder)
        ids, pad, end = tokenizer_files.ids(files), tokenizer_files.specials(files)["pad_token"], ending(files)
        tokenizer = library_tokenizer(files)
        # Mistral's and Llama's have no <pad>; padding is never looked at, so any id will do.
        return cls(
            tokenizer=tokenizer,
            dtype=dtype,
            vocabulary=1 + max(ids.values()),
            begin=put_in_front(tokenizer),
            end=ids[end],
            pad=ids[end if pad is None else pad],
        )

    def documents(
        self, docs: pa.Table, copies: NDArray[np.int32] | None
    ) -> tuple[pa.Array, NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Ids of the documents that are packed, their token streams one after the other, tokens and copies of each.

        Those are all that have text and, where `copies` are given, at least one of them.
        """
        filled = np.asarray(pc.greater(pc.fill_null(pc.binary_length(docs.column("text")), 0), 0), bool)
        wanted = np.ones(len(docs), np.int64) if copies is None else copies.astype(np.int64)
        filled &= wanted > 0
        docs = docs.select(["id", "text"]).filter(pa.array(filled)).combine_chunks()
        streams, lengths = [np.empty(0, self.dtype)], [np.empty(0, np.int64)]
        for texts in batches(docs.column("text")):
            stream, tokens = self.encoded(texts)
            streams.append(stream)
            lengths.append(tokens)
        ids = docs.column("id").combine_chunks()
        return ids, np.concatenate(streams), np.concatenate(lengths), wanted[filled]

    def encoded(self, texts: list[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Token streams of texts, one after the other, and the tokens of each."""
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = [np.array(encoding.ids, self.dtype) for encoding in encodings]
        lengths = np.array([len(one) for one in ids], np.int64) + len(self.begin) + 1
        stops = np.cumsum(lengths)
        stream = np.empty(int(lengths.sum()), self.dtype)
        text = np.ones(len(stream), np.bool_)
        text[stops - 1] = False
        stream[stops - 1] = self.end
        for at, token in enumerate(self.begin):
            text[stops - lengths + at] = False
            stream[stops - lengths + at] = token
        stream[text] = np.concatenate([np.empty(0, self.dtype), *ids])
        return stream, lengths


def put_in_front(tokenizer: Any) -> tuple[int, ...]:
    """Ids that a `tokenizers.Tokenizer` puts before a text of its own accord."""
    encoding = tokenizer.encode("a")
    added = encoding.special_tokens_mask
    # Where a letter has no token, what comes before cannot be told from what comes after.
    return tuple(encoding.ids[: added.index(0)]) if 0 in added else ()


@dataclass(frozen=True)
class Pieces:
    """Stretches of documents that fit into a row: all documents once, then all that are wanted twice, and so on."""

    capacity: int
    document: NDArray[np.int64]
    copy: NDArray[np.int64]
    """0 for what is there for the first time."""
    starts: NDArray[np.int64]
    """First token of the piece within its document."""
    sources: NDArray[np.int64]
    """First token of the piece within the stream."""
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, lengths: NDArray[np.int64], capacity: int, copies: NDArray[np.int64] | None = None) -> Pieces:
        """Documents of `lengths` tokens, cut every `capacity` tokens, each as often as `copies` says."""
        wanted = np.ones(len(lengths), np.int64) if copies is None else copies
        layers = [np.flatnonzero(wanted > layer) for layer in range(int(wanted.max(initial=0)))]
        taken = np.concatenate([np.empty(0, np.int64), *layers])
        layer = np.repeat(np.arange(len(layers)), [len(layer) for layer in layers])
        per_document = -(-lengths[taken] // capacity)
        document = np.repeat(taken, per_document)
        first = np.repeat(np.cumsum(per_document) - per_document, per_document)
        starts = (np.arange(len(document)) - first) * capacity
        sources = (np.cumsum(lengths) - lengths)[document] + starts
        sizes = np.minimum(lengths[document] - starts, capacity)
        return cls(capacity, document, np.repeat(layer, per_document), starts, sources, sizes)

    def packed(self, ids: pa.Array, stream: NDArray[Any], pad: int, seed: int) -> list[pa.Array]:
        """The columns of the packed rows."""
        from hare_ray.tokens.packing import best_fit, lay

        opened, order = best_fit(self.lengths, self.capacity)
        first = order[np.unique(opened[order], return_index=True)[1]]  # The piece that opened each row.
        marks = self.starts[first] + (self.copy[first] << COPY_SHIFT)
        keys = id_keys(ids.take(pa.array(self.document[first])), seed, marks)
        rows = len(first)
        number = np.empty(rows, np.int64)
        number[np.argsort(keys, kind="stable")] = np.arange(rows)
        row = number[opened]

        placed = order[np.argsort(row[order], kind="stable")]  # Pieces in the order of the rows and in them.
        edges = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
        lengths = self.lengths[placed]
        before = np.cumsum(lengths) - lengths
        targets = row[placed] * self.capacity + before - before[edges[:-1]][row[placed]]
        out = np.full(rows * self.capacity, pad, stream.dtype)
        lay(out, stream, self.sources[placed], targets, lengths)

        width = self.capacity * stream.dtype.itemsize
        offsets = pa.array(edges, pa.int32())
        return [
            pa.Array.from_buffers(pa.binary(width), rows, [None, pa.py_buffer(out)]),
            pa.ListArray.from_arrays(offsets, pa.array(lengths, pa.uint32())),
            pa.ListArray.from_arrays(offsets, ids.take(pa.array(self.document[placed]))),
            pa.ListArray.from_arrays(offsets, pa.array(self.starts[placed], pa.uint32())),
        ]
