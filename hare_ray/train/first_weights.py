# ruff: noqa: TID253 - makes a model of torch
"""The model of a training before its first step: drawn, or the weights of a folder of Hugging Face."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.export import from_hf
from hare_ray.store import filesystem
from hare_ray.train.engine import PRECISIONS
from hare_ray.train.settings import Plan, local


def first_model(plan: Plan, device: torch.device, resumed: bool) -> Decoder:
    """The decoder, in float32 on the CPU; `resumed`: with weights of zero, for those of a checkpoint come."""
    backend = choose(device, PRECISIONS[plan.training.precision])
    drawn = not resumed and plan.start is None
    model = Decoder(plan.shape, backend, plan.seed if drawn else None, plan.initial)
    if not resumed and plan.start is not None:
        with here(plan.start) as folder:
            shape, state = from_hf(folder)
        if shape != plan.shape:
            raise ValueError(f"given start={plan.start} of {shape}, expected {plan.shape}; give both the same shape")
        model.load_state_dict({name: weight.float() for name, weight in state.items()})
    return model


@contextmanager
def here(url: str) -> Iterator[Path]:
    """A folder of a path or URL on this machine, while it is needed."""
    path = local(url)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hare_ray-start-") as copy:
        system, base = filesystem(url.rstrip("/"))
        system.get(f"{base}/", copy, recursive=True)
        yield Path(copy)
