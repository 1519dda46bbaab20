# ruff: noqa: N803, N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""Attention over packed documents in bfloat16 on CPU, as batches of matrix products.

torch's own kernel for CPU multiplies in float32 through MKL, one piece at a time. Here the flattened batch is cut into
blocks of `BLOCK` tokens. A block's queries see keys no earlier than the start of the piece that its first token lies
in: a window of w blocks that ends with their own. Blocks of equal w make one batch of products in oneDNN, which in
bfloat16 does several times as much; a bias of minus infinity hides what lies in a window and is not seen. So work
grows with the scores that are wanted, but for the borders of blocks.

Scores and weights are rounded to bfloat16, sums within products and the softmax are float32, sums of the gradients of
keys and values over windows too. The weights are kept for backward where they are few, else computed again.

Axes: N tokens of the flattened batch, H query heads, G key and value heads, R = H / G, D width of a head, L = BLOCK,
n blocks of all or of one group, S = R * L queries of a block and head, K = w * L keys of its window, M = G * n.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 64
"""Tokens; of 32, 64 and 128 the fastest in whole steps at 512 tokens a row, by some 5 %."""

MOST_KEPT = 1 << 24
"""Attention weights of a layer that are kept for backward, at most: 32 MiB."""

MINUS_INFINITY = np.uint16(0xFF80)
"""In bfloat16, which numpy does not know."""

AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    and torch.ops.mkldnn._is_mkldnn_bf16_supported()
)
"""Whether the processor multiplies in bfloat16."""


class Group(NamedTuple):
    """Blocks whose windows are equally wide."""

    blocks: Tensor
    """int64 [n]."""
    window: Tensor
    """int64 [n * w], the blocks of their keys."""
    hidden: Tensor
    """bfloat16 [n, L, K], minus infinity where a query does not see a key."""


