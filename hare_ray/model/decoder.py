# ruff: noqa: N803, N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""The decoder: Mistral's architecture, written for training on packed documents.

    tokens, segments, positions int[B,T] -> summed loss float32[], number of targets int64[]

RMSNorm, rotary positions, grouped-query attention, SwiGLU. Parameters have the names that transformers gives them
in MistralForCausalLM, and rotary positions its halves, so export is a copy and both give the same logits and
gradients. Weights are drawn from N(0, initial_std) with one constant for every layer (arXiv 2402.02791, section 3.1),
in the order of their names, in float32 on the CPU: a function of shape and seed, whatever the device and the number
of workers.

A position's target is the next token of its document; the last of a document and padding have none. Loss and its
gradient come from one pass over the head, a stretch of rows at a time (`SummedLoss`): what backward needs is computed
while a stretch's logits are there, so they are neither kept (4.2 GB in float32 for 32k tokens and 32k words) nor
computed twice, as recomputing them in backward would.

Axes: B rows, T tokens of a row, N positions of the batch, C hidden width, V vocabulary, H query heads, G key and
value heads, D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hare_ray.model.attention import Backend, Spans, attend, spans
from hare_ray.model.shape import Shape

NO_TARGET = -100
"""Where a position has no target; what cross_entropy ignores."""

LOGITS_AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 28}
"""Logits in float32 that lie in memory together: 8 MiB of a CPU's cache, 1 GiB of a GPU."""

