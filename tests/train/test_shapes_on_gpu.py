"""A step as a GPU takes it, without one: tensors of the device "meta" have shapes and types alone, which torch's
operators check as they would there, those of packed attention among them."""

import contextlib

import pytest
import torch

from hare_ray.model import attention
from hare_ray.model.attention import MASK, VARLEN, Backend, Spans, offsets_for
from hare_ray.model.decoder import Decoder
from hare_ray.model.float8 import to_float8
from hare_ray.train.flat import Flat
from tests.train.engines import SEQUENCES, SHAPE, one_rank, plan

META = torch.device("meta")
T = 128
OF = {"device": META}


def where(name: str) -> Spans:
    if name == MASK:
        return Spans(T, mask=torch.empty(SEQUENCES, 1, T, T, dtype=torch.bool, **OF))
    return Spans(T, offsets=torch.empty(offsets_for(7), dtype=torch.int32, **OF), varlen=attention._torch_varlen())


@pytest.mark.parametrize("float8", [False, True])
@pytest.mark.parametrize("name", [VARLEN, MASK])
def test_forward_backward_and_update_fit_together(monkeypatch, name, float8):
    if name == VARLEN:
        pytest.importorskip("torch.nn.attention.varlen", reason="this torch has no varlen_attn")
    # It knows no such device.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    monkeypatch.setattr(torch, "autocast", lambda *given, **more: contextlib.nullcontext())
    given = plan(precision="bfloat16", sequence_tokens=T)
    model = Decoder(SHAPE, Backend(name, "to be tried"), seed=1).to_empty(device=META)
    if float8:
        to_float8(model, META)
    engine = Flat(given, model, one_rank(), META)
    numbers = [torch.empty(SEQUENCES, T, dtype=kind, **OF) for kind in (torch.int64, torch.int32, torch.int32)]
    inputs = (*numbers, where(name))
    loss, norm, skipped = engine.step([inputs, inputs], torch.empty((), dtype=torch.int64, **OF), 0.01)
    assert (loss.dtype, norm.dtype, skipped.dtype) == (torch.float64, torch.float32, torch.float32)
    assert {loss.device, norm.device, skipped.device} == {META}
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert all(weight.grad is None for weight in model.parameters())  # added to float32, and freed