def groups(starts: Tensor, tokens: int) -> tuple[Group, ...]:
    """Of pieces that start at these tokens, in a flattened batch of so many.

    In numpy: it runs beside the step before, in a thread of its own, and for products of torch's there OpenMP would
    start a second team of threads, whose waiting takes a quarter of the first one's time.
    """
    padded = -(-tokens // BLOCK) * BLOCK
    begins = np.zeros(padded, np.int64)
    begins[starts.numpy()] = starts.numpy()
    if padded > tokens:
        begins[tokens] = tokens
    begins_nL = np.maximum.accumulate(begins).reshape(-1, BLOCK)
    numbers, within = np.arange(len(begins_nL)), np.arange(BLOCK)
    widths = numbers - begins_nL[:, 0] // BLOCK + 1
    found = []
    for width in np.unique(widths).tolist():
        blocks = numbers[widths == width]
        window_nw = blocks[:, None] + np.arange(1 - width, 1)
        keys_n1K = (window_nw[..., None] * BLOCK + within).reshape(len(blocks), 1, -1)
        queries_nL1 = (blocks[:, None] * BLOCK + within)[..., None]
        seen_nLK = (keys_n1K <= queries_nL1) & (keys_n1K >= begins_nL[blocks][..., None])
        hidden = torch.from_numpy(np.where(seen_nLK, np.uint16(0), MINUS_INFINITY)).view(torch.bfloat16)
        found.append(Group(torch.from_numpy(blocks), torch.from_numpy(window_nw.reshape(-1)), hidden))
    return tuple(found)


def attend_windows(q_NHD: Tensor, k_NGD: Tensor, v_NGD: Tensor, where: tuple[Group, ...]) -> Tensor:
    """Attention of every query to the keys up to it in its piece: bfloat16 [N,H,D]."""
    tokens, heads = q_NHD.shape[:2]
    padding = -tokens % BLOCK
    q, k, v = (_by_blocks(x, k_NGD.shape[1], padding) for x in (q_NHD, k_NGD, v_NGD))
    apply: Any = Windows.apply
    with torch.autocast("cpu", enabled=False):
        out_GnSD = apply(q, k, v, where)
    groups_n, width = k_NGD.shape[1], q_NHD.shape[2]
    out = out_GnSD.view(groups_n, -1, heads // groups_n, BLOCK, width).permute(1, 3, 0, 2, 4)
    return out.reshape(-1, heads, width)[:tokens]


def _by_blocks(x_NXD: Tensor, groups_n: int, padding: int) -> Tensor:
    """[G, n, S, D]: query heads of the same keys lie one behind the other."""
    x_NXD = functional.pad(x_NXD, (0, 0, 0, 0, 0, padding)) if padding else x_NXD
    x_nLGRD = x_NXD.reshape(-1, BLOCK, groups_n, x_NXD.shape[1] // groups_n, x_NXD.shape[2])
    return x_nLGRD.permute(2, 0, 3, 1, 4).reshape(groups_n, len(x_nLGRD), -1, x_NXD.shape[2])


def _picked(x_GnSD: Tensor, blocks: Tensor, each: int) -> Tensor:
    """Some blocks, `each` of them joined: [M, each * S, D]."""
    picked = x_GnSD.index_select(1, blocks)
    return picked.view(-1, each * picked.shape[2], picked.shape[3])


def _weights(q_MSD: Tensor, k_MKD: Tensor, hidden_nLK: Tensor) -> Tensor:
    """What every query gives to every key: [M, S, K]."""
    blocks, length, keys = hidden_nLK.shape
    shape = (len(q_MSD) // blocks, blocks, q_MSD.shape[1] // length, length, keys)
    # A copy also where nothing is repeated: the product is added to it in place, and other layers read it too.
    hidden = hidden_nLK[None, :, None].expand(shape).clone(memory_format=torch.contiguous_format)
    scores_MSK = hidden.view(len(q_MSD), -1, keys)
    scores_MSK.baddbmm_(q_MSD, k_MKD.transpose(1, 2), alpha=q_MSD.shape[2] ** -0.5)
    return scores_MSK.softmax(-1)


class Windows(torch.autograd.Function):
    """Attention of blocks to their windows."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, where: tuple[Group, ...]) -> Tensor:
        """Of [G,n,S,D] and twice [G,n,L,D]: [G,n,S,D]."""
        out, kept = torch.empty_like(q), []
        keep = sum(group.hidden.numel() for group in where) * q.shape[2] // BLOCK * len(q) <= MOST_KEPT
        for blocks, window, hidden in where:
            width = len(window) // len(blocks)
            weights_MSK = _weights(_picked(q, blocks, 1), _picked(k, window, width), hidden)
            found_MSD = torch.bmm(weights_MSK, _picked(v, window, width))
            out.index_copy_(1, blocks, found_MSD.view(len(q), len(blocks), *q.shape[2:]))
            if keep:
                kept.append(weights_MSK)
        ctx.where = where
        ctx.save_for_backward(q, k, v, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, *d_out: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of queries, keys, values."""
        q, k, v, *kept = ctx.saved_tensors
        d_q = torch.empty_like(q)
        d_k, d_v = (torch.zeros(k.shape, dtype=torch.float32) for _ in range(2))
        for number, (blocks, window, hidden) in enumerate(ctx.where):
            width = len(window) // len(blocks)
            d_MSD, q_MSD = (_picked(x, blocks, 1) for x in (d_out[0], q))
            k_MKD, v_MKD = (_picked(x, window, width) for x in (k, v))
            weights_MSK = kept[number] if kept else _weights(q_MSD, k_MKD, hidden)
            d_weights_MSK = torch.bmm(d_MSD, v_MKD.transpose(1, 2))
            d_scores_MSK = torch.ops.aten._softmax_backward_data(d_weights_MSK, weights_MSK, -1, weights_MSK.dtype)
            d_q.index_copy_(1, blocks, torch.bmm(d_scores_MSK, k_MKD).view(len(q), len(blocks), *q.shape[2:]))
            for total, left_MSK, right_MSD in ((d_k, d_scores_MSK, q_MSD), (d_v, weights_MSK, d_MSD)):
                added = torch.bmm(left_MSK.transpose(1, 2), right_MSD)
                total.index_add_(1, window, added.view(len(k), len(window), *k.shape[2:]).float())
        scale = q.shape[3] ** -0.5
        return d_q * scale, (d_k * scale).to(k.dtype), d_v.to(v.dtype), None
