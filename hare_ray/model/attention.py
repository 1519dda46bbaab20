# ruff: noqa: N803, N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""Attention over packed documents: causal within a document, nothing across.

A row of a batch holds several documents, one behind the other. `segments` int[B,T] numbers them and is -1 on
padding; a run of equal numbers within a row is one piece. What a backend needs to know of the pieces (`Spans`) is
computed once a step, outside the layers:

    flash_attn     CUDA   offsets of the pieces in the flattened batch; flash_attn_varlen_func
    torch_varlen   CUDA   the same offsets; torch.nn.attention.varlen, no build of flash-attn needed
    flex           CUDA   a block mask; torch.nn.attention.flex_attention, compiled (on CPU forward alone)
    sdpa_pieces    CPU    lengths of the pieces; scaled_dot_product_attention of each alone
    windows        CPU    in bfloat16, where the processor multiplies in it: blocks of queries and the blocks of their
                          keys (module windows)
    sdpa_mask      all    a mask bool[B,1,T,T]; the plain definition, where nothing else runs

`choose` decides once and says why. A compiled layer must not be compiled again for the pieces of the next batch:
offsets are padded with empty pieces to a power of two, and lengths stay out of its sight.

On CPU a mask saves no work: torch computes the masked scores too. Pieces one by one do save it, and queries in
stretches of `QUERY_STRETCH` against the keys up to their end save most of what lies above the diagonal. It is done in
float32, for torch's kernel is no faster in bfloat16. Padding attends to itself, which keeps its rows finite; the loss
leaves them out.

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

from hare_ray.model import windows

FLASH, VARLEN, FLEX = "flash_attn", "torch_varlen", "flex"
WINDOWS, PIECES, MASK = "windows", "sdpa_pieces", "sdpa_mask"

QUERY_STRETCH = 128
"""Queries that meet the keys before them in one call on CPU; of 64 to 512 the fastest at 512 tokens."""

MIN_OFFSETS = 64
"""Offsets of pieces are at least so many, padded."""

HALF = (torch.bfloat16, torch.float16)
"""What flash attention computes in."""

AMPERE = (8, 0)
"""The first compute capability with flash attention."""


Varlen = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""Attention of packed documents: of q, k, v [N,heads,D], offsets, and the most tokens of a piece."""


_unseen: Any = torch.compiler.disable
"""Keeps a function out of a compiled layer's graph."""


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
    windows: tuple[windows.Group, ...] = ()
    """The same pieces as blocks of queries and the blocks of their keys; without them `lengths` are taken."""
    offsets: Tensor | None = None
    """int32, first token of every piece in the flattened batch, then N."""
    varlen: Varlen | None = None
    """What takes the offsets."""
    pieces: Tensor | None = None
    """int64 [B,T], number of every token's piece within its row."""
    blocks: Any = None
    """What flex_attention makes of `pieces`."""
    mask: Tensor | None = None
    """True where a query (second last axis) sees a key."""

    def to(self, device: torch.device) -> Spans:
        """The same on another device."""
        held = {name: getattr(self, name) for name in ("offsets", "pieces", "mask")}
        moved = {name: _sent(t, device) for name, t in held.items() if t is not None}
        blocks = _blocks(moved["pieces"]) if self.blocks is not None else None
        return replace(self, **moved, blocks=blocks)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device, without a wait for it: only from pinned memory does a copy go beside other work."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def choose(device: torch.device | str, dtype: torch.dtype = torch.bfloat16) -> Backend:
    """The best backend for a device and the type that queries, keys and values come in."""
    device = torch.device(device)
    if device.type == "cpu" and dtype == torch.bfloat16 and windows.AVAILABLE:
        return Backend(WINDOWS, "this processor multiplies in bfloat16, many small products at once")
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
    if importlib.util.find_spec("torch.nn.attention.flex_attention") is not None:
        return Backend(FLEX, f"neither flash_attn nor torch.nn.attention.varlen (torch {torch.__version__})")
    return Backend(MASK, f"torch {torch.__version__} brings no attention for packed documents")


