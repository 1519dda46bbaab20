# ruff: noqa: N803, N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""Attention over packed documents: causal within a document, nothing across.

A row of a batch holds several documents, one behind the other. `segments` int[B,T] numbers them and is -1 on
padding; a run of equal numbers within a row is one piece. What a backend needs to know of the pieces (`Spans`) is
computed once a step, outside the layers:

    flash_attn     CUDA   offsets of the pieces in the flattened batch; flash_attn_varlen_func
    torch_varlen   CUDA   the same offsets; torch.nn.attention.varlen, no build of flash-attn needed
    sdpa_pieces    CPU    lengths of the pieces; scaled_dot_product_attention of each alone
    sdpa_mask      all    a mask bool[B,1,T,T]; the plain definition, where nothing else runs

`choose` decides once and says why. Offsets are padded with empty pieces to a power of two, so that a compiled model
sees few different sizes.

On CPU a mask saves no work: torch computes the masked scores too. Pieces one by one do save it, and queries in
stretches of `QUERY_STRETCH` against the keys up to their end save most of what lies above the diagonal. The work is
done in float32 also for bfloat16: torch's kernel is as fast there, and exact. Padding attends to itself, which keeps
its rows finite; the loss leaves them out.

Axes: B rows, T tokens of a row, N = B * T, H query heads, G key and value heads, D width of a head.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FLASH, VARLEN, PIECES, MASK = "flash_attn", "torch_varlen", "sdpa_pieces", "sdpa_mask"

QUERY_STRETCH = 128
"""Queries that meet the keys before them in one call on CPU; of 64 to 512 the fastest at 512 tokens."""

MIN_OFFSETS = 64
"""Offsets of pieces are at least so many, padded."""

HALF = (torch.bfloat16, torch.float16)
"""What flash attention computes in."""

AMPERE = (8, 0)
"""The first compute capability with flash attention."""


@dataclass(frozen=True)
class Backend:
    """How attention is computed on a device, and why so."""

    name: str
    reason: str


@dataclass(frozen=True)
class Spans:
    """Where the pieces of a batch lie, as one backend needs it; the other fields are None."""

    longest: int
    """No piece has more tokens: T."""
    lengths: tuple[int, ...] | None = None
    """Tokens of every piece, row after row."""
    offsets: Tensor | None = None
    """int32, first token of every piece in the flattened batch, then N."""
    flash: bool = False
    """Offsets are for flash_attn, not for torch."""
    mask: Tensor | None = None
    """True where a query (second last axis) sees a key."""

    def to(self, device: torch.device) -> Spans:
        """The same on another device."""
        moved = {name: getattr(self, name) for name in ("offsets", "mask")}
        return replace(self, **{n: t.to(device, non_blocking=True) for n, t in moved.items() if t is not None})


def choose(device: torch.device | str, dtype: torch.dtype = torch.bfloat16) -> Backend:
    """The best backend for a device and the type that queries, keys and values come in."""
    device = torch.device(device)
    if device.type == "cpu":
        return Backend(PIECES, "on CPU a mask saves no work, pieces one by one do")
    if device.type != "cuda":
        return Backend(MASK, f"no kernel for packed documents on {device.type}")
    if dtype not in HALF:
        return Backend(MASK, f"flash attention computes in half precision, not in {dtype}")
    if torch.cuda.get_device_capability(device) < AMPERE:
        return Backend(MASK, f"{torch.cuda.get_device_name(device)} is older than Ampere: no flash attention")
    if importlib.util.find_spec("flash_attn") is not None:
        return Backend(FLASH, "flash_attn is installed")
    if importlib.util.find_spec("torch.nn.attention.varlen") is not None:
        return Backend(VARLEN, f"flash_attn is not installed, torch {torch.__version__} brings varlen_attn")
    return Backend(MASK, f"neither flash_attn nor torch.nn.attention.varlen (torch {torch.__version__})")


def spans(backend: Backend, segments_BT: Tensor) -> Spans:
    """What `attend` needs to know of a batch.

    From segments on a GPU the offsets cost a synchronisation: compute them where the batch is made, and move them.
    """
    rows, longest = segments_BT.shape
    starts_BT = torch.ones_like(segments_BT, dtype=torch.bool)
    starts_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    if backend.name == MASK:
        return Spans(longest, mask=_mask(starts_BT))
    starts = starts_BT.flatten().nonzero().flatten()
    if backend.name == PIECES:
        ends = torch.cat([starts[1:], starts.new_tensor([rows * longest])])
        return Spans(longest, lengths=tuple((ends - starts).tolist()))
    offsets = starts.new_full((offsets_for(len(starts)),), rows * longest, dtype=torch.int32)
    offsets[: len(starts)] = starts
    return Spans(longest, offsets=offsets, flash=backend.name == FLASH)


