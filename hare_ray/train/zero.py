# ruff: noqa: TID253 - torch is what this module is about
"""The decoder under DeepSpeed: weights in bfloat16, masters, sums of gradients and optimizer states in float32.

DeepSpeed would sum gradients in the model's type; over micro-batches bfloat16 loses small ones (`grad_accum_dtype`).
It divides by the number of workers and, unless told otherwise, by that of micro-batches. Here the loss is a sum over
tokens, divided by the targets of the whole step, so the first is multiplied back and the second is switched off: how
targets fall on workers and micro-batches then changes nothing but rounding.

Weights of one dimension (norms) do not decay: it would pull them from 1 towards 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn

from hare_ray.model.attention import Spans, choose
from hare_ray.model.decoder import Decoder
from hare_ray.train.settings import Plan

TAG = "state"
"""Folder of a checkpoint in which DeepSpeed's files lie."""

PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}

Inputs = tuple[Tensor, Tensor, Tensor, Spans]
"""Tokens, segments, positions of a micro-batch, and where its pieces lie."""


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    plain = [weight for weight in model.parameters() if weight.ndim < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def config(plan: Plan) -> dict[str, Any]:
    """DeepSpeed's settings."""
    return {
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.micro_batches,
        "gradient_clipping": plan.training.gradient_clip,
        "bf16": {"enabled": plan.training.precision == "bfloat16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": {"stage": plan.training.zero_stage},
        "steps_per_print": 1 << 40,
    }


class Zero:
    """A model in training."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        """Draw the first weights and distribute them; all ranks do so together."""
        self.plan, self.device = plan, device
        dtype = PRECISIONS[plan.training.precision]
        self.backend = choose(device, dtype)
        model = Decoder(plan.shape, self.backend, plan.seed)
        optimizer = torch.optim.AdamW(
            groups(model, plan.training.weight_decay),
            lr=plan.training.learning_rate,
            betas=plan.training.betas,
            eps=plan.training.epsilon,
            fused=True,
        )
        self.engine: Any = deepspeed.initialize(model=model, optimizer=optimizer, config=config(plan))[0]

    def step(self, micro_batches: list[Inputs], targets: Tensor, learning_rate: float) -> tuple[Tensor, Any]:
        """One optimizer step; `targets` are those of all ranks. Summed loss of this rank, and gradient norm of all."""
        scale = self.plan.workers / targets.clamp(min=1).float()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        for inputs in micro_batches:
            loss, _ = self.engine(*inputs)
            self.engine.backward(loss * scale, scale_wrt_gas=False)
            self.engine.step()
            total += loss.detach()
        return total, self.engine.get_global_grad_norm()

    def save(self, folder: Path) -> None:
        """This rank's files."""
        (folder / TAG).mkdir(parents=True, exist_ok=True)
        self.engine.save_checkpoint(str(folder), tag=TAG, save_latest=False)

    def load(self, folder: Path) -> None:
        """Weights and optimizer states that as many ranks have saved."""
        path, _ = self.engine.load_checkpoint(str(folder), tag=TAG, load_lr_scheduler_states=False)
        if path is None:
            raise ValueError(f"{folder / TAG} holds no checkpoint of DeepSpeed; make the earlier stage anew")

    def weights(self) -> dict[str, Tensor]:
        """The master weights, whole, by name; all ranks call this."""
        found = {}
        for name, weight in self.engine.module.named_parameters():
            master = safe_get_full_fp32_param(weight)
            found[name] = (weight if master is None else master).detach().to("cpu", torch.float32, copy=True)
        return found
