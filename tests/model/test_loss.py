import pytest
import torch
from torch.nn import functional

from hare_ray.model import loss as module
from hare_ray.model.loss import NO_TARGET, fused, in_place, next_tokens, summed_loss, token_losses


def drawn(dtype=torch.float32):
    """Hidden states, a head and targets, some of which are none."""
    generator = torch.Generator().manual_seed(2)
    h, head = (torch.randn(n, 16, generator=generator).to(dtype).requires_grad_() for n in (50, 33))
    targets = torch.randint(0, 33, (50,), generator=generator)
    targets[5:30] = NO_TARGET
    return h, head, targets


@pytest.fixture
def stretches(monkeypatch):
    """Seven rows at a time, which do not divide them; some stretches are without a target."""
    monkeypatch.setattr(module, "MIN_ROWS_AT_ONCE", 7)
    monkeypatch.setitem(module.LOGITS_AT_ONCE, "cpu", 1)


def test_the_last_token_of_a_document_has_no_target():
    tokens = torch.tensor([[5, 6, 7, 8, 9, 9]])
    segments = torch.tensor([[0, 0, 0, 1, 1, -1]])
    assert next_tokens(tokens, segments).tolist() == [[6, 7, NO_TARGET, 9, NO_TARGET, NO_TARGET]]


@pytest.mark.usefixtures("stretches")
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_loss_in_stretches_is_cross_entropy(compiled):
    h, head, targets = drawn()
    loss = summed_loss(h, head, targets, compiled)
    found = torch.autograd.grad(loss * 0.3, (h, head))
    expected = functional.cross_entropy(h @ head.t(), targets, reduction="sum", ignore_index=NO_TARGET)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(found, torch.autograd.grad(expected * 0.3, (h, head)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("stretches")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_of_rows_are_cross_entropy_of_each(dtype):
    h, head, targets = drawn(dtype)
    losses = token_losses(h, head, targets)
    logits = (h.detach() @ head.detach().t()).float()
    torch.testing.assert_close(losses, functional.cross_entropy(logits, targets, reduction="none"))
    assert not losses.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ways_through_the_softmax_give_the_same(dtype):
    """Also where a target is so unlikely that its probability is 0 in float32."""
    logits = (torch.randn(9, 33, generator=torch.Generator().manual_seed(1)) * 3).to(dtype)
    logits[0, 4] = -200
    targets = torch.tensor([4, NO_TARGET, 1, 2, NO_TARGET, 32, 0, 7, 7])
    for one, other in zip(in_place(logits.clone(), targets), fused(logits, targets), strict=True):
        torch.testing.assert_close(one, other)
    assert in_place(logits, targets)[0] > 200
