import copy

import pytest
import torch

from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.float8 import Float8Linear, cast, to_float8
from hare_ray.model.shape import Shape
from tests.model.packed import packed

SHAPE = Shape(layers=2, hidden=64, heads=2, kv_heads=1, mlp_hidden=96, vocabulary=112, tied=False)

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def drawn(*size, dtype=torch.float32, spread=1.0):
    return (torch.randn(*size, generator=torch.Generator().manual_seed(sum(size))) * spread).to(dtype)


def flat(x):
    return x.flatten(0, 1)


def test_a_cast_uses_the_whole_range_and_comes_back():
    for dtype, error in ((E4M3, 2**-4), (E5M2, 2**-3)):  # half a unit in the last of 3 and 2 bits of mantissa
        x = drawn(64, 64, spread=1e-6)
        eight, scale = cast(x, dtype)
        assert eight.float().abs().max() == torch.finfo(dtype).max
        back = eight.float() * scale
        large = x.abs() > x.abs().max() / 1000
        assert ((back - x).abs() <= error * x.abs())[large].all()
    assert not cast(torch.zeros(16, 16), E4M3)[0].float().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_those_of_the_cast_values_and_near_the_exact_ones(dtype):
    weight = torch.nn.Parameter(drawn(96, 64, dtype=dtype, spread=0.02))
    x, d = drawn(2, 16, 64, dtype=dtype).requires_grad_(), drawn(2, 16, 96, dtype=dtype, spread=1e-4)
    out = Float8Linear(weight)(x)
    out.backward(d)
    assert out.dtype == x.grad.dtype == weight.grad.dtype == dtype
    x8, w8, d8 = (
        eight.float() * scale for eight, scale in (cast(x.detach(), E4M3), cast(weight.detach(), E4M3), cast(d, E5M2))
    )
    exact_x, exact_w, exact_d = x.detach().float(), weight.detach().float(), d.float()
    rounding = 1e-5 if dtype == torch.float32 else 1e-2
    for found, cast_product, exact, error in (
        (out, x8 @ w8.t(), exact_x @ exact_w.t(), 0.045),
        (x.grad, d8 @ w8, exact_d @ exact_w, 0.065),
        (weight.grad, flat(d8).t() @ flat(x8), flat(exact_d).t() @ flat(exact_x), 0.065),
    ):
        assert (found.float() - cast_product).norm() < rounding * cast_product.norm()
        assert error / 3 < (found.float() - exact).norm() / exact.norm() < error


def test_a_decoder_in_float8_keeps_its_names_and_learns():
    exact = Decoder(SHAPE, choose("cpu"), seed=1)
    eight = copy.deepcopy(exact)
    to_float8(eight, torch.device("cpu"))
    assert list(eight.state_dict()) == list(exact.state_dict())
    assert sum(isinstance(module, Float8Linear) for module in eight.modules()) == 7 * SHAPE.layers
    batch = packed([[20, 12], [32]], 32, vocabulary=112)
    losses = []
    for decoder in (exact, eight):
        optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
        for _ in range(20):
            optimizer.zero_grad()
            loss, targets = decoder(*batch)
            (loss / targets).backward()
            optimizer.step()
        losses.append((loss / targets).item())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device that is not there is asked for")
def test_the_device_that_it_will_run_on_is_asked():
    with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
        to_float8(Decoder(SHAPE, choose("cpu"), seed=1), torch.device("cuda"))


def test_axes_that_float8_cannot_take_are_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        Float8Linear(torch.nn.Parameter(torch.zeros(96, 40)))
    with pytest.raises(ValueError, match="multiples of 16"):
        Float8Linear(torch.nn.Parameter(torch.zeros(96, 48)))(torch.zeros(3, 7, 48))
    with pytest.raises(ValueError, match="multiples of 16"):
        to_float8(Decoder(Shape(2, 60, 2, 1, 96, 101, tied=True), choose("cpu"), seed=1), torch.device("cpu"))
