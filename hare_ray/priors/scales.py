"""What grows with the corpus: models, training, tokens and workers of the four scales of jobs/hare.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hare_ray.model.presets import PRESETS
from hare_ray.model.shape import Shape
from hare_ray.priors.paper import Paper, Training


@dataclass(frozen=True)
class Scale:
    """What grows with the corpus."""

    demo_pages: int | None  # of the crawl that is made here; None: the crawl is yours (--source)
    demo_files: int
    part_mib: int
    evaluation_documents: int
    paper: Paper  # model, training and tokens of both stages
    workers: int  # of training; one GPU each where there are GPUs
    micro_batch: int  # sequences a worker takes through the model at a time
    checkpoint_steps: int
    prompts: tuple[int, int]  # for D2 and for D3, at most
    gpus: int  # of one replica of a served LLM; training takes one a worker. 0: no GPUs at all
    public_benchmarks: bool  # whether lm-eval's tasks of the Open LLM Leaderboard judge, which are on the hub
    writers: tuple[str, str]  # of D2 and D3 unless --llm names one; empty: the stage-1 model itself
    static_embedding: bool  # word vectors learned from the embedding model, in its place: hundreds of times as fast
    rated_share: float  # of the documents that an LLM labels for the quality committee


TRAINING = Training(
    sequence_tokens=2048, batch_tokens=2_097_152, learning_rate=3e-4, warmup_steps=2000, decay_share=0.1,
    betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.1, gradient_clip=1.0, precision="bfloat16",
)  # fmt: skip
TINY = replace(TRAINING, sequence_tokens=512, batch_tokens=2048, learning_rate=3e-3, warmup_steps=10)
SHORT = replace(TINY, warmup_steps=2)  # smoke has seven steps
HARE_1B, HARE_250M, DEMO_3M = (PRESETS[name] for name in ("1b", "250m", "tiny"))
SMOKE_1M = Shape(layers=2, hidden=128, heads=4, kv_heads=2, mlp_hidden=352, vocabulary=1024, tied=True)
WRITERS = ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Qwen/Qwen1.5-32B-Chat")  # the paper's (A.2, A.3)

PAPER_1B = Paper("HARE 1.1 B", HARE_1B, TRAINING, 52e9, 548e9)
PAPER_250M = Paper("HARE ablation, 0.25 B", HARE_250M, TRAINING, 52e9, 448e9)
SCALES = {
    "smoke": Scale(
        60, 2, 1, 50, Paper("smoke", SMOKE_1M, SHORT, 16e3, 8e3), 2, 2, 10, (8, 4), 0, False, ("", ""),
        static_embedding=True, rated_share=0.5,
    ),
    "demo": Scale(
        3000, 10, 1, 200, Paper("demo", DEMO_3M, TINY, 150e3, 75e3), 2, 2, 20, (100, 50), 0, False, ("", ""),
        static_embedding=False, rated_share=0.1,
    ),
    "250m": Scale(
        None, 0, 96, 20_000, PAPER_250M, 8, 16, 1000, (28_000_000, 16_000_000), 4, True, WRITERS,
        static_embedding=False, rated_share=0.001,
    ),
    "1b": Scale(
        None, 0, 96, 20_000, PAPER_1B, 16, 8, 1000, (28_000_000, 16_000_000), 4, True, WRITERS,
        static_embedding=False, rated_share=0.001,
    ),
}  # fmt: skip


def scale_of(name: str | None) -> Scale:
    """The scale called `name`; demo where none is named."""
    if (name or "demo") not in SCALES:
        raise ValueError(f"there is no scale {name!r}; expected one of {', '.join(SCALES)}")
    return SCALES[name or "demo"]
