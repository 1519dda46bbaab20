"""Pre-training as a stage: packed sequences in, weights out.

    mixture      mixture.json: how many sequences of each source
    sources      packed tables, in the order of the mixture
    before       an earlier training to go on from, weights and optimizer states; or
    start        a folder in the format of Hugging Face, of which the weights are taken
    certificate  which benchmarks the sources were searched for, and what was left (`hare_ray.train.certified`)
    ->           weights.safetensors (float32 masters), shape.json, checkpoint/, metrics.jsonl, summary.json,
                 tensorboard/

The stage itself waits only: the work is done by processes under Ray Train, each with a core or a GPU. While it runs,
checkpoints and metrics lie in the desk's lasting folder; a run that was killed goes on from the last one and gives, bit
for bit, the losses of one that was left alone. How many workers there are, how many sequences each takes at once, and
how states are divided among them change the order in which numbers are added, and so the last bits; the batches are the
same, and a run may go on with other choices. So they are no part of the identity, as how often is saved or logged.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from hare_ray.model.initial import Initial
from hare_ray.model.shape import Shape
from hare_ray.priors.paper import Training
from hare_ray.stage import Make, Needs, Stage, Table
from hare_ray.store import Root
from hare_ray.train.certified import CERTIFICATE, check_certificate, check_recipe, check_stages, trainings
from hare_ray.train.checkpoint import Checkpoints, step_of
from hare_ray.train.fits import check_same_words, check_start, check_tokenizer, check_warmup, check_words
from hare_ray.train.metrics import hook_parts, refuse_divergence, rows
from hare_ray.train.order import Order
from hare_ray.train.schedule import Schedule
from hare_ray.train.sequences import PackedTable
from hare_ray.train.settings import (
    CHECKPOINT,
    METRICS,
    PRECISIONS,
    RESULT,
    SHAPE,
    SUMMARY,
    TENSORBOARD,
    WEIGHTS,
    Plan,
    Speed,
)
from hare_ray.train.stored import Stored, take

if TYPE_CHECKING:
    from hare_ray.gather import Desk

MIXTURE = "mixture.json"

FLOAT8_PARAMETERS, FLOAT8_MULTIPLE = 10**9, 16
"""Below that many weights float8 costs more than it saves (HARE's own measurements; papers and peers agree); its matrix
products want sizes that are multiples."""


class Pretrain(Make):
    """A trained decoder."""

    mixture: Stage
    sources: tuple[Table, ...]
    """The packed tables of the mixture, in its order."""
    tokenizer: Stage
    """What the tokens were made with."""
    before: Stage | None
    """An earlier Pretrain; None: from the first weights."""
    start: Stage | None = None
    """An Export, a smaller model that was inherited, or a Source: where the first weights come from; None: drawn."""
    shape: Shape
    initial: Initial = Initial()
    """How first weights are drawn."""
    training: Training
    schedule: Schedule
    batch_sequences: int
    """Sequences of one optimizer step, over all workers."""
    seed: int
    """Of the first weights and of the order."""
    certificate: Stage | None = None
    """A Certificate whose last look was at all sources."""
    evaluated: tuple[str, ...] = ()
    """Benchmarks that the model will be judged by, "name" or "name/split"; each must be in the certificate."""
    workers: int | tuple[int, int]
    """How many, or the fewest and the most."""
    micro_batch: int
    """Sequences that one worker takes at once, at most."""
    gpu: bool = False
    """One for each worker; they may still have to be started. Otherwise a core for each."""
    speed: Speed = Speed()
    checkpoint_steps: int = 1000
    checkpoints: int = 2
    """How many are kept."""
    log_steps: int = 1
    """Most steps between two looks at the loss, and at notices that it will end; each look waits for the device."""
    hook: str = ""
    """`module:function` that gets each row of the metrics; those after the last checkpoint again after a kill."""

    code: ClassVar[int] = 2
    needs: ClassVar[Needs] = Needs(cpus=0)
    apart: ClassVar[tuple[str, ...]] = (f"{CHECKPOINT}/",)
    unidentified: ClassVar[frozenset[str]] = frozenset(
        {
            "label",
            "workers",
            "micro_batch",
            "gpu",
            "speed",
            "checkpoint_steps",
            "checkpoints",
            "log_steps",
            "hook",
        }
    )

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit together."""
        for name in ("batch_sequences", "micro_batch", "checkpoint_steps", "checkpoints", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")
        fewest, most = self.crew
        if not 1 <= fewest <= most <= self.batch_sequences:
            raise ValueError(
                f"{self!r}: given workers={self.workers}, expected 1 to batch_sequences={self.batch_sequences}, and "
                "the fewest first: every worker takes part in every batch"
            )
        if self.hook:
            hook_parts(self.hook)
        self._check_training()
        check_words(self, self.tokenizer, self.sources, self.shape.vocabulary)
        check_recipe(self, self.certificate, self.evaluated, self.sources)
        self._check_beginning()

    @property
    def crew(self) -> tuple[int, int]:
        """Fewest and most workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers

    def required_packages(self) -> tuple[str, ...]:
        """DeepSpeed only where it is to divide the states."""
        base = ("ray", "torch", "safetensors", "tensorboard")
        return (*base, "deepspeed") if self.speed.zero_stage else base

    def _check_training(self) -> None:
        training, shape = self.training, self.shape
        if training.precision not in PRECISIONS:
            raise ValueError(f"{self!r}: given precision={training.precision!r}, expected one of {PRECISIONS}")
        if training.batch_tokens != self.batch_sequences * training.sequence_tokens:
            raise ValueError(
                f"{self!r}: given training.batch_tokens={training.batch_tokens} and "
                f"batch_sequences={self.batch_sequences}, expected as many tokens in sequences of "
                f"training.sequence_tokens={training.sequence_tokens}; give the batch of one step in both"
            )
        if not training.float8:
            return
        if shape.parameters < FLOAT8_PARAMETERS or not self.gpu:
            raise ValueError(
                f"{self!r}: given float8 for {shape.parameters:,} parameters, gpu={self.gpu}; expected "
                f"{FLOAT8_PARAMETERS:,} or more, on GPUs: below that it is slower; leave float8 out"
            )
        odd = {name: size for name in ("hidden", "mlp_hidden") if (size := getattr(shape, name)) % FLOAT8_MULTIPLE}
        kv_hidden = shape.kv_heads * shape.head_dim
        if kv_hidden % FLOAT8_MULTIPLE:
            odd["kv_heads * head_dim"] = kv_hidden
        if odd:
            raise ValueError(f"{self!r}: given float8 and {odd}, expected multiples of {FLOAT8_MULTIPLE}")

    def _check_beginning(self) -> None:
        if self.before is not None and self.start is not None:
            raise ValueError(
                f"{self!r}: given before={self.before!r} and start={self.start!r}, expected one of them: weights come "
                "from one place"
            )
        if isinstance(self.before, Pretrain):
            self._check_before(self.before)
        if self.before is not None:
            check_stages(self, self.evaluated, (self.before,), self.before)
        if self.start is not None:
            check_stages(self, self.evaluated, trainings(self.start), self.start)

    def _check_before(self, before: Pretrain) -> None:
        pairs = {
            "shape": (self.shape, before.shape),
            "training.betas": (self.training.betas, before.training.betas),
        }
        for name, (mine, its) in pairs.items():
            if mine != its:
                raise ValueError(
                    f"{self!r}: given {name}={mine}, but {before!r} has {its}; "
                    "give both the same: its weights and moments are taken up as they are"
                )
        check_same_words(self, self.tokenizer, before, before.tokenizer)

    def make(self, desk: Desk) -> dict[str, int]:
        """Train, or take up a training that was stopped, and collect what it left."""
        self._check_certificate(desk)
        check_tokenizer(self.tokenizer, self.shape.vocabulary, desk)
        if self.start is not None:
            check_start(self, self.start, self.shape, desk)
        from hare_ray.train.on_ray_train import fit

        plan = self.plan(desk)
        root = Root(desk.lasting.rstrip("/"))
        since = max(map(step_of, Checkpoints(plan.lasting, plan.fingerprint).committed()), default=0)
        began = time.perf_counter()
        if not finished(root, plan):
            fit(plan)
            refuse_divergence(root, repr(self))
        took = time.perf_counter() - began
        result = json.loads(root.read(RESULT))
        for name in (METRICS, TENSORBOARD):
            take(desk.lasting, name, desk.folder / name)
        take(desk.lasting, result["checkpoint"], desk.folder / CHECKPOINT)
        Stored.opened(str(desk.folder / CHECKPOINT)).weights(desk.folder / WEIGHTS)
        (desk.folder / SHAPE).write_text(json.dumps(asdict(self.shape), indent=1) + "\n")
        mixture = json.loads((desk.files(self.mixture) / MIXTURE).read_text(encoding="utf-8"))
        summary = self.summary(plan, result, rows(desk.folder / METRICS), took, since)
        summary["sources"] = read_of_sources(mixture, result["source_tokens"])
        (desk.folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
        return {name: summary[name] for name in ("tokens", "real_tokens", "targets", "sequences", "steps")}

    def plan(self, desk: Desk) -> Plan:
        """What the workers are told."""
        mixture = json.loads((desk.files(self.mixture) / MIXTURE).read_text(encoding="utf-8"))
        tokens = mixture["sequence_tokens"]
        if tokens != self.training.sequence_tokens:
            raise ValueError(
                f"{self!r}: given training.sequence_tokens={self.training.sequence_tokens}, but the mixture has "
                f"sequences of {tokens}; give both the same"
            )
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
        check_warmup(self, self.schedule, mixture["sequences"] * tokens)
        return Plan(
            fingerprint=self.fingerprint,
            tables=tuple(
                PackedTable(desk.folder_url(source), tuple(part))
                for source, part in zip(self.sources, parts, strict=True)
            ),
            order=Order.of_mixture(mixture, self.seed),
            sequence_tokens=tokens,
            token_bytes=token_bytes(self.sources, tokens),
            shape=self.shape,
            initial=self.initial,
            training=self.training,
            schedule=self.schedule,
            seed=self.seed,
            batch_sequences=self.batch_sequences,
            micro_batch=self.micro_batch,
            workers=self.crew,
            start=None if self.start is None else desk.folder_url(self.start),
            before=None if self.before is None else f"{desk.folder_url(self.before)}/{CHECKPOINT}",
            lasting=desk.lasting,
            checkpoint_steps=self.checkpoint_steps,
            checkpoints=self.checkpoints,
            log_steps=self.log_steps,
            hook=self.hook,
            gpu=self.gpu,
            speed=self.speed,
        )

    def _check_certificate(self, desk: Desk) -> None:
        if self.certificate is not None:
            told = json.loads(desk.read_file(self.certificate, CERTIFICATE))
            check_certificate(self, told, self.evaluated, self.sources)

    def summary(
        self, plan: Plan, result: dict[str, Any], metrics: list[dict[str, Any]], took: float, since: int
    ) -> dict[str, Any]:
        """What summary.json says, of a run whose last driver took so many seconds for the steps after `since`."""
        # A step that was left out because its loss was no number has none; a run of such steps alone does not end here.
        losses = [row["loss"] for row in metrics if row["loss"] is not None]
        return {
            "stage": self.name,
            "parameters": self.shape.parameters,
            "steps": plan.steps,
            "tokens": plan.steps * plan.step_tokens,
            "real_tokens": result["real_tokens"],
            "targets": result["targets"],
            "sequences": plan.steps * plan.batch_sequences,
            "first_loss": losses[0],
            "final_loss": losses[-1],
            "spikes": result["spikes"],
            "tokens_per_second": middle(metrics, "tokens_per_second"),
            "mfu": middle(metrics, "mfu"),
            "mfu_true": middle(metrics, "mfu_true"),
            "workers": result["workers"],
            "groups": [{"first_step": first, "workers": count} for first, count in result["groups"]],
            "restarts": result["restarts"],
            "seconds": sum(row["seconds"] for row in metrics),
            "overhead_seconds": max(0.0, took - sum(row["seconds"] for row in metrics if row["step"] > since)),
            "checkpoint_seconds": result["waited_seconds"],
            "peak_mib": result["peak_mib"],
            "device_peak_mib": result["device_peak_mib"],
            "device": result["device"],
            "attention": result["attention"],
        }


def middle(metrics: list[dict[str, Any]], name: str) -> float | None:
    """Median of a column of the metrics; None where it is not known."""
    values = [row[name] for row in metrics if row.get(name) is not None]
    return statistics.median(values) if values else None


def read_of_sources(mixture: dict[str, Any], tokens: list[int]) -> list[dict[str, Any]]:
    """What was read of every source: real tokens, and how often all of it."""
    return [
        {
            "name": source["name"],
            "tokens": count,
            "sequences": source["actual"],
            "epochs": source["epochs"],
        }
        for source, count in zip(mixture["sources"], tokens, strict=True)
    ]


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