def offsets_for(pieces: int) -> int:
    """Offsets for so many pieces: the next power of two that leaves room for the end."""
    return max(MIN_OFFSETS, 1 << pieces.bit_length())


def _mask(starts_BT: Tensor) -> Tensor:
    piece_BT = starts_BT.cumsum(1)
    same_BTT = piece_BT[:, :, None] == piece_BT[:, None, :]
    return same_BTT.tril()[:, None]


def attend(q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, where: Spans) -> Tensor:
    """Attention of every query to the keys up to it in its piece: [B,H,T,D]."""
    if where.mask is not None:
        return functional.scaled_dot_product_attention(q_BHTD, k_BGTD, v_BGTD, attn_mask=where.mask, enable_gqa=True)
    rows = q_BHTD.shape[0]
    q_NHD, k_NGD, v_NGD = (x.transpose(1, 2).flatten(0, 1) for x in (q_BHTD, k_BGTD, v_BGTD))
    if where.lengths is not None:
        out_NHD = _by_pieces(q_NHD, k_NGD, v_NGD, where.lengths)
    else:
        assert where.offsets is not None
        varlen = _flash_attn() if where.flash else _torch_varlen()
        out_NHD = varlen(q_NHD, k_NGD, v_NGD, where.offsets, where.longest)
    return out_NHD.unflatten(0, (rows, where.longest)).transpose(1, 2)


def _by_pieces(q_NHD: Tensor, k_NGD: Tensor, v_NGD: Tensor, lengths: tuple[int, ...]) -> Tensor:
    # Cut by split and joined by cat: each has the other as its gradient, so nothing is summed up or zeroed.
    cut = zip(*(x_NXD.float().split(lengths) for x_NXD in (q_NHD, k_NGD, v_NGD)), strict=True)
    found = [stretch for q_LHD, k_LGD, v_LGD in cut for stretch in _piece(q_LHD, k_LGD, v_LGD)]
    return torch.cat(found).to(q_NHD.dtype)


def _piece(q_LHD: Tensor, k_LGD: Tensor, v_LGD: Tensor) -> list[Tensor]:
    k_1GLD, v_1GLD = (x.transpose(0, 1)[None] for x in (k_LGD, v_LGD))
    found = []
    end = 0
    for q_SHD in q_LHD.split(QUERY_STRETCH):
        begin, end = end, end + len(q_SHD)
        out_1HSD = functional.scaled_dot_product_attention(
            q_SHD.transpose(0, 1)[None],
            k_1GLD[:, :, :end],
            v_1GLD[:, :, :end],
            attn_mask=_below_diagonal(end - begin, end) if begin else None,
            is_causal=not begin,
            enable_gqa=True,
        )
        found.append(out_1HSD[0].transpose(0, 1))
    return found


@cache
def _below_diagonal(queries: int, keys: int) -> Tensor:
    """What the last `queries` of `keys` tokens see."""
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


Varlen = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]


@cache
def _flash_attn() -> Varlen:
    function: Any = importlib.import_module("flash_attn").flash_attn_varlen_func

    def varlen(q_NHD: Tensor, k_NGD: Tensor, v_NGD: Tensor, offsets: Tensor, longest: int) -> Tensor:
        return function(q_NHD, k_NGD, v_NGD, offsets, offsets, longest, longest, causal=True)

    return varlen


@cache
def _torch_varlen() -> Varlen:
    """varlen_attn; torch before 2.13 names causality otherwise, and may want as many key heads as query heads."""
    function: Any = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    known = inspect.signature(function).parameters
    causal = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    grouped = "enable_gqa" in known

    def varlen(q_NHD: Tensor, k_NGD: Tensor, v_NGD: Tensor, offsets: Tensor, longest: int) -> Tensor:
        if grouped:
            return function(q_NHD, k_NGD, v_NGD, offsets, offsets, longest, longest, **causal, enable_gqa=True)
        queries = q_NHD.shape[1] // k_NGD.shape[1]
        k_NHD, v_NHD = (x.repeat_interleave(queries, 1) for x in (k_NGD, v_NGD))
        return function(q_NHD, k_NHD, v_NHD, offsets, offsets, longest, longest, **causal)

    return varlen