def spans(backend: Backend, segments_BT: Tensor) -> Spans:
    """What `attend` needs to know of a batch.

    From segments on a GPU the offsets cost a synchronisation: compute them where the batch is made, and move them.
    """
    rows, longest = segments_BT.shape
    starts_BT = torch.ones_like(segments_BT, dtype=torch.bool)
    starts_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    if backend.name == MASK:
        return Spans(longest, mask=_mask(starts_BT))
    if backend.name == FLEX:
        pieces_BT = starts_BT.cumsum(1)
        return Spans(longest, pieces=pieces_BT, blocks=_blocks(pieces_BT))
    starts = starts_BT.flatten().nonzero().flatten()
    if backend.name in (PIECES, WINDOWS):
        ends = torch.cat([starts[1:], starts.new_tensor([rows * longest])])
        blocks = windows.groups(starts, rows * longest) if backend.name == WINDOWS else ()
        return Spans(longest, lengths=tuple((ends - starts).tolist()), windows=blocks)
    offsets = starts.new_full((offsets_for(len(starts)),), rows * longest, dtype=torch.int32)
    offsets[: len(starts)] = starts
    return Spans(longest, offsets=offsets, varlen=_flash_attn() if backend.name == FLASH else _torch_varlen())


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
    if where.blocks is not None:
        return _flex(q_BHTD.device.type)(q_BHTD, k_BGTD, v_BGTD, block_mask=where.blocks, enable_gqa=True)
    rows = q_BHTD.shape[0]
    q_NHD, k_NGD, v_NGD = (x.transpose(1, 2).flatten(0, 1) for x in (q_BHTD, k_BGTD, v_BGTD))
    if where.varlen is not None:
        assert where.offsets is not None
        out_NHD = where.varlen(q_NHD, k_NGD, v_NGD, where.offsets, where.longest)
    else:
        out_NHD = _by_pieces(q_NHD, k_NGD, v_NGD, where)
    return out_NHD.unflatten(0, (rows, where.longest)).transpose(1, 2)


@_unseen
def _by_pieces(q_NHD: Tensor, k_NGD: Tensor, v_NGD: Tensor, where: Spans) -> Tensor:
    assert where.lengths is not None
    if where.windows and q_NHD.dtype == k_NGD.dtype == v_NGD.dtype == torch.bfloat16:
        return windows.attend_windows(q_NHD, k_NGD, v_NGD, where.windows)
    # Cut by split and joined by cat: each has the other as its gradient, so nothing is summed up or zeroed.
    cut = zip(*(x_NXD.float().split(where.lengths) for x_NXD in (q_NHD, k_NGD, v_NGD)), strict=True)
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
            attn_mask=_below_diagonal(begin, end) if begin else None,
            is_causal=not begin,
            enable_gqa=True,
        )
        found.append(out_1HSD[0].transpose(0, 1))
    return found


def _below_diagonal(begin: int, end: int) -> Tensor:
    """What the queries of a stretch see of the keys up to its end: bool [end - begin, end]."""
    size = 1 << (end - 1).bit_length()
    return _stretch_of(size)[: end - begin, size - begin : size - begin + end]


@cache
def _stretch_of(size: int) -> Tensor:
    """The mask of all stretches that begin and end below `size`, a power of two: each is a part of it."""
    return torch.ones(QUERY_STRETCH, size + QUERY_STRETCH, dtype=torch.bool).tril(size)


def _blocks(pieces_BT: Tensor) -> Any:
    """For flex_attention: which blocks of queries meet which blocks of keys, and what is seen within one."""
    flex: Any = importlib.import_module("torch.nn.attention.flex_attention")
    rows, longest = pieces_BT.shape

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (pieces_BT[row, query] == pieces_BT[row, key])

    return flex.create_block_mask(seen, rows, None, longest, longest, device=pieces_BT.device)


@cache
def _flex(device: str) -> Callable[..., Tensor]:
    """flex_attention; without torch.compile it would hold all scores, and on CPU it is there to be compared."""
    flex: Any = importlib.import_module("torch.nn.attention.flex_attention")
    return torch.compile(flex.flex_attention) if device == "cuda" else flex.flex_attention


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
