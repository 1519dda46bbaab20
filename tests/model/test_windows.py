import pytest
import torch

from hare_ray.model import windows
from hare_ray.model.attention import MASK, WINDOWS, Backend, attend, spans
from hare_ray.model.windows import BLOCK, groups
from tests.model.packed import packed

PACKED = [[300, 30], [1, 200, 129], [128, 128], [63, 64, 65], []]


def test_windows_show_what_the_mask_shows_and_no_block_more():
    """Of 5 x 330 tokens: no row begins or ends with a block."""
    _, segments, _ = packed(PACKED, 330)
    mask = torch.block_diag(*spans(Backend(MASK, ""), segments).mask[:, 0]).bool()
    tokens = len(mask)
    padded = torch.zeros(-(-tokens // BLOCK) * BLOCK, -(-tokens // BLOCK) * BLOCK, dtype=torch.bool)
    padded[:tokens, :tokens] = mask
    starts = (~mask).sum(1).new_tensor([n for n in range(tokens) if not n or not mask[n, n - 1]])
    found = torch.zeros_like(padded)
    for blocks, window, hidden in groups(starts, tokens):
        for block, keys, hide in zip(blocks.tolist(), window.view(len(blocks), -1), hidden, strict=True):
            columns = (keys[:, None] * BLOCK + torch.arange(BLOCK)).flatten()
            found[block * BLOCK : (block + 1) * BLOCK, columns] = hide == 0
            assert (hide[:, :BLOCK] == 0).any()
    assert torch.equal(found[:tokens, :tokens], mask)
    assert found.any(1).all()


@pytest.mark.parametrize("most_kept", [0, windows.MOST_KEPT])
@pytest.mark.parametrize("rows", [PACKED, [[330]]], ids=["many pieces", "one"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 2), (6, 1), (3, 3), (1, 1)])
def test_output_and_gradients_are_those_of_float64_within_bfloat16(monkeypatch, most_kept, rows, heads, kv_heads):
    """Weights kept and weights computed again; error against the norm, about 2 ** -8 for each rounding.

    Twice in the same windows, as layers do it. Where heads and blocks have an axis of one, a view may pass for a copy.
    """
    monkeypatch.setattr(windows, "MOST_KEPT", most_kept)
    _, segments, _ = packed(rows, 330)
    where = spans(Backend(WINDOWS, ""), segments)
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(len(rows), n, 330, 16, generator=generator).bfloat16() for n in (heads, kv_heads, kv_heads)]
    upstream = torch.randn(len(rows), heads, 330, 16, generator=generator).bfloat16()
    exact = [x.double().requires_grad_() for x in drawn]
    out = attend(*exact, spans(Backend(MASK, ""), segments))
    out.backward(upstream.double())
    for _ in range(2):
        quick = [x.clone().requires_grad_() for x in drawn]
        found = attend(*quick, where)
        found.backward(upstream)
        for one, other in zip((found, *(x.grad for x in quick)), (out, *(x.grad for x in exact)), strict=True):
            assert one.dtype == torch.bfloat16
            assert ((one - other).norm() / other.norm()).item() < 8e-3
