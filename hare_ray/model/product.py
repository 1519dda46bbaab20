# ruff: noqa: N803, N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""Matrix products of the decoder: torch's, and on CPU in float32 those of oneDNN.

For float32 on CPU torch calls MKL, which on processors that are not Intel's leaves most of their speed: on an EPYC
with AVX-512 (one thread, 2048 x 192 x 512) it does 95 GFLOP/s, oneDNN, which torch carries too and takes for bfloat16,
218. The operator is the one that torch.compile itself puts in place of a linear layer whose weight is frozen; it is
wrapped here, because for weights that are trained torch.compile refuses it. Where it is not there, and under autocast,
the product is torch's.

Axes: M rows, K inputs, N outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """A linear layer without bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gives it
        """`input @ weight.T`."""
        if quick(input, self.weight):
            return Product.apply(input, self.weight)  # type: ignore[no-any-return]
        return functional.linear(input, self.weight)


def quick(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN has to be asked for."""
    return (
        ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def times(a_MK: Tensor, b_NK: Tensor) -> Tensor:
    """`a @ b.T` by the quicker library; no gradient comes through it."""
    return torch.ops.hare_ray.product(a_MK, b_NK) if quick(a_MK, b_NK) else a_MK @ b_NK.t()


torch.library.define("hare_ray::product", "(Tensor a, Tensor b) -> Tensor")


@torch.library.impl("hare_ray::product", "CPU")
def _onednn(a_MK: Tensor, b_NK: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a_MK, b_NK, None, "none", [], "")


@torch.library.register_fake("hare_ray::product")
def _sized(a_MK: Tensor, b_NK: Tensor) -> Tensor:
    return a_MK.new_empty((*a_MK.shape[:-1], b_NK.shape[0]))


class Product(torch.autograd.Function):
    """`x @ weight.T` and its gradients in oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_NK: Tensor) -> Tensor:
        """The product over the last axis of `x`."""
        ctx.save_for_backward(x, weight_NK)
        return torch.ops.hare_ray.product(x, weight_NK)

    @staticmethod
    def backward(ctx: Any, *d_out: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of what is not frozen."""
        x, weight_NK = ctx.saved_tensors
        d_MN = d_out[0].flatten(0, -2)
        d_x = torch.ops.hare_ray.product(d_MN, weight_NK.t()).view_as(x) if ctx.needs_input_grad[0] else None
        frozen = not ctx.needs_input_grad[1]
        return d_x, None if frozen else torch.ops.hare_ray.product(d_MN.t(), x.flatten(0, -2).t())
