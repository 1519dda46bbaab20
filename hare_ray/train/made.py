# ruff: noqa: TID253 - torch is what this module is about
"""The engine that a plan asks for: plain PyTorch, or DeepSpeed where states are sharded."""

from __future__ import annotations

import os

import torch

from hare_ray.model.decoder import Decoder
from hare_ray.train.engine import Engine
from hare_ray.train.flat import Flat
from hare_ray.train.settings import Plan, Ranks


def engine(plan: Plan, model: Decoder, ranks: Ranks, device: torch.device) -> Engine:
    """Bring a model with its first weights into training; all ranks do so together, from the same weights."""
    if plan.training.float8:
        from hare_ray.model.float8 import to_float8

        to_float8(model, device)
    model.model.recompute = plan.speed.recompute
    made: Engine = (_sharded if plan.speed.zero_stage else Flat)(plan, model, ranks, device)
    if plan.speed.compile:
        model.compiled()
    return made


def _sharded(plan: Plan, model: Decoder, ranks: Ranks, device: torch.device) -> Engine:
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read when DeepSpeed is imported
    os.environ.setdefault("LOCAL_RANK", str(device.index or 0))  # whose device it takes; launchers set it
    from hare_ray.train.zero import Zero

    return Zero(plan, model, ranks, device)
