"""One side of the training benchmarks, in a process of its own.

    python -m tests.bench.train_arms SIDE FOLDER WORK.json OUT

SIDE: `ours` (hare_ray.train.alone), `hf-trainer` (the pieces one by one, padded to the longest of a batch, batches of
pieces of similar length), `hf-packed` (our packed rows as they are, attention over whole rows, padding left out of the
loss). Both of Hugging Face are `Trainer` with MistralForCausalLM: bf16 autocast, fused AdamW, the same schedule.
OUT: a folder; result.json tells when each step ended and its useful tokens; `model/` holds what was trained.
"""

import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hare_ray.model.presets import PRESETS
from hare_ray.priors.paper import Training
from hare_ray.train.order import Order
from hare_ray.train.schedule import Schedule
from hare_ray.train.sequences import PackedTable
from hare_ray.train.settings import Plan, Speed

RESULT = "result.json"


@dataclass(frozen=True)
class Work:
    """The same for all sides."""

    preset: str
    tokens: int
    """Of a row."""
    rows: int
    """There are."""
    batch_rows: int
    """Of an optimizer step."""
    micro_rows: int
    steps: int
    precision: str
    learning_rate: float
    warmup: float
    """Share of the steps."""
    decay: float
    seed: int
    compile: bool
    threads: int

    def training(self) -> Training:
        """As ours wants it."""
        return Training(
            sequence_tokens=self.tokens, batch_tokens=self.batch_rows * self.tokens, learning_rate=self.learning_rate,
            warmup_steps=0, decay_share=self.decay, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.1,
            gradient_clip=1.0, precision=self.precision,
        )  # fmt: skip


def plan(work: Work, folder: Path, out: Path) -> Plan:
    """Of a run without Ray."""
    from hare_ray.model.initial import Initial

    total = work.steps * work.batch_rows
    return Plan(
        fingerprint="0" * 64, tables=(PackedTable(str(folder / "packed"), (work.rows,)),),
        order=Order((total,), (work.rows,), work.seed), sequence_tokens=work.tokens, token_bytes=2,
        shape=PRESETS[work.preset], initial=Initial(), training=work.training(),
        schedule=Schedule(int(work.warmup * total * work.tokens), work.decay), seed=work.seed,
        batch_sequences=work.batch_rows, micro_batch=work.micro_rows, workers=(1, 1), start=None, before=None,
        lasting=str(out / "lasting"), checkpoint_steps=1 << 30, checkpoints=1, log_steps=1, hook="", gpu=False,
        speed=Speed(compile=work.compile),
    )  # fmt: skip


def ours(work: Work, folder: Path, out: Path) -> list[tuple[float, int]]:
    """Seconds and useful tokens of every step."""
    import torch

    from hare_ray.train.alone import run

    run(plan(work, folder, out), torch.device("cpu"))
    rows = [json.loads(line) for line in (out / "lasting/metrics.jsonl").read_text().splitlines()]
    real = np.diff([0, *(row["real_tokens"] for row in rows)])
    return [(row["seconds"], int(tokens)) for row, tokens in zip(rows, real, strict=True)]


class Pieces:
    """A data set of Hugging Face's kind: pieces, or rows of them."""

    def __init__(self, ids: list[np.ndarray]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"input_ids": self.ids[number].astype(np.int64)}


def rows_of(folder: Path, work: Work) -> list[np.ndarray]:
    """Packed rows, their padding as -1."""
    from hare_ray.train.sequences import Sequences

    read = Sequences((PackedTable(str(folder / "packed"), (work.rows,)),), work.tokens, 2)
    batch = read.read(np.zeros(work.rows, np.int64), np.arange(work.rows))
    return list(np.where(batch.segments >= 0, batch.tokens, -1))


def pieces_of(folder: Path) -> list[np.ndarray]:
    """Every piece."""
    return np.split(np.load(folder / "pieces.npy"), np.load(folder / "edges.npy")[1:-1])


def mistral(work: Work) -> Any:
    """The same shape, drawn by transformers."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    shape = PRESETS[work.preset]
    torch.manual_seed(work.seed)
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.mlp_hidden,
            num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_dim, max_position_embeddings=work.tokens, rms_norm_eps=shape.norm_epsilon,
            sliding_window=None, tie_word_embeddings=shape.tied, bos_token_id=1, eos_token_id=2, pad_token_id=3,
        )
    )  # fmt: skip


def hugging_face(work: Work, folder: Path, out: Path, packed: bool) -> list[tuple[float, int]]:
    """Seconds and useful tokens of every step."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    ids = rows_of(folder, work) if packed else pieces_of(folder)
    mean = sum(int((each >= 0).sum()) for each in ids) / len(ids)
    at_once = max(1, round(work.micro_rows * work.tokens / mean)) if not packed else work.micro_rows
    useful: list[int] = []
    marks: list[float] = []

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(one["input_ids"]) for one in batch)
        tokens = np.full((len(batch), longest), -1, np.int64)
        for row, one in enumerate(batch):
            tokens[row, : len(one["input_ids"])] = one["input_ids"]
        there = tokens >= 0
        useful.append(int(there.sum()))
        made = {"input_ids": np.where(there, tokens, 3), "labels": np.where(there, tokens, -100)}
        return {
            name: torch.from_numpy(each) for name, each in {**made, "attention_mask": there.astype(np.int64)}.items()
        }

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())
            steps.append(sum(useful))
            useful.clear()

    steps: list[int] = []
    arguments = TrainingArguments(
        output_dir=str(out / "trainer"), per_device_train_batch_size=at_once,
        gradient_accumulation_steps=work.batch_rows // work.micro_rows, max_steps=work.steps, use_cpu=True,
        bf16=work.precision == "bfloat16", learning_rate=work.learning_rate, weight_decay=0.1, adam_beta2=0.95,
        max_grad_norm=1.0, lr_scheduler_type="warmup_stable_decay", warmup_steps=round(work.warmup * work.steps),
        lr_scheduler_kwargs={"num_decay_steps": round(work.decay * work.steps), "decay_type": "linear"},
        train_sampling_strategy="random" if packed else "group_by_length", optim="adamw_torch_fused", seed=work.seed,
        save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    model = mistral(work)
    data: Any = Pieces(ids)
    Trainer(model=model, args=arguments, train_dataset=data, data_collator=collate, callbacks=[Clock()]).train()
    model.save_pretrained(out / "model")
    return list(zip(np.diff(marks).tolist(), steps, strict=True))


def main() -> int:
    """Run a side."""
    side, folder, work, out = sys.argv[1], Path(sys.argv[2]), Work(**json.loads(sys.argv[3])), Path(sys.argv[4])
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(work.threads)
    out.mkdir(parents=True, exist_ok=True)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    took = ours(work, folder, out) if side == "ours" else hugging_face(work, folder, out, side == "hf-packed")
    told = {"steps": took, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, "before_mib": base}
    (out / RESULT).write_text(json.dumps({**told, "work": asdict(work)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
