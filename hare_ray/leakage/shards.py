"""The last look before training: the text of the packed rows themselves, searched as the documents were.

    sequences   tokens, lengths, documents, starts (packed rows)
    ->          the columns of Decontaminate, for the worst piece of a row: one with a reason, else one with a hit
                leak_document   binary(16)   the document of that piece, null where there is no hit
                leak_pieces     int32        pieces of the row that have a reason

What was checked before is the documents; what is trained on is these rows, after everything that came between. So
they are read back, from token ids to bytes (`hare_ray.leakage.token_text`), and every piece goes through the same
search under a rule of its own. A piece that is cut off in the middle of a document shares with an item what that part
of the document shares; words on both sides of a cut are never seen in one row by training either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.leakage.leaks import LEAKS, Rule, checker
from hare_ray.stage import Annotate, Files, Make, PartFunction, Stage, Table

BLOCK_TOKENS = 4 << 20
"""Tokens decoded at a time: some 16 MiB of text."""

TOKEN_TYPES = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
"""Token ids by their bytes."""

COLUMNS = ("tokens", "lengths", "documents")


class Block(NamedTuple):
    """Some rows, as their pieces."""

    tokens: NDArray[Any]
    rows: NDArray[np.int64]
    """Row of every piece."""
    firsts: NDArray[np.int64]
    """Its first token."""
    lengths: NDArray[np.int64]
    documents: pa.Array


class CheckShards(Annotate):
    """What the packed rows hold of benchmark items."""

    sequences: Table
    tokenizer: Stage
    """What the rows were packed with: a folder with tokenizer.json."""
    index: Make
    """A LeakIndex."""
    rule: Rule
    """What counts as a leak."""
    token_bytes: int
    """2 or 4, as the rows were packed with."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)
    reads: ClassVar[tuple[str, ...] | None] = COLUMNS
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            *LEAKS,
            pa.field("leak_document", pa.binary(16)),
            pa.field("leak_pieces", pa.int32(), nullable=False),
        ]
    )

    def __post_init__(self) -> None:
        """Refuse tokens of another width than they were packed with."""
        super().__post_init__()
        packed = getattr(self.sequences, "token_bytes", self.token_bytes)
        if self.token_bytes not in TOKEN_TYPES or packed != self.token_bytes:
            raise ValueError(
                f"{self!r}: given token_bytes={self.token_bytes}, expected {packed}, as {self.sequences!r} has it"
            )

    def prepare(self, files: Files) -> PartFunction:
        """Load the vocabulary and the index."""
        from hare_ray.leakage.token_text import TokenBytes

        vocabulary = TokenBytes.of(files(self.tokenizer))
        check = checker(files(self.index), self.rule)
        packed = self.sequences.schema().field("tokens").type
        width = packed.byte_width // self.token_bytes

        def look(sequences: pa.Table) -> pa.Table:
            found = [self.writes.empty_table()]
            for rows in blocks(sequences, width):
                block = pieces(rows, TOKEN_TYPES[self.token_bytes])
                texts = vocabulary.texts(block.tokens, block.firsts, block.lengths)
                leaks = check(pa.table({"text": texts}))
                found.append(worst(leaks, block, len(rows)).select(self.writes.names).cast(self.writes))
            return pa.concat_tables(found)

        return look


def blocks(sequences: pa.Table, width: int) -> Iterator[pa.Table]:
    """Rows of some BLOCK_TOKENS tokens at a time."""
    step = max(1, BLOCK_TOKENS // max(1, width))
    for first in range(0, len(sequences), step):
        yield sequences.slice(first, step).combine_chunks()


def pieces(rows: pa.Table, dtype: np.dtype[Any]) -> Block:
    """The pieces of the rows, in order."""
    column = rows.column("tokens").combine_chunks()
    width = column.type.byte_width // dtype.itemsize
    tokens = np.frombuffer(column.buffers()[1], dtype, width * len(column), column.offset * column.type.byte_width)
    lists = rows.column("lengths").combine_chunks()
    lengths = pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    row = np.repeat(np.arange(len(rows)), counts)
    before = np.cumsum(lengths) - lengths
    begins = before[np.minimum(np.cumsum(counts) - counts, len(lengths) - 1)] if len(lengths) else before
    firsts = row * width + before - begins[row]
    documents = pc.list_flatten(rows.column("documents").combine_chunks())
    if len(documents) != len(lengths) or (len(lengths) and int((firsts + lengths - row * width).max()) > width):
        raise ValueError(
            f"given rows of {width} tokens with {len(lengths)} pieces of {int(lengths.max(initial=0))} tokens at most "
            f"and {len(documents)} documents, expected pieces that fit; give token_bytes as the rows were packed with"
        )
    return Block(tokens, row, firsts, lengths, documents)


def worst(leaks: pa.Table, block: Block, rows: int) -> pa.Table:
    """One row per sequence: of its pieces the first with a reason, else the first with a hit, else nothing."""
    leaked = leaks.column("reason").is_valid().to_numpy(zero_copy_only=False)
    hit = leaked | leaks.column("leak_item").is_valid().to_numpy(zero_copy_only=False)
    order = np.lexsort((np.arange(len(hit)), -(leaked.astype(np.int64) + hit), block.rows))
    there, first = np.unique(block.rows[order], return_index=True)
    chosen = np.full(rows, -1)
    chosen[there] = order[first]
    taken = leaks.take(pa.array(chosen, pa.int64(), mask=chosen < 0))
    overlap = pc.fill_null(taken.column("leak_overlap"), 0.0)  # a row without pieces
    taken = taken.set_column(taken.schema.get_field_index("leak_overlap"), "leak_overlap", overlap)
    nowhere = (chosen < 0) | ~np.append(hit, False)[chosen]
    documents = block.documents.take(pa.array(chosen, pa.int64(), mask=nowhere))
    counts = np.bincount(block.rows[leaked], minlength=rows).astype(np.int32)
    return taken.append_column("leak_document", documents).append_column("leak_pieces", pa.array(counts))
