# ruff: noqa: N803, N806, TID253 - names of tensors end in their axes, and torch is what this module is about
"""Linear layers whose three matrix products run in float8, with one scale a tensor.

    forward      x8 @ w8.T     both e4m3: three bits of mantissa
    backward     d8 @ w8       d in e5m2: two bits, for the wider range that gradients need
                 d8.T @ x8

A scale is the type's largest number over the tensor's largest magnitude, taken anew at every call, so it has no state.
Sums are float32, results come in the type of `x`; weights stay as they are and are cast each time. One scale a tensor,
because scales by row cost more than they bring near 1 B parameters. Worth it there and above, with torch.compile, which
melts scaling and casting into what stands around them; smaller models get slower. The head stays as it is.

Axes: M rows, K inputs, N outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hare_ray.model.decoder import Decoder
from hare_ray.model.product import Linear

ADA = (8, 9)
"""The first compute capability with float8."""

MULTIPLE = 16
"""Every axis of a float8 product is a multiple of this."""

SMALLEST = 1e-12
"""A tensor of zeros is scaled as if this were its largest magnitude."""


def to_float8(decoder: Decoder, device: torch.device) -> None:
    """Let the layers of a decoder compute in float8; `device`: where it will run, wherever it still is."""
    check_device(device)
    for layer in decoder.model.layers:
        for block in layer.children():
            for name, linear in list(block.named_children()):
                if isinstance(linear, Linear):
                    setattr(block, name, Float8Linear(linear.weight))


class Float8Linear(nn.Module):
    """A linear layer without bias, computed in float8."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        _check_multiple("a weight", tuple(weight.shape))
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        """`x @ weight.T`."""
        rows = x.numel() // x.shape[-1]
        _check_multiple("an input", (rows, x.shape[-1]))
        return Product8.apply(x, self.weight)  # type: ignore[no-any-return]


class Product8(torch.autograd.Function):
    """`x @ weight.T` and its gradients in float8."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_NK: Tensor) -> Tensor:
        """The product over the last axis of `x`; keeps both in float8."""
        x8_MK, x_scale = cast(x.flatten(0, -2), torch.float8_e4m3fn)
        w8_NK, w_scale = cast(weight_NK, torch.float8_e4m3fn)
        ctx.save_for_backward(x8_MK, x_scale, w8_NK, w_scale)
        ctx.dtypes = x.dtype, weight_NK.dtype
        return _scaled(x8_MK, x_scale, w8_NK, w_scale, x.dtype).view(*x.shape[:-1], len(weight_NK))

    @staticmethod
    def backward(ctx: Any, *d_out: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of both."""
        x8_MK, x_scale, w8_NK, w_scale = ctx.saved_tensors
        d8_MN, d_scale = cast(d_out[0].flatten(0, -2), torch.float8_e5m2)
        d_x = _scaled(d8_MN, d_scale, w8_NK.t().contiguous(), w_scale, ctx.dtypes[0])
        d_w = _scaled(d8_MN.t().contiguous(), d_scale, x8_MK.t().contiguous(), x_scale, ctx.dtypes[1])
        return d_x.view(*d_out[0].shape[:-1], w8_NK.shape[1]), d_w


def cast(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A tensor in float8, and what to multiply it with to have it back: float32 []."""
    largest = torch.finfo(dtype).max
    scale = x.abs().amax().float().clamp(min=SMALLEST) / largest
    return (x.float() / scale).clamp(-largest, largest).to(dtype), scale


def _scaled(a_MK: Tensor, a_scale: Tensor, b_NK: Tensor, b_scale: Tensor, dtype: torch.dtype) -> Tensor:
    product: Any = torch._scaled_mm  # pyright: ignore[reportPrivateImportUsage]
    return product(a_MK, b_NK.t(), scale_a=a_scale, scale_b=b_scale, out_dtype=dtype)


def _check_multiple(what: str, sizes: tuple[int, ...]) -> None:
    if any(size % MULTIPLE for size in sizes):
        raise ValueError(
            f"given {what} of {' x '.join(map(str, sizes))}; expected multiples of {MULTIPLE}, which float8 wants: "
            "change the shape or the tokens of a micro-batch, or train without float8"
        )


def check_device(device: torch.device) -> None:
    """Refuse a device without float8."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < ADA:
        name = torch.cuda.get_device_name(device)
        raise ValueError(f"given float8 on {name}, expected compute capability 8.9 or above: train without float8")
    eight = torch.zeros(MULTIPLE, MULTIPLE, device=device).to(torch.float8_e4m3fn)
    one = torch.ones((), device=device)
    try:
        _scaled(eight, one, eight, one, torch.bfloat16)
    except (NotImplementedError, RuntimeError) as error:
        raise ValueError(f"given float8 on {device}, expected a device where torch has it: train without it") from error
