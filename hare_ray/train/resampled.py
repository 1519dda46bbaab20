"""Which sequences another round of training reads: more of those that the last one left badly learnt.

    documents, starts; loss, targets -> reason     'not_drawn', or null: the next round reads the row

PanGu-pi Pro (arXiv 2402.02791, section 4.2): what a run saw early it has partly forgotten, so its data is gone through
again, half of it, drawn where the loss is high. Within a part of N grains N0 = round(share * N) are drawn without
replacement, each next one with probability

    p_i = exp(l_i / temperature) / sum_j exp(l_j / temperature)        l in nats, over those not drawn yet

which is torch.multinomial(p, N0, replacement=False). The same draw in one pass: the N0 largest of
l_i / temperature + G_i with independent G_i of the standard Gumbel distribution (Efraimidis and Spirakis, Inf. Proc.
Letters 97, 2006; Kool et al., arXiv 1903.06059). Here G_i is a hash of the seed and of the grain's first piece
(document, first token in it), not of its place, so neither the order of the rows nor the number of workers changes
what is drawn. A piece that a part holds twice, as a document that is repeated, counts its copies.

A grain is `grain_sequences` rows that follow one another, their loss the mean over their targets. The paper's is a
batch of 2 M tokens. Means of a thousand sequences hardly differ (their spread falls with the root of the number), so
that p is all but uniform; single sequences differ, and are the grain here. The temperature says how much of that
counts: 1 is the paper's, below it the choice is stricter, far above it is uniform. How flat p is, and how far the
losses of what was drawn lie above the others', tells `hare_ray.train.round_summary`.

The paper's parts are random eighths of the data, to hold the time of training apart; here a part is a file of the
table: `share` of each is drawn, whatever the loss of the whole part.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.mixing import GOLDEN, Numbers, id_keys, mixed
from hare_ray.schema import REASON
from hare_ray.stage import Annotate, Files, PartFunction, Table
from hare_ray.train.sequence_losses import check_numbers

NOT_DRAWN = "not_drawn"

MANTISSA = 52
"""Bits of a uniform number, so that half a unit more is still exact: never 0 or 1."""

Floats = NDArray[np.float64]


class Resampled(Annotate):
    """A verdict on packed sequences."""

    sequences: Table
    """Packed rows."""
    losses: Table
    """SequenceLosses on them."""
    seed: int
    share: float = 0.5
    """Of the grains of a part. The paper's table 6: 25 % gains 1.6 points, 50 % 2.9, all 3.3."""
    temperature: float = 1.0
    """In nats."""
    grain_sequences: int = 1
    """Rows that are drawn together."""

    reads: ClassVar[tuple[str, ...] | None] = ("documents", "starts")
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def __post_init__(self) -> None:
        """Refuse other tables' losses, and numbers that mean nothing."""
        super().__post_init__()
        if not 0 < self.share <= 1 or not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"{self!r}: given share={self.share}, temperature={self.temperature}, "
                "expected a share above 0 and up to 1, and a temperature above 0"
            )
        if self.grain_sequences < 1 or not 0 <= self.seed < 2**64:
            raise ValueError(
                f"{self!r}: given grain_sequences={self.grain_sequences}, seed={self.seed}, "
                "expected at least 1, and 0 to 2^64 - 1"
            )
        if not {"loss", "targets"} <= set(self.losses.schema().names):
            raise ValueError(
                f"{self!r}: given losses={self.losses!r} with columns {self.losses.schema().names}, "
                "expected `loss` and `targets`: see SequenceLosses"
            )

    def prepare(self, files: Files) -> PartFunction:
        """The function of sequences and their losses."""
        del files
        return self._judged

    def _judged(self, rows: pa.Table, losses: pa.Table) -> pa.Table:
        check_numbers(self, self.losses, losses)
        size = self.grain_sequences
        means = grain_losses(losses.column("loss").to_numpy(), losses.column("targets").to_numpy(), size)
        keys = row_keys(rows, self.seed)[::size]
        chosen = drawn(means / self.temperature, keys, grains_drawn(len(means), self.share))
        dropped = pa.array(~np.repeat(chosen, size)[: len(rows)])
        reasons = pc.if_else(dropped, pa.scalar(NOT_DRAWN), pa.scalar(None, pa.string()))
        return pa.table([reasons], schema=self.writes)


def grain_losses(loss: NDArray[np.float32], targets: NDArray[np.int32], size: int) -> Floats:
    """Mean loss over the targets of every `size` rows; the last grain may have fewer."""
    starts = np.arange(0, len(loss), size)
    weights = targets.astype(np.float64)
    summed, counts = (np.add.reduceat(each, starts) if len(loss) else weights for each in (loss * weights, weights))
    return summed / np.maximum(counts, 1.0)


def grains_drawn(count: int, share: float) -> int:
    """`share` of `count`, to the nearest; a half goes up."""
    return int(count * share + 0.5)


def row_keys(rows: pa.Table, seed: int) -> Numbers:
    """A 64-bit hash of the seed and the first piece of every row; rows of one and the same first piece are counted."""
    documents, starts = (rows.column(name).combine_chunks() for name in ("documents", "starts"))
    first = pa.array(documents.offsets.to_numpy()[:-1])
    keys = id_keys(documents.values.take(first), seed, starts.values.take(first).to_numpy().astype(np.int64))
    return mixed(keys + GOLDEN * occurrence(keys))


def occurrence(keys: Numbers) -> Numbers:
    """How many equal keys come before each."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), bool), np.diff(keys[order]) != 0]))
    counts = np.empty(len(keys), np.uint64)
    counts[order] = np.arange(len(keys)) - np.repeat(starts, np.diff([*starts, len(keys)]))
    return counts


def drawn(scores: Floats, keys: Numbers, count: int) -> NDArray[np.bool_]:
    """`count` of them without replacement, each next one in proportion to exp(score)."""
    uniform = ((keys >> np.uint64(64 - MANTISSA)).astype(np.float64) + 0.5) * 2.0**-MANTISSA
    order = np.argsort(np.log(-np.log(uniform)) - scores, kind="stable")
    chosen = np.zeros(len(scores), np.bool_)
    chosen[order[:count]] = True
    return chosen


def probabilities(scores: Floats) -> Floats:
    """Softmax."""
    weights = np.exp(scores - scores.max(initial=0.0))
    return weights / weights.sum()