MIN_ROWS_AT_ONCE = 64
"""Fewer rows make slow matrix products."""


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x_BTC: Tensor) -> Tensor:
        """`x` divided by its root mean square, which is taken in float32."""
        return functional.rms_norm(x_BTC, self.weight.shape, self.weight, self.epsilon)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kv_hidden = shape.kv_heads * shape.head_dim
        self.head_dim = shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv_hidden, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv_hidden, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, x_BTC: Tensor, turns: tuple[Tensor, Tensor], where: Spans) -> Tensor:
        """Attend within the pieces of each row."""
        q_BTHD, k_BTGD, v_BTGD = (
            project(x_BTC).unflatten(-1, (-1, self.head_dim)) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q_BTHD, k_BTGD = rotated(q_BTHD, turns), rotated(k_BTGD, turns)
        out_BHTD = attend(q_BTHD.transpose(1, 2), k_BTGD.transpose(1, 2), v_BTGD.transpose(1, 2), where)
        return self.o_proj(out_BHTD.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.mlp_hidden, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.mlp_hidden, bias=False)
        self.down_proj = nn.Linear(shape.mlp_hidden, shape.hidden, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """The gated product."""
        return self.down_proj(functional.silu(self.gate_proj(x_BTC)) * self.up_proj(x_BTC))


class Layer(nn.Module):
    """Attention and MLP, each behind a norm and beside a residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = Norm(shape.hidden, shape.norm_epsilon)
        self.post_attention_layernorm = Norm(shape.hidden, shape.norm_epsilon)

    def forward(self, x_BTC: Tensor, turns: tuple[Tensor, Tensor], where: Spans) -> Tensor:
        """One layer."""
        x_BTC = x_BTC + self.self_attn(self.input_layernorm(x_BTC), turns, where)
        return x_BTC + self.mlp(self.post_attention_layernorm(x_BTC))


class Body(nn.Module):
    """Everything below the head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.norm_epsilon)

    def forward(self, tokens_BT: Tensor, turns: tuple[Tensor, Tensor], where: Spans) -> Tensor:
        """Hidden states [B,T,C]."""
        x_BTC = self.embed_tokens(tokens_BT)
        for layer in self.layers:
            x_BTC = layer(x_BTC, turns, where)
        return self.norm(x_BTC)


class Decoder(nn.Module):
    """A language model of a given shape; `seed` and shape decide its first weights."""

    def __init__(self, shape: Shape, backend: Backend, seed: int) -> None:
        super().__init__()
        self.shape = shape
        self.backend = backend
        with torch.device("meta"):  # torch's own first weights would be drawn for nothing
            self.model = Body(shape)
            self.lm_head = None if shape.tied else nn.Linear(shape.hidden, shape.vocabulary, bias=False)
        self.to_empty(device="cpu")
        self._draw(seed)

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _, weight in sorted(self.named_parameters()):
            if weight.ndim == 1:
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, self.shape.initial_std, generator=generator)

    @property
    def head(self) -> Tensor:
        """The head's weight, which is the embedding's where they are tied."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(
        self, tokens_BT: Tensor, segments_BT: Tensor, positions_BT: Tensor, where: Spans | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy in nats, summed over the positions that have a target, and their number.

        `where`: `spans(decoder.backend, segments)`, for whoever has them already.
        """
        targets_N = next_tokens(tokens_BT, segments_BT).flatten()
        h_NC = self.hidden(tokens_BT, segments_BT, positions_BT, where).flatten(0, 1)
        count = (targets_N != NO_TARGET).sum()
        if h_NC.device.type == "cpu":  # elsewhere choosing rows would wait for the device
            chosen = targets_N != NO_TARGET
            h_NC, targets_N = h_NC[chosen], targets_N[chosen]
        return summed_loss(h_NC, self.head, targets_N), count

    def hidden(
        self, tokens_BT: Tensor, segments_BT: Tensor, positions_BT: Tensor, where: Spans | None = None
    ) -> Tensor:
        """What the head sees: [B,T,C]."""
        if where is None:
            where = spans(self.backend, segments_BT)
        return self.model(tokens_BT, turns_of(self.shape, positions_BT), where)

    def logits(self, tokens_BT: Tensor, segments_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Scores of every next token: [B,T,V]."""
        return functional.linear(self.hidden(tokens_BT, segments_BT, positions_BT), self.head)


def next_tokens(tokens_BT: Tensor, segments_BT: Tensor) -> Tensor:
    """The next token where it is of the same document; `NO_TARGET` elsewhere."""
    targets_BT = torch.full_like(tokens_BT, NO_TARGET, dtype=torch.int64)
    inside = (segments_BT[:, 1:] == segments_BT[:, :-1]) & (segments_BT[:, 1:] >= 0)
    targets_BT[:, :-1] = torch.where(inside, tokens_BT[:, 1:].long(), NO_TARGET)
    return targets_BT


def turns_of(shape: Shape, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles, float32 [B,T,1,D]: both halves of a head turn alike."""
    pairs = torch.arange(0, shape.head_dim, 2, dtype=torch.float32, device=positions_BT.device)
    frequencies = 1.0 / shape.rope_theta ** (pairs / shape.head_dim)
    angles_BTD = (positions_BT[..., None].float() * frequencies).repeat(1, 1, 2)
    return angles_BTD.cos()[:, :, None], angles_BTD.sin()[:, :, None]


def rotated(x_BTHD: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Heads turned by their positions."""
    cos_BT1D, sin_BT1D = (turn.to(x_BTHD.dtype) for turn in turns)
    first, second = x_BTHD.chunk(2, -1)
    return x_BTHD * cos_BT1D + torch.cat([-second, first], -1) * sin_BT1D


class SummedLoss(torch.autograd.Function):
    """Cross entropy of a head, summed over rows; its gradients are computed on the way.

    In bfloat16 the products are bfloat16, everything else (softmax, sums over stretches) float32.
    """

    @staticmethod
    def forward(ctx: Any, h_NC: Tensor, head_VC: Tensor, targets_N: Tensor, wanted: bool) -> Tensor:
        """The loss; keeps the gradients of both inputs where they are wanted."""
        loss = torch.zeros((), dtype=torch.float32, device=h_NC.device)
        d_h_NC = torch.empty_like(h_NC) if wanted else None
        d_head_VC = torch.zeros_like(head_VC, dtype=torch.float32) if wanted else None
        rows = rows_at_once(h_NC.device.type, len(head_VC))
        for begin in range(0, len(h_NC), rows):
            h_SC, targets_S = h_NC[begin : begin + rows], targets_N[begin : begin + rows]
            scores_SV = torch.log_softmax((h_SC @ head_VC.t()).float(), -1)
            loss += functional.nll_loss(scores_SV, targets_S, reduction="sum", ignore_index=NO_TARGET)
            if d_h_NC is None or d_head_VC is None:
                continue
            d_SV = scores_SV.exp_()
            has_target_S1 = (targets_S != NO_TARGET)[:, None]
            d_SV.scatter_add_(1, targets_S.clamp(min=0)[:, None], -torch.ones_like(d_SV[:, :1]))
            d_SV = (d_SV * has_target_S1).to(h_NC.dtype)
            torch.mm(d_SV, head_VC, out=d_h_NC[begin : begin + rows])
            d_head_VC += d_SV.t() @ h_SC
        ctx.save_for_backward(d_h_NC, d_head_VC)
        ctx.dtype = head_VC.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *d_loss: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradients times the loss's own."""
        d_h_NC, d_head_VC = ctx.saved_tensors
        return d_h_NC * d_loss[0].to(d_h_NC.dtype), (d_head_VC * d_loss[0]).to(ctx.dtype), None, None


def summed_loss(h_NC: Tensor, head_VC: Tensor, targets_N: Tensor) -> Tensor:
    """Cross entropy of `h @ head.T`, summed over the rows whose target is not `NO_TARGET`."""
    device = h_NC.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        h_NC, head_VC = h_NC.to(dtype), head_VC.to(dtype)
    apply: Any = SummedLoss.apply
    with torch.autocast(device, enabled=False):
        return apply(h_NC, head_VC, targets_N, torch.is_grad_enabled())  # within forward it never is


def rows_at_once(device: str, vocabulary: int) -> int:
    """Rows whose logits lie in memory together."""
    return max(MIN_ROWS_AT_ONCE, LOGITS_AT_ONCE.get(device, LOGITS_AT_ONCE["cuda"]) // vocabulary)
