# ruff: noqa: N806, N815, TID253 - names of tensors end in their axes, and torch is what this module is about
"""A sample of packed rows, and the loss of a decoder on it.

    tokens binary(T * token_bytes), lengths list<uint32> -> tokens int64[B,T], segments int32[B,T], positions int32[B,T]

A segment is the number of a piece in its row, -1 on padding. Axes: B rows, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from hare_ray.model.decoder import Decoder
from hare_ray.stage import Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

ROWS_AT_ONCE = 4
"""Rows in one pass: what a large parent takes beside its weights, and the grain of what is averaged."""

TOKEN_TYPES = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
"""Token ids by their bytes."""


PARTS = 8
"""The sample is of so many parts of its table at most: each is read whole."""


class Rows(NamedTuple):
    """Arguments of a decoder."""

    tokens_BT: Tensor
    segments_BT: Tensor
    positions_BT: Tensor


def drawn(desk: Desk, table: Table, count: int, seed: int) -> pa.Table:
    """Packed rows by chance, in an order by chance."""
    rng = np.random.default_rng(seed)
    rows = np.array(desk.rows(table))
    parts = np.sort(rng.permutation(np.flatnonzero(rows))[:PARTS])
    edges = np.cumsum([0, *rows[parts]])
    if edges[-1] < count:
        raise ValueError(
            f"given {count} sequences, expected at most the {edges[-1]} in {len(parts)} parts of {table!r}; "
            "ask for fewer, or give a larger sample"
        )
    chosen = np.sort(rng.choice(edges[-1], count, replace=False))
    found = []
    for part, begin, end in zip(parts.tolist(), edges[:-1], edges[1:], strict=True):
        here = chosen[(chosen >= begin) & (chosen < end)] - begin
        found.append(desk.read(table, part, ("tokens", "lengths")).take(pa.array(here)))
    return pa.concat_tables(found).take(pa.array(rng.permutation(count)))


def rows_of(table: pa.Table, sequence_tokens: int, vocabulary: int) -> list[Rows]:
    """Packed rows, a few at a time."""
    packed, lengths = (table.column(name).combine_chunks() for name in ("tokens", "lengths"))
    width = packed.type.byte_width
    dtype = TOKEN_TYPES.get(width // sequence_tokens)
    if dtype is None or width % sequence_tokens:
        raise ValueError(
            f"given sequence_tokens={sequence_tokens} for rows of {width} bytes, expected 2 or 4 bytes a token; "
            "give the number of the packing stage"
        )
    tokens_BT = np.frombuffer(b"".join(packed.to_pylist()), dtype).astype(np.int64).reshape(-1, sequence_tokens)
    if tokens_BT.max() >= vocabulary:
        raise ValueError(
            f"the sample holds the id {tokens_BT.max()}, expected ids under {vocabulary}; "
            "pack the sample with the tokenizer of the smaller model"
        )
    segments_BT = np.full(tokens_BT.shape, -1, np.int32)
    positions_BT = np.zeros(tokens_BT.shape, np.int32)
    for row, pieces in enumerate(lengths.to_pylist()):
        filled = sum(pieces)
        segments_BT[row, :filled] = np.repeat(np.arange(len(pieces)), pieces)
        positions_BT[row, :filled] = np.concatenate([np.arange(piece) for piece in pieces])
    whole = Rows(*(torch.from_numpy(array) for array in (tokens_BT, segments_BT, positions_BT)))
    return [Rows(*some) for some in zip(*(tensor.split(ROWS_AT_ONCE) for tensor in whole), strict=True)]


@torch.no_grad()
def mean_loss(decoder: Decoder, sample: Sequence[Rows]) -> float:
    """Cross entropy of a target in nats."""
    device = decoder.head.device
    total = targets = 0.0
    for rows in sample:
        loss, count = decoder(*(tensor.to(device) for tensor in rows))
        total, targets = total + float(loss), targets + float(count)
    return total / targets
