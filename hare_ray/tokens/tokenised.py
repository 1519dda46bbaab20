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
import xxhash
from numpy.typing import NDArray

from hare_ray.stage import Files, PartFunction, Stage
from hare_ray.store import filesystem
from hare_ray.tokens.pack import TOKEN_TYPES, PackedRows, Pieces
from hare_ray.tokens.token_files import Documents, Meaning, Split, documents, is_beside

OFFSET_BYTES = 8


class Tokenised(PackedRows):
    """Packed rows out of files of tokens."""

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

    imports: ClassVar[tuple[str, ...]] = ("numba",)
    code: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        if self.stored_token_bytes not in TOKEN_TYPES:
            raise ValueError(f"{self!r}: given stored_token_bytes={self.stored_token_bytes}, expected 2 or 4")
        for name in ("end_token", "pad_token"):
            if not 0 <= getattr(self, name) < self.vocabulary:
                raise ValueError(
                    f"{self!r}: given {name}={getattr(self, name)}, expected an id of a vocabulary of {self.vocabulary}"
                )
        self.check_fits(self.vocabulary)

    def prepare(self, files: Files) -> PartFunction:
        """The function that packs splits."""
        meaning = Meaning(self.stored_token_bytes, self.end_token, self.vocabulary)

        def pack(splits: pa.Table) -> pa.Table:
            ids, lengths, stream = self._read(splits, meaning)
            pieces = Pieces.of(lengths, self.sequence_tokens)
            assert pieces.lengths.sum() == len(stream)
            return self.rows(pieces, ids, stream, self.pad_token)

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
