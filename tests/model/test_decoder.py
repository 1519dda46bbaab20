import math
from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import MistralConfig, MistralForCausalLM

from hare_ray.model.attention import MASK, Backend, choose, spans
from hare_ray.model.decoder import Decoder
from hare_ray.model.loss import NO_TARGET, next_tokens
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


def stepped(decoder, batch):
    loss, targets = decoder(*batch)
    (loss / targets).backward()
    return [loss.detach(), *(weight.grad for weight in decoder.parameters())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputing_changes_nothing_but_what_is_kept(dtype):
    batch = packed([[100, 28], [128]], 128)
    kept = []
    results = []
    for recompute in (False, True):
        decoder = stirred(Decoder(small(), CPU, seed=1)).to(dtype)
        decoder.model.recompute = recompute
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.numel()) or x, lambda x: x):
            loss, targets = decoder(*batch)
        (loss / targets).backward()
        kept.append(sum(sizes))
        results.append([loss, *(weight.grad for weight in decoder.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert kept[1] < kept[0] / 5


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_a_compiled_decoder_is_the_same_and_compiled_once(recompute):
    """Pieces differ from batch to batch, and layers are many: neither is a reason to compile again."""
    shape = replace(small(), layers=4)
    eager = stirred(Decoder(shape, CPU, seed=1))
    compiled = stirred(Decoder(shape, CPU, seed=1)).compiled()
    compiled.model.recompute = recompute
    assert list(eager.state_dict()) == list(compiled.state_dict())
    torch._dynamo.reset()
    counters.clear()
    graphs = []
    for rows in ([[7, 30, 3], [40]], [[40], [1, 2, 3]], [[10, 10, 5], [1, 1, 1, 37]], [[2, 3, 4, 5, 6], [20, 20]]):
        batch = packed(rows, 40)
        for one, other in zip(stepped(eager, batch), stepped(compiled, batch), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        eager.zero_grad()
        compiled.zero_grad()
        graphs.append(counters["stats"]["unique_graphs"])
    assert 0 < graphs[0] <= 8
    assert len(set(graphs[1:])) == 1  # the loss is compiled a second time, for any number of targets
    assert not counters["recompile_limit"]


def test_losses_of_tokens_are_what_the_loss_sums():
    decoder = stirred(Decoder(small(), CPU, seed=1))
    batch = packed(ROWS, 40)
    losses = decoder.losses(*batch)
    targets = next_tokens(*batch[:2])
    scores = torch.log_softmax(decoder.logits(*batch), -1)
    expected = -scores.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets != NO_TARGET)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses.sum(), decoder(*batch)[0], rtol=1e-6, atol=1e-4)
    assert losses.dtype == decoder.bfloat16().losses(*batch).dtype == torch.float32
    assert not losses.requires_grad
