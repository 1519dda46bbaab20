"""Files of tokens as rows for training: data that was tokenised elsewhere, packed as `hare_ray.tokens.pack` packs text.

    in     splits of .bin, .npy, .ds, .parquet or .arrow files (`hare_ray.tokens.token_files`)
    out    the columns of Pack: tokens, lengths, documents, starts

Documents keep the tokens they have: no special is added or taken away, and what closes a document in a flat file
belongs to it. Rows of no tokens lead to nothing. A document's id is the xxh3-128 of its file's name and of the number
of its first token (in files of rows: of its row), so that a row of training leads back to it.

    books    tokens read = tokens = documents' tokens in rows; rows x sequence_tokens = tokens + padding
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from hare_ray.schema import REASON
from hare_ray.stage import ARROW, Files, Map, PartFunction, Stage
from hare_ray.store import filesystem
from hare_ray.tokens.pack import TOKEN_TYPES, Pieces, packed_schema
from hare_ray.tokens.token_files import Documents, Meaning, Split, documents, is_beside

OFFSET_BYTES = 8


class Tokenised(Map):
    """Packed rows of `sequence_tokens` tokens, out of files of tokens."""

    files: Stage
    """A Source or a Make."""
    stored_token_bytes: int
    """2 or 4: bytes of a token in flat files that do not say."""
    end_token: int
    """The id that closes a document in flat files."""
    pad_token: int
    """Fills rows; training never looks at it, so any id will do."""
    vocabulary: int
    """Ids are below this."""
    sequence_tokens: int
    token_bytes: int
    """2 where the vocabulary has up to 65,536 entries, otherwise 4."""
    seed: int

    imports: ClassVar[tuple[str, ...]] = ("numba",)
    code: ClassVar[int] = 2
    derives: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        if self.sequence_tokens < 1 or not 0 <= self.seed < 2**64:
            raise ValueError(
                f"{self!r}: given sequence_tokens={self.sequence_tokens}, seed={self.seed}, "
                "expected at least 1 and 0 to 2^64 - 1"
            )
        for name in ("stored_token_bytes", "token_bytes"):
            if getattr(self, name) not in TOKEN_TYPES:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected 2 or 4")
        for name in ("end_token", "pad_token"):
            if not 0 <= getattr(self, name) < self.vocabulary:
                raise ValueError(
                    f"{self!r}: given {name}={getattr(self, name)}, expected an id of a vocabulary of {self.vocabulary}"
                )
        if self.vocabulary > 256**self.token_bytes:
            raise ValueError(
                f"{self!r}: given token_bytes={self.token_bytes} for a vocabulary of {self.vocabulary}, "
                f"expected at most {256**self.token_bytes} entries; give token_bytes=4"
            )

    @property
    def storage(self) -> str:
        """Training reads single rows at random."""
        return ARROW

    def schema(self) -> pa.Schema:
        """That of Pack."""
        return packed_schema(self.sequence_tokens, self.token_bytes)

    def counts(self, rows: pa.Table) -> dict[str, int]:
        """Documents, pieces, tokens of documents, none of them added here, and padding."""
        lengths, starts = (pc.list_flatten(rows.column(name)) for name in ("lengths", "starts"))
        tokens = pc.sum(lengths).as_py() or 0
        return {
            "documents": pc.sum(pc.equal(starts, 0)).as_py() or 0,
            "pieces": len(lengths),
            "tokens": tokens,
            "padding": len(rows) * self.sequence_tokens - tokens,
        }

    def prepare(self, files: Files) -> PartFunction:
        """The function that packs splits."""
        meaning = Meaning(self.stored_token_bytes, self.end_token, self.vocabulary)

        def pack(splits: pa.Table) -> pa.Table:
            ids, lengths, stream = self._read(splits, meaning)
            packed = Pieces.of(lengths, self.sequence_tokens).packed(ids, stream, self.pad_token, self.seed)
            columns = [array.cast(field.type) for array, field in zip(packed, self.schema(), strict=True)]
            rows = pa.table(columns, schema=self.schema())
            assert self.counts(rows)["tokens"] == len(stream)
            return rows.append_column(REASON, pa.nulls(len(rows), pa.string()))

        return pack

    def _read(self, splits: pa.Table, meaning: Meaning) -> tuple[pa.Array, NDArray[np.int64], NDArray[Any]]:
        """Ids of the documents of the splits, the tokens of each, and the tokens."""
        dtype = TOKEN_TYPES[self.token_bytes]
        ids: list[bytes] = []
        lengths, streams = [np.empty(0, np.int64)], [np.empty(0, dtype)]
        for row in splits.to_pylist():
            if is_beside(row["file"]):
                continue
            system, path = filesystem(row["path"])
            index = path.removesuffix(".bin") + ".idx"
            beside = system.cat_file(index) if path.endswith(".bin") and system.exists(index) else None
            with system.open(path, "rb") as file:
                for found in documents(Split(file, row["file"], row["start"], row["end"], beside), meaning):
                    ids += document_ids(row["file"], found)
                    lengths.append(found.lengths)
                    streams.append(found.stream.astype(dtype))
        return pa.array(ids, pa.binary(16)), np.concatenate(lengths), np.concatenate(streams)


def document_ids(name: str, found: Documents) -> list[bytes]:
    """16 bytes that name each document."""
    file = xxhash.xxh3_128(name.encode("utf-8", "surrogatepass") + b"\0").digest()
    return [xxhash.xxh3_128_digest(file + first.to_bytes(OFFSET_BYTES, "little")) for first in found.first.tolist()]
