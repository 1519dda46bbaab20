# ruff: noqa: N803, N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""The decoder: Mistral's architecture, written for training on packed documents.

    tokens, segments, positions int[B,T] -> summed loss float32[], number of targets int64[]

RMSNorm, rotary positions, grouped-query attention, SwiGLU. Parameters have the names that transformers gives them
in MistralForCausalLM, and rotary positions its halves, so export is a copy and both give the same logits and
gradients. First weights are drawn as `Initial` says, in the order of their names, in float32 on the CPU: a function of
shape, seed and rule, whatever the device and the number of workers.

`compiled` puts every layer through torch.compile by itself, in place: one graph serves all of them, and names stay.
With `model.recompute` a layer keeps its input alone, and backward computes the rest again; the head's loss never is.

Axes: B rows, T tokens of a row, N positions of the batch, C hidden width, V vocabulary, H query heads, G key and
value heads, D width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hare_ray.model.attention import Backend, Spans, attend, spans
from hare_ray.model.initial import CONSTANT, Initial
from hare_ray.model.loss import NO_TARGET, next_tokens, summed_loss, token_losses
from hare_ray.model.product import Linear
from hare_ray.model.shape import Shape


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
        self.q_proj = Linear(shape.hidden, shape.hidden)
        self.k_proj = Linear(shape.hidden, kv_hidden)
        self.v_proj = Linear(shape.hidden, kv_hidden)
        self.o_proj = Linear(shape.hidden, shape.hidden)

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
        self.gate_proj = Linear(shape.hidden, shape.mlp_hidden)
        self.up_proj = Linear(shape.hidden, shape.mlp_hidden)
        self.down_proj = Linear(shape.mlp_hidden, shape.hidden)

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
        self.recompute = False

    def forward(self, tokens_BT: Tensor, turns: tuple[Tensor, Tensor], where: Spans) -> Tensor:
        """Hidden states [B,T,C]."""
        x_BTC = self.embed_tokens(tokens_BT)
        turns = (turns[0].to(x_BTC.dtype), turns[1].to(x_BTC.dtype))
        recompute = self.recompute and torch.is_grad_enabled()
        for layer in self.layers:
            if recompute:
                x_BTC = checkpoint(layer, x_BTC, turns, where, use_reentrant=False, preserve_rng_state=False)
            else:
                x_BTC = layer(x_BTC, turns, where)
        return self.norm(x_BTC)


class Decoder(nn.Module):
    """A language model of a given shape; `seed`, shape and `initial` decide its first weights."""

    def __init__(self, shape: Shape, backend: Backend, seed: int | None, initial: Initial = CONSTANT) -> None:
        """`seed` None: weights of zero, for whoever loads all of them."""
        super().__init__()
        self.shape = shape
        self.backend = backend
        self.compiled_loss = False
        with torch.device("meta"):  # torch's own first weights would be drawn for nothing
            self.model = Body(shape)
            self.lm_head = None if shape.tied else Linear(shape.hidden, shape.vocabulary)
        self.to_empty(device="cpu")
        if seed is None:
            for weight in self.parameters():
                weight.data.zero_()
        else:
            self._draw(seed, initial)

    @torch.no_grad()
    def _draw(self, seed: int, initial: Initial) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, weight in sorted(self.named_parameters()):
            if weight.ndim == 1:
                weight.fill_(1.0)
                continue
            layer = int(name.split(".")[2]) if name.startswith("model.layers.") else None
            weight.normal_(0.0, initial.std_of(name, layer, self.shape.layers), generator=generator)

    def compiled(self) -> Decoder:
        """Itself, with every layer through torch.compile, and the loss between its products."""
        for layer in self.model.layers:
            layer.compile()
        self.compiled_loss = True
        return self

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
        return summed_loss(h_NC, self.head, targets_N, self.compiled_loss), count

    @torch.no_grad()
    def losses(
        self, tokens_BT: Tensor, segments_BT: Tensor, positions_BT: Tensor, where: Spans | None = None
    ) -> Tensor:
        """Cross entropy in nats of every position's target, float32 [B,T]; 0 where it has none."""
        targets_BT = next_tokens(tokens_BT, segments_BT)
        h_BTC = self.hidden(tokens_BT, segments_BT, positions_BT, where)
        return token_losses(h_BTC.flatten(0, 1), self.head, targets_BT.flatten()).view_as(targets_BT)

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


def turns_of(shape: Shape, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles, float32 [B,T,1,D]; the first half of a head takes minus the sine."""
    pairs = torch.arange(0, shape.head_dim, 2, dtype=torch.float32, device=positions_BT.device)
    frequencies = 1.0 / shape.rope_theta ** (pairs / shape.head_dim)
    angles_BT1P = (positions_BT[..., None].float() * frequencies)[:, :, None]
    cos_BT1P, sin_BT1P = angles_BT1P.cos(), angles_BT1P.sin()
    return torch.cat([cos_BT1P, cos_BT1P], -1), torch.cat([-sin_BT1P, sin_BT1P], -1)


def rotated(x_BTHD: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Heads turned by their positions: pairs are one half of a head beside the other."""
    cos_BT1D, sin_BT1D = turns
    first, second = x_BTHD.chunk(2, -1)
    return torch.addcmul(x_BTHD * cos_BT1D, torch.cat([second, first], -1), sin_BT1D)
