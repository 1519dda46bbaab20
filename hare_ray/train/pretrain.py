"""Pre-training as a stage: packed sequences in, weights out.

    mixture      mixture.json: how many sequences of each source
    sources      packed tables, in the order of the mixture
    before       an earlier training to go on from, weights and optimizer states
    certificate  which benchmarks the sources were searched for, and what was left (`hare_ray.train.certified`)
    ->           weights.safetensors (float32 masters), shape.json, checkpoint/, metrics.jsonl, summary.json,
                 tensorboard/

The stage itself waits only: the work is done by `workers` processes under Ray Train, each with a core or a GPU. While
it runs, checkpoints and metrics lie in the desk's lasting folder; a run that was killed goes on from the last one and
gives, bit for bit, the losses of one that was left alone. The number of workers changes the order in which gradients
are added, therefore it is part of the identity; how often is saved or logged is not.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from hare_ray.model.shape import Shape, mfu
from hare_ray.priors.paper import Training
from hare_ray.stage import Make, Needs, Stage, Table
from hare_ray.store import Root
from hare_ray.train.certified import CERTIFICATE, check_certificate, check_recipe, check_stages
from hare_ray.train.checkpoint import name_of, take
from hare_ray.train.metrics import rows
from hare_ray.train.order import Order
from hare_ray.train.schedule import Schedule
from hare_ray.train.sequences import PackedTable
from hare_ray.train.settings import (
    CHECKPOINT,
    DIVERGED,
    METRICS,
    RESULT,
    SHAPE,
    SUMMARY,
    TENSORBOARD,
    WEIGHTS,
    Plan,
)

if TYPE_CHECKING:
    from hare_ray.gather import Desk

MIXTURE = "mixture.json"

PRECISIONS = ("bfloat16", "float32")


class Pretrain(Make):
    """A trained decoder."""

    mixture: Stage
    sources: tuple[Table, ...]
    """The packed tables of the mixture, in its order."""
    tokenizer: Stage
    """What the tokens were made with."""
    before: Stage | None
    """An earlier Pretrain; None: from the first weights."""
    shape: Shape
    training: Training
    schedule: Schedule
    batch_sequences: int
    """Sequences of one optimizer step, over all workers."""
    micro_batch: int
    """Sequences that one worker takes at once."""
    workers: int
    seed: int
    """Of the first weights and of the order."""
    certificate: Stage | None = None
    """A Certificate whose last look is at `sources`; None: nothing was checked, and nobody may judge the model."""
    evaluated: tuple[str, ...] = ()
    """Benchmarks that the model will be judged by, "name" or "name/split" as the certificate has them."""
    checkpoint_steps: int = 1000
    log_steps: int = 1
    """Steps between two looks at the loss; each waits for the device."""
    gpu: bool = False
    """One for each worker; they may still have to be started. Otherwise a core for each."""
    hook: str = ""
    """`module:function` that gets each row of the metrics; those after the last checkpoint again after a kill."""

    needs: ClassVar[Needs] = Needs(cpus=0)
    imports: ClassVar[tuple[str, ...]] = ("ray", "torch", "deepspeed", "safetensors", "tensorboard")
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "checkpoint_steps", "log_steps", "hook", "gpu"})

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit together."""
        for name in ("batch_sequences", "micro_batch", "workers", "checkpoint_steps", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")
        if self.batch_sequences % (self.workers * self.micro_batch):
            raise ValueError(
                f"{self!r}: given batch_sequences={self.batch_sequences}, workers={self.workers}, "
                f"micro_batch={self.micro_batch}; expected a multiple of workers * micro_batch"
            )
        if self.training.precision not in PRECISIONS:
            raise ValueError(f"{self!r}: given precision={self.training.precision!r}, expected one of {PRECISIONS}")
        check_recipe(self, self.certificate, self.evaluated, self.sources)
        if isinstance(self.before, Pretrain):
            self._check_before(self.before)
        check_stages(self, self.evaluated, self.before)

    def _check_before(self, before: Pretrain) -> None:
        for name in ("shape", "workers"):
            if getattr(before, name) != getattr(self, name):
                raise ValueError(
                    f"{self!r}: given {name}={getattr(self, name)}, but {before!r} has {getattr(before, name)}; "
                    "give both the same: its checkpoint is taken up as it is"
                )
        for name in ("zero_stage", "precision"):
            mine, its = getattr(self.training, name), getattr(before.training, name)
            if mine != its:
                raise ValueError(f"{self!r}: given {name}={mine!r}, but {before!r} has {its!r}; give both the same")

    def make(self, desk: Desk) -> dict[str, int]:
        """Train, or take up a training that was stopped, and collect what it left."""
        self._check_certificate(desk)
        from hare_ray.train.on_ray_train import fit

        plan = self.plan(desk)
        root = Root(desk.lasting.rstrip("/"))
        began = time.perf_counter()
        if not finished(root, plan):
            fit(plan)
            self._refuse_divergence(root)
        took = time.perf_counter() - began
        for name in (WEIGHTS, METRICS, TENSORBOARD):
            take(desk.lasting, name, desk.folder / name)
        take(desk.lasting, name_of(plan.steps), desk.folder / CHECKPOINT)
        (desk.folder / SHAPE).write_text(json.dumps(asdict(self.shape), indent=1) + "\n")
        result = json.loads(root.read(RESULT))
        summary = self.summary(plan, result, rows(desk.folder / METRICS), took)
        (desk.folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
        return {name: summary[name] for name in ("tokens", "targets", "sequences", "steps")}

    def plan(self, desk: Desk) -> Plan:
        """What the workers are told."""
        mixture = json.loads((desk.files(self.mixture) / MIXTURE).read_text(encoding="utf-8"))
        tokens = mixture["sequence_tokens"]
        parts = [desk.rows(source) for source in self.sources]
        available = [source["available"] for source in mixture["sources"]]
        if [sum(part) for part in parts] != available:
            raise ValueError(
                f"{self!r}: given sources of {[sum(part) for part in parts]} sequences, expected {available}; "
                "give the sources of the mixture, in its order"
            )
        if mixture["sequences"] % self.batch_sequences:
            raise ValueError(
                f"{self!r}: given batch_sequences={self.batch_sequences}, but the mixture has {mixture['sequences']} "
                f"sequences in batches of {mixture['batch_sequences']}; give both the same"
            )
        counts = tuple(source["actual"] for source in mixture["sources"])
        return Plan(
            fingerprint=self.fingerprint,
            tables=tuple(
                PackedTable(desk.folder_url(source), tuple(part))
                for source, part in zip(self.sources, parts, strict=True)
            ),
            order=Order(counts, tuple(available), self.seed),
            sequence_tokens=tokens,
            token_bytes=token_bytes(self.sources, tokens),
            shape=self.shape,
            training=self.training,
            schedule=self.schedule,
            seed=self.seed,
            batch_sequences=self.batch_sequences,
            micro_batch=self.micro_batch,
            workers=self.workers,
            before=None if self.before is None else f"{desk.folder_url(self.before)}/{CHECKPOINT}",
            lasting=desk.lasting,
            checkpoint_steps=self.checkpoint_steps,
            log_steps=self.log_steps,
            hook=self.hook,
            gpu=self.gpu,
        )

    def _check_certificate(self, desk: Desk) -> None:
        if self.certificate is not None:
            told = json.loads(desk.read_file(self.certificate, CERTIFICATE))
            check_certificate(self, told, self.evaluated, self.sources)

    def _refuse_divergence(self, root: Root) -> None:
        if root.exists(DIVERGED):
            facts = json.loads(root.read(DIVERGED))
            raise ValueError(
                f"{self!r}: loss {facts['loss']} (gradient norm {facts['grad_norm']}) at step {facts['step']}, "
                f"expected a number; the last good checkpoint is of step {facts['good']}. "
                "Lower learning_rate or gradient_clip, or lengthen the warm-up"
            )

    def summary(self, plan: Plan, result: dict[str, Any], metrics: list[dict[str, Any]], took: float) -> dict[str, Any]:
        """What summary.json says."""
        speed = statistics.median(row["tokens_per_second"] for row in metrics)
        flops = self.shape.flops_per_token(plan.sequence_tokens)
        return {
            "stage": self.name,
            "parameters": self.shape.parameters,
            "steps": plan.steps,
            "tokens": plan.steps * plan.step_tokens,
            "targets": result["targets"],
            "sequences": plan.steps * plan.batch_sequences,
            "first_loss": metrics[0]["loss"],
            "final_loss": metrics[-1]["loss"],
            "tokens_per_second": speed,
            "mfu": mfu(speed / plan.workers, flops, result["device"]),
            "workers": plan.workers,
            "restarts": result["restarts"],
            "seconds": sum(row["seconds"] for row in metrics),
            "overhead_seconds": max(0.0, took - sum(row["seconds"] for row in metrics)),
            "peak_mib": result["peak_mib"],
            "device_peak_mib": result["device_peak_mib"],
            "device": result["device"],
            "attention": result["attention"],
        }


def finished(root: Root, plan: Plan) -> bool:
    """Whether the workers ended, and the run was killed only after that."""
    return root.exists(RESULT) and json.loads(root.read(RESULT))["fingerprint"] == plan.fingerprint


def token_bytes(sources: tuple[Table, ...], sequence_tokens: int) -> int:
    """Bytes of a token, from the width of the packed rows."""
    types = [source.schema().field("tokens").type for source in sources]
    found = {kind.byte_width / sequence_tokens for kind in types if isinstance(kind, pa.FixedSizeBinaryType)}
    if len(found) != 1 or found - {2.0, 4.0}:
        raise ValueError(
            f"given sources with tokens of {types}, expected rows of {sequence_tokens} tokens of 2 or 4 bytes; "
            "pack all with the numbers of the mixture"
        )
    return int(found.pop())
