import math

import pytest
import torch
from torch.nn import functional
from transformers import MistralConfig, MistralForCausalLM

from hare_ray.model import decoder as module
from hare_ray.model.attention import MASK, Backend, choose, spans
from hare_ray.model.decoder import NO_TARGET, Decoder, next_tokens, summed_loss
from hare_ray.model.shape import Shape
from tests.model.packed import ROWS, packed, small

CPU = choose("cpu")


def mistral(shape: Shape) -> MistralForCausalLM:
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.mlp_hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            rms_norm_eps=shape.norm_epsilon,
            rope_parameters={"rope_theta": shape.rope_theta, "rope_type": "default"},
            sliding_window=None,
            tie_word_embeddings=shape.tied,
            attn_implementation="eager",
        )
    ).eval()


def stirred(decoder: Decoder) -> Decoder:
    """Weights that are neither alike nor small, so that a wrong norm or position shows."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    return decoder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_logits_loss_and_gradients_are_those_of_transformers(tied, kv_heads):
    shape = small(tied, kv_heads)
    ours = stirred(Decoder(shape, CPU, seed=1))
    theirs = mistral(shape)
    theirs.load_state_dict(ours.state_dict(), strict=not tied)
    tokens, segments, positions = packed([[40], [40]], 40)
    torch.testing.assert_close(ours.logits(tokens, segments, positions), theirs(tokens).logits, rtol=1e-4, atol=1e-5)
    loss, targets = ours(tokens, segments, positions)
    expected = theirs(tokens, labels=tokens).loss
    (loss / targets).backward()
    expected.backward()
    torch.testing.assert_close(loss / targets, expected, rtol=1e-5, atol=1e-6)
    gradients = {name: weight.grad for name, weight in theirs.named_parameters()}
    assert gradients.keys() == dict(ours.named_parameters()).keys()
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(
            weight.grad, gradients[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("backend", [CPU, Backend(MASK, "")])
def test_a_packed_document_has_the_logits_it_has_alone(backend):
    decoder = stirred(Decoder(small(), backend, seed=1))
    tokens, segments, positions = packed(ROWS, 40)
    together = decoder.logits(tokens, segments, positions)
    for row, lengths in enumerate(ROWS):
        begin = 0
        for length in lengths:
            piece = tokens[row : row + 1, begin : begin + length]
            alone = decoder.logits(piece, torch.zeros_like(piece), torch.arange(length)[None])
            torch.testing.assert_close(together[row, begin : begin + length], alone[0], rtol=1e-4, atol=1e-5)
            begin += length


def test_what_stands_in_the_padding_changes_nothing():
    decoder = stirred(Decoder(small(), CPU, seed=1))
    tokens, segments, positions = packed(ROWS, 40)
    loss, targets = decoder(tokens, segments, positions)
    loss.backward()
    gradients = [weight.grad.clone() for weight in decoder.parameters()]
    decoder.zero_grad()
    other = torch.where(segments < 0, (tokens + 1) % 101, tokens)
    again, count = decoder(other, segments, positions)
    again.backward()
    assert torch.equal(loss, again)
    assert targets == count == sum(length - 1 for lengths in ROWS for length in lengths)
    for gradient, weight in zip(gradients, decoder.parameters(), strict=True):
        assert torch.equal(gradient, weight.grad)


def test_a_batch_of_padding_has_no_loss_and_no_gradient():
    decoder = Decoder(small(), CPU, seed=1)
    loss, targets = decoder(*packed([[], []], 8))
    loss.backward()
    assert (loss.item(), targets.item()) == (0, 0)
    assert all(not weight.grad.any() for weight in decoder.parameters())


def test_the_last_token_of_a_document_has_no_target():
    tokens = torch.tensor([[5, 6, 7, 8, 9, 9]])
    segments = torch.tensor([[0, 0, 0, 1, 1, -1]])
    assert next_tokens(tokens, segments).tolist() == [[6, 7, NO_TARGET, 9, NO_TARGET, NO_TARGET]]


def test_the_loss_in_stretches_is_cross_entropy(monkeypatch):
    """Over stretches that do not divide the rows, some of them without a target."""
    monkeypatch.setattr(module, "MIN_ROWS_AT_ONCE", 7)
    monkeypatch.setitem(module.LOGITS_AT_ONCE, "cpu", 1)
    generator = torch.Generator().manual_seed(2)
    h = torch.randn(50, 16, generator=generator, requires_grad=True)
    head = torch.randn(33, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 33, (50,), generator=generator)
    targets[5:30] = NO_TARGET
    loss = summed_loss(h, head, targets)
    found = torch.autograd.grad(loss * 0.3, (h, head))
    expected = functional.cross_entropy(h @ head.t(), targets, reduction="sum", ignore_index=NO_TARGET)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(found, torch.autograd.grad(expected * 0.3, (h, head)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["bfloat16", "autocast"])
def test_bfloat16_is_near_float32_and_its_loss_is_float32(mode):
    batch = packed([[100, 28], [128]], 128)
    expected, targets = Decoder(small(), CPU, seed=1)(*batch)
    decoder = Decoder(small(), CPU, seed=1)
    if mode == "bfloat16":
        decoder.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        loss, _ = decoder(*batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() / targets.item() == pytest.approx(expected.item() / targets.item(), rel=1e-2)
    assert all(torch.isfinite(weight.grad).all() for weight in decoder.parameters())


def test_without_gradients_the_loss_is_the_same():
    decoder = Decoder(small(), CPU, seed=1)
    batch = packed(ROWS, 40)
    with torch.inference_mode():
        alone, _ = decoder(*batch)
    loss, _ = decoder(*batch)
    assert not alone.requires_grad
    assert loss.requires_grad
    assert torch.equal(alone, loss)


def test_spans_made_beforehand_are_used():
    decoder = stirred(Decoder(small(), CPU, seed=1))
    batch = packed(ROWS, 40)
    assert torch.equal(decoder(*batch)[0], decoder(*batch, spans(decoder.backend, batch[1]))[0])
    one_document = torch.zeros_like(batch[1])
    assert not torch.equal(decoder(*batch)[0], decoder(*batch, spans(decoder.backend, one_document))[0])


def test_first_weights_follow_from_shape_and_seed_alone():
    torch.manual_seed(1)
    first = Decoder(small(), CPU, seed=7).state_dict()
    torch.manual_seed(2)
    again = Decoder(small(), Backend(MASK, ""), seed=7).state_dict()
    other = Decoder(small(), CPU, seed=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_first_weights_have_one_deviation_and_norms_are_one():
    shape = Shape(
        layers=2, hidden=256, heads=4, kv_heads=2, mlp_hidden=512, vocabulary=512, tied=False, initial_std=0.05
    )
    for name, weight in Decoder(shape, CPU, seed=1).named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, torch.ones_like(weight)), name
        else:
            assert weight.std().item() == pytest.approx(0.05, rel=0.02), name
            assert abs(weight.mean().item()) < 5 * 0.05 / math.sqrt(weight.numel()), name


def test_the_number_of_weights_is_as_the_shape_says():
    for tied in (True, False):
        weights = list(Decoder(small(tied), CPU, seed=1).parameters())
        assert sum(weight.numel() for weight in weights) == small(tied).parameters


def test_a_decoder_learns_a_batch_by_heart():
    decoder = Decoder(small(), CPU, seed=1)
    batch = packed([[20, 12], [32]], 32)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss, targets = decoder(*batch)
        (loss / targets).backward()
        optimizer.step()
    assert loss.item() / targets.item() < 0.1 < math.log(101)
