# ruff: noqa: TID253 - torch is what this module is about
"""The decoder under DeepSpeed: optimizer states (stage 1), gradients (2) and weights (3) are sharded over the ranks.

DeepSpeed would sum gradients in the model's type, over micro-batches and over ranks; bfloat16 loses small ones, so both
are told to be float32 (`grad_accum_dtype`, `communication_data_type`). It divides by the number of ranks and, unless
told otherwise, by that of micro-batches. Here the loss is a sum over tokens, divided by the targets of the whole step,
so the first is multiplied back and the second is switched off: how targets fall on ranks and micro-batches then changes
nothing but rounding.

The optimizer within is torch's fused AdamW, which DeepSpeed calls part by part. It is handed the guard's verdict
(`found_inf`), so a spike changes nothing, and what gradients are divided by for clipping (`grad_scale`), both on the
device. DeepSpeed would take the norm and clip too, and wait for the device to see whether the norm is a number: that is
left out. So a step of stages 1 and 2 waits for nothing; at stage 3 DeepSpeed itself waits, at the end of each backward,
until gradients are divided.

DeepSpeed takes its masters from weights that are rounded already, finds moments at the first update, and brings weights
to their masters only at one. An idle step, which has gradients of nothing and is skipped, does what is needed of it:
one comes first of all, and one wherever masters are set. States leave and enter whole, parameter by parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.runtime.bf16_optimizer import BF16_Optimizer
from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
)
from torch import Tensor, nn

from hare_ray.model.attention import spans
from hare_ray.model.decoder import Decoder
from hare_ray.train.engine import CLIP_MARGIN, MOMENTS, UPDATES, WEIGHTS, Inputs, Stepped, owners
from hare_ray.train.guard import Guard
from hare_ray.train.settings import Plan, Ranks

# On CPUs DeepSpeed would compile an extension at its first start, for a collective that only its inference calls. torch
# guards that with a file, and where a process was killed meanwhile it stays, and every later start waits for ever.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: norms do not decay, it would pull them from 1 to 0."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    plain = [weight for weight in model.parameters() if weight.ndim < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def config(plan: Plan, ranks: int) -> dict[str, Any]:
    """DeepSpeed's settings."""
    return {
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.micro_batches(ranks),
        "gradient_clipping": 0.0,  # ours
        "bf16": {"enabled": plan.training.precision == "bfloat16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_optimization": {"stage": plan.speed.zero_stage},
        "steps_per_print": 1 << 40,
    }


class Zero:
    """A model in training."""

    def __init__(self, plan: Plan, model: Decoder, ranks: Ranks, device: torch.device) -> None:
        """Distribute a model's weights; all ranks do so together."""
        self.ranks, self.device, self.backend = ranks, device, model.backend
        self.sizes = {name: weight.numel() for name, weight in model.named_parameters()}
        self.guard, self.clip = Guard(plan.training.spike_sigmas, device), plan.training.gradient_clip
        first = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        self.optimizer: Any = torch.optim.AdamW(
            groups(model, plan.training.weight_decay),
            lr=plan.training.learning_rate,
            betas=plan.training.betas,
            eps=plan.training.epsilon,
            fused=True,
        )
        if not dist.is_initialized():  # DeepSpeed wants a group even of one
            dist.init_process_group(init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
        made = deepspeed.initialize(model=model, optimizer=self.optimizer, config=config(plan, ranks.count))
        self.engine: Any = made[0]
        self._leave_out_norms()
        self._make_moments()
        self._idle()
        for name, weight in self._named():
            safe_set_full_fp32_param(weight, first[name].to(device))
        self._idle()

    def step(self, micro_batches: list[Inputs], targets: Tensor, learning_rate: float) -> Stepped:
        """One optimizer step; `targets` are those of all ranks. All ranks call it."""
        divisor = targets.clamp(min=1).float()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        for number, inputs in enumerate(micro_batches, 1):
            self.engine.set_gradient_accumulation_boundary(number == len(micro_batches))
            loss, _ = self.engine(*inputs)
            self.engine.backward(loss * (self.ranks.count / divisor), scale_wrt_gas=False)
            total += loss.detach()
        loss_mean = total / divisor
        if self.ranks.count > 1:
            dist.all_reduce(loss_mean)
        norm = self._norm()
        skipped = self.guard.spike(loss_mean, norm)
        clip = ((norm + CLIP_MARGIN) / self.clip).clamp(min=1.0) if self.clip else torch.ones_like(norm)
        self._descend(clip, skipped)
        return Stepped(total, norm, skipped)

    def _leave_out_norms(self) -> None:
        """DeepSpeed's, each in the way of the class that has it."""
        states = self.engine.optimizer
        if isinstance(states, BF16_Optimizer):
            self.engine.optimizer.step = self._descend_in_bfloat16
        elif isinstance(states, DeepSpeedZeroOptimizer_Stage3):
            states._get_norm_groups = lambda: [0.0]  # a number on the host, which it may look at
        else:
            states.compute_grad_norm = states.check_grad_overflow = False

    def _make_moments(self) -> None:
        """At stages 1 and 2 DeepSpeed looks for those of all groups when it has updated the first."""
        for group in self.optimizer.param_groups:
            for flat in group["params"]:
                moments = {name: torch.zeros_like(flat, requires_grad=False) for name in MOMENTS}
                self.optimizer.state[flat] = {"step": torch.zeros((), device=flat.device), **moments}

    def _norm(self) -> Tensor:
        """Of the gradient of all ranks, before clipping."""
        states = self.engine.optimizer
        whole = isinstance(states, BF16_Optimizer)  # on every rank; else each has its share
        groups = states.fp32_groups_gradients if whole else states.averaged_gradients.values()
        norm = torch.nn.utils.get_total_norm([part for parts in groups for part in parts])
        if whole or self.ranks.count == 1:
            return norm
        squared = norm.square()
        dist.all_reduce(squared)
        return squared.sqrt()

    def _descend(self, divisor: Tensor, skipped: Tensor) -> None:
        """Update masters by their gradients over `divisor`, or not where `skipped` is 1; then the weights by them."""
        self.optimizer.grad_scale, self.optimizer.found_inf = divisor, skipped
        self.engine.step()

    @torch.no_grad()
    def _descend_in_bfloat16(self) -> None:
        """The step of BF16_Optimizer without its norm: whether that is a number it would ask the device."""
        states = self.engine.optimizer
        shares = zip(states.fp32_groups_flat_partition, states.fp32_groups_gradient_flat_partition, strict=True)
        for master, gradient in shares:
            master.grad = gradient
        self.optimizer.step()
        states._lazy_init_hp_params_optimizer_state()
        states.update_lp_params()
        states.clear_hp_grads()

    def _idle(self) -> None:
        """A step that is skipped: moments are there after it, and weights are where their masters are."""
        tokens = torch.zeros(1, 2, dtype=torch.int64)
        segments = tokens.int()
        where = spans(self.backend, segments).to(self.device)
        inputs = [each.to(self.device) for each in (tokens, segments, segments)]
        self.engine.set_gradient_accumulation_boundary(True)
        with torch.compiler.set_stance("force_eager"):  # no layer is compiled for two tokens
            loss, _ = self.engine(*inputs, where)
            self.engine.backward(loss * 0.0, scale_wrt_gas=False)
        one = torch.ones((), device=self.device)
        self._descend(one, one)

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.engine.module.named_parameters()

    def owned(self) -> dict[str, Tensor]:
        """A copy of this rank's share of the states; each parameter is brought together on all ranks."""
        mine, found = owners(self.sizes, self.ranks.count), {}
        for name, weight in self._named():
            for kind in (WEIGHTS, *MOMENTS):
                whole = (
                    safe_get_full_fp32_param(weight) if kind == WEIGHTS else safe_get_full_optimizer_state(weight, kind)
                )
                assert whole is not None
                if mine[name] == self.ranks.rank:
                    found[f"{kind}/{name}"] = whole.detach().to("cpu", torch.float32, copy=True)
        if self.ranks.rank == 0:
            found |= {UPDATES: self._updates()[0].to("cpu", torch.int64), **self.guard.state()}
        return found

    def load(self, read: Callable[[str], Tensor]) -> None:
        """Take up what engines of any kind own."""
        for name, weight in self._named():
            safe_set_full_fp32_param(weight, read(f"{WEIGHTS}/{name}").to(self.device))
            for kind in MOMENTS:
                safe_set_full_optimizer_state(weight, read(f"{kind}/{name}").to(self.device), kind)
        for updates in self._updates():
            updates.copy_(read(UPDATES))
        self._idle()
        self.guard.load(read)

    def _updates(self) -> list[Tensor]:
        return [state["step"] for state in self.optimizer.state.values()]
