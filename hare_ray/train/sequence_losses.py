"""How well a trained model knows every packed sequence: the first half of another round (`hare_ray.train.resampled`).

    tokens, lengths -> loss     float32   mean cross entropy in nats over the row's targets; 0 where it has none
                       targets  int32     positions whose next token is of the same piece

PanGu-pi Pro (arXiv 2402.02791, section 4.2) takes the loss of each batch of 2 M tokens under the frozen model of the
round before; here it is that of each sequence, which `Resampled` averages over as many as it is to draw together. The
model sees what training showed it: pieces by themselves, no padding.

Rows of a part are taken `batch_rows` at a time, so the result is a function of the part alone. On CPU every worker
loads the model once and computes in one thread; with `gpus` as many long-lived workers have one GPU each.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.stage import Annotate, Files, Needs, PartFunction, Stage, Table
from hare_ray.train.sequences import TOKEN_TYPES, Batch, segments_and_positions
from hare_ray.train.settings import PRECISIONS


class SequenceLosses(Annotate):
    """Loss and targets of every packed sequence."""

    sequences: Table
    """Packed rows."""
    trained: Stage
    """A Pretrain, or a folder in the format of Hugging Face (Export, Source)."""
    sequence_tokens: int
    """Of a row."""
    dtype: str
    """Of the weights while computing: 'bfloat16' or 'float32'; sums are float32."""
    batch_rows: int
    """Rows of one forward pass; it shapes the last bits, so it is part of the recipe."""
    gpus: int = 0
    """Workers with one GPU each; 0: CPU."""

    imports: ClassVar[tuple[str, ...]] = ("torch", "safetensors")
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "gpus"})
    reads: ClassVar[tuple[str, ...] | None] = ("tokens", "lengths")
    writes: ClassVar[pa.Schema] = pa.schema(
        [pa.field("loss", pa.float32(), nullable=False), pa.field("targets", pa.int32(), nullable=False)]
    )

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, and tables that are not packed; say what a worker takes."""
        super().__post_init__()
        for name, least in (("sequence_tokens", 1), ("batch_rows", 1), ("gpus", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least {least}")
        if self.dtype not in PRECISIONS:
            raise ValueError(f"{self!r}: given dtype={self.dtype!r}, expected one of {PRECISIONS}")
        self._token_bytes()
        if self.gpus:
            object.__setattr__(self, "needs", Needs(gpus=1, actors=self.gpus))

    def _token_bytes(self) -> int:
        schema = self.sequences.schema()
        kind: Any = schema.field("tokens").type if "tokens" in schema.names else None
        width = kind.byte_width if isinstance(kind, pa.FixedSizeBinaryType) else 0
        if width not in (size * self.sequence_tokens for size in TOKEN_TYPES):
            raise ValueError(
                f"{self!r}: given {self.sequences!r} with tokens of {kind}, expected rows of {self.sequence_tokens} "
                "tokens of 2 or 4 bytes; give a packed table and its sequence_tokens"
            )
        return width // self.sequence_tokens

    def prepare(self, files: Files) -> PartFunction:
        """Load the model."""
        from hare_ray.train.scoring import Scorer

        scorer = Scorer(files(self.trained), self.dtype, gpu=self.gpus > 0)
        token_bytes = self._token_bytes()

        def losses(rows: pa.Table) -> pa.Table:
            tables = [self.writes.empty_table()]
            for first in range(0, len(rows), self.batch_rows):
                batch = unpacked(rows.slice(first, self.batch_rows), self.sequence_tokens, token_bytes)
                tables.append(pa.table([pa.array(column) for column in scorer.losses(batch)], schema=self.writes))
            found = pa.concat_tables(tables)
            check_numbers(self, self.sequences, found)
            return found

        return losses


def check_numbers(stage: Stage, table: Table, losses: pa.Table) -> None:
    """Refuse losses that are no numbers: such a row would be drawn never or always, and a mean over it is no number."""
    loss = losses.column("loss").to_numpy()
    wrong = np.flatnonzero(~np.isfinite(loss))
    if len(wrong):
        raise ValueError(
            f"{stage!r}: given {table!r} with a loss of {loss[wrong[0]]} in row {wrong[0]} of a part, expected a "
            "number; measure losses with dtype='float32', or of a model from before it diverged"
        )


def unpacked(rows: pa.Table, sequence_tokens: int, token_bytes: int) -> Batch:
    """Packed rows as training takes them."""
    packed, lengths = (rows.column(name).combine_chunks() for name in ("tokens", "lengths"))
    count, offset = len(packed) * sequence_tokens, packed.offset * sequence_tokens * token_bytes
    tokens = np.frombuffer(packed.buffers()[1], TOKEN_TYPES[token_bytes], count, offset)
    pieces = pieces_of(lengths)
    return Batch(
        tokens.reshape(len(rows), sequence_tokens).astype(np.int64), *segments_and_positions(pieces, sequence_tokens)
    )


def pieces_of(lengths: pa.ListArray) -> list[NDArray[np.int64]]:
    """Tokens of the pieces of every row."""
    stops = np.cumsum(pc.list_value_length(lengths).to_numpy())
    return np.split(lengths.flatten().to_numpy().astype(np.int64), stops[:-1])
