# ruff: noqa: N803, N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""Cross entropy of the head, in nats, without all its logits in memory.

A position's target is the next token of its document; the last of a document and padding have none. Loss and its
gradient come from one pass over the head, a stretch of rows at a time (`SummedLoss`): what backward needs is computed
while a stretch's logits are there, so they are neither kept (4.2 GB in float32 for 32k tokens and 32k words) nor
computed twice, as recomputing them in backward would. In bfloat16 the products are bfloat16, everything else (softmax,
sums over stretches) float32.

Axes: N positions of the batch, S those of a stretch, C hidden width, V vocabulary.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hare_ray.model.product import times

NO_TARGET = -100
"""Where a position has no target; what cross_entropy ignores."""

LOGITS_AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 28}
"""Logits in float32 that lie in memory together: 8 MiB of a CPU's cache, 1 GiB of a GPU."""

MIN_ROWS_AT_ONCE = 64
"""Fewer rows make slow matrix products."""


def next_tokens(tokens_BT: Tensor, segments_BT: Tensor) -> Tensor:
    """The next token where it is of the same document; `NO_TARGET` elsewhere."""
    targets_BT = torch.full_like(tokens_BT, NO_TARGET, dtype=torch.int64)
    inside = (segments_BT[:, 1:] == segments_BT[:, :-1]) & (segments_BT[:, 1:] >= 0)
    targets_BT[:, :-1] = torch.where(inside, tokens_BT[:, 1:].long(), NO_TARGET)
    return targets_BT


def summed_loss(h_NC: Tensor, head_VC: Tensor, targets_N: Tensor, compiled: bool = False) -> Tensor:
    """Cross entropy of `h @ head.T`, float32 [], summed over the rows whose target is not `NO_TARGET`.

    `compiled`: what lies between the two products goes through torch.compile, as one kernel.
    """
    h_NC, head_VC = _as_under_autocast(h_NC, head_VC)
    apply: Any = SummedLoss.apply
    with torch.autocast(h_NC.device.type, enabled=False):
        return apply(h_NC, head_VC, targets_N, torch.is_grad_enabled(), compiled)  # within forward it never is


@torch.no_grad()
def token_losses(h_NC: Tensor, head_VC: Tensor, targets_N: Tensor) -> Tensor:
    """Cross entropy of every row of `h @ head.T`, float32 [N]; 0 where there is no target."""
    h_NC, head_VC = _as_under_autocast(h_NC, head_VC)
    losses_N = torch.zeros(len(h_NC), dtype=torch.float32, device=h_NC.device)
    rows = rows_at_once(h_NC.device.type, len(head_VC))
    with torch.autocast(h_NC.device.type, enabled=False):
        for begin in range(0, len(h_NC), rows):
            stretch = slice(begin, begin + rows)
            logits_SV = times(h_NC[stretch], head_VC).float()
            losses_N[stretch] = functional.cross_entropy(
                logits_SV, targets_N[stretch], reduction="none", ignore_index=NO_TARGET
            )
    return losses_N


def rows_at_once(device: str, vocabulary: int) -> int:
    """Rows whose logits lie in memory together."""
    return max(MIN_ROWS_AT_ONCE, LOGITS_AT_ONCE.get(device, LOGITS_AT_ONCE["cuda"]) // vocabulary)


def _as_under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)


class SummedLoss(torch.autograd.Function):
    """Cross entropy of a head, summed over rows; its gradients are computed on the way."""

    @staticmethod
    def forward(ctx: Any, h_NC: Tensor, head_VC: Tensor, targets_N: Tensor, wanted: bool, compiled: bool) -> Tensor:
        """The loss; keeps the gradients of both inputs where they are wanted."""
        loss = torch.zeros((), dtype=torch.float32, device=h_NC.device)
        d_h_NC = torch.empty_like(h_NC) if wanted else None
        d_head_VC = torch.zeros_like(head_VC, dtype=torch.float32) if wanted else None
        rows = rows_at_once(h_NC.device.type, len(head_VC))
        # Memory that comes new from the system at every stretch costs more than what is done in it.
        room_2SV = None
        if wanted and not compiled:
            room_2SV = h_NC.new_empty((2, min(rows, len(h_NC)), len(head_VC)), dtype=torch.float32)
        for begin in range(0, len(h_NC), rows):
            stretch = slice(begin, begin + rows)
            h_SC, targets_S = h_NC[stretch], targets_N[stretch]
            logits_SV = times(h_SC, head_VC)
            if d_h_NC is None or d_head_VC is None:
                loss += functional.cross_entropy(logits_SV.float(), targets_S, reduction="sum", ignore_index=NO_TARGET)
                continue
            part, d_SV = _compiled()(logits_SV, targets_S) if compiled else in_place(logits_SV, targets_S, room_2SV)
            loss += part
            d_h_NC[stretch] = times(d_SV, head_VC.t())
            d_head_VC += times(d_SV.t(), h_SC.t())
        ctx.save_for_backward(d_h_NC, d_head_VC)
        ctx.dtype = head_VC.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *d_loss: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradients times the loss's own."""
        d_h_NC, d_head_VC = ctx.saved_tensors
        # In float32: rounded to bfloat16, the factor would be another one for the body than for the head.
        return (d_h_NC * d_loss[0]).to(d_h_NC.dtype), (d_head_VC * d_loss[0]).to(ctx.dtype), None, None, None


def in_place(logits_SV: Tensor, targets_S: Tensor, room_2SV: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Summed cross entropy and its gradient by the logits, which takes their place; `room` is in float32.

    By softmax, not by its logarithm and the exponential of that: on CPU torch.exp costs more than all of softmax. The
    largest probability, which cannot underflow, tells the sum that it was divided by.
    """
    room_2SV = logits_SV.new_empty((2, *logits_SV.shape), dtype=torch.float32) if room_2SV is None else room_2SV
    scores_SV, words_SV = room_2SV[:, : len(logits_SV)]
    scores_SV.copy_(logits_SV)
    torch.softmax(scores_SV, -1, out=words_SV)
    without_S = targets_S == NO_TARGET
    targets_S1 = targets_S.masked_fill(without_S, 0)[:, None]
    logs_S = scores_SV.gather(1, targets_S1)[:, 0] - scores_SV.amax(-1) + words_SV.amax(-1).log()
    words_SV.mul_((~without_S).float()[:, None])
    at_targets_S1 = logs_S.expm1().masked_fill(without_S, 0.0)[:, None]
    d_SV = logits_SV.copy_(words_SV).scatter_(1, targets_S1, at_targets_S1.to(logits_SV.dtype))
    return -logs_S.masked_fill(without_S, 0.0).sum(), d_SV


def fused(logits_SV: Tensor, targets_S: Tensor) -> tuple[Tensor, Tensor]:
    """The same without a scatter, so that a compiler makes it one pass."""
    scores_SV = torch.log_softmax(logits_SV.float(), -1)
    has_target_S1 = (targets_S != NO_TARGET)[:, None]
    words_V = torch.arange(logits_SV.shape[1], device=logits_SV.device)
    is_target_SV = words_V == targets_S[:, None]
    loss = -torch.where(is_target_SV, scores_SV, 0.0).sum()
    d_SV = torch.where(has_target_S1, scores_SV.exp() - is_target_SV.float(), 0.0)
    return loss, d_SV.to(logits_SV.dtype)


@cache
def _compiled() -> Any:
    return torch.compile(fused)
