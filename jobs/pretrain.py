"""Pre-training alone: your text or tokens in, a model in the format of Hugging Face out. Every number is in this file.

    python jobs/pretrain.py --scale tiny --source 'texts/*.jsonl.gz' --root runs/mine     on CPUs
    python jobs/pretrain.py --scale 250m --source s3://bucket/texts --root s3://bucket/run
    python jobs/pretrain.py --scale 1b --source texts --plan                              nothing runs
    ray job submit --working-dir . -- python jobs/pretrain.py --scale 1b --root s3://bucket/run --source ...

Text is JSONL, Parquet or Arrow rows with a column `text`, or files of text, HTML or WARC; --sample 0.01 reads a
hundredth of it. For tokens say below what they are. Nothing is cleaned or searched for benchmarks here: jobs/hare.py
does that, and only a model of its kind may be judged by them. Killed, the same command goes on.
"""

import json
import sys
from dataclasses import dataclass

from rich.table import Table as Grid

from hare_ray import cli
from hare_ray.corpus.extract import Extract
from hare_ray.corpus.read import Read
from hare_ray.model.config import CONFIG, shape_of
from hare_ray.model.export_stage import Export
from hare_ray.model.inherit_stage import Inherit
from hare_ray.model.presets import PRESETS
from hare_ray.model.shape import Shape
from hare_ray.priors.paper import Training
from hare_ray.stage import Keep, Source, Stage, Table
from hare_ray.store import filesystem
from hare_ray.tokens import GivenTokenizer, Mixture, Pack, Tokenised, Tokenizer
from hare_ray.train.forgetting import Forgetting
from hare_ray.train.pretrain import Pretrain
from hare_ray.train.resampled import Resampled
from hare_ray.train.round_summary import RoundSummary
from hare_ray.train.schedule import Schedule
from hare_ray.train.sequence_losses import SequenceLosses
from hare_ray.train.settings import Speed

MIB = 1 << 20


@dataclass(frozen=True)
class TokenFiles:
    """What is in files of tokens: .bin, .npy, .ds, or Parquet and Arrow rows of `input_ids`."""

    stored_token_bytes: int  # 2 or 4, in flat files that do not say
    end_token: int  # closes a document
    pad_token: int


@dataclass(frozen=True)
class Size:
    """What goes with a preset."""

    sequence_tokens: int
    batch_sequences: int
    learning_rate: float
    warmup_tokens: int
    tokens: int  # of the first round; fewer where EPOCHS of your text are less
    schedule: str  # "wsd": constant, falling over the last DECAY; "cosine"
    floor: float  # share of the rate that is left at the end
    workers: int
    gpu: bool  # one a worker
    micro_batch: int  # sequences that a worker takes at once
    zero_stage: int = 0  # 1: DeepSpeed divides what AdamW keeps, 12 bytes a parameter, over the workers


TOKENIZER = ""
"""Folder with the tokenizer.json, or SentencePiece .model, of your model. Empty: START's or INHERIT's, or one is learnt
from the text."""
TOKEN_FILES: TokenFiles | None = None
"""None: --source is text. Otherwise it is tokens of TOKENIZER, such as TokenFiles(2, end_token=2, pad_token=2)."""
START = ""
"""Folder of a Mistral or Llama in the format of Hugging Face whose weights come first. Empty: they are drawn."""
INHERIT = ""
"""Folder of a larger one, of the same vocabulary and with heads as wide, that the first weights are cut out of (arXiv
2402.02791, table 5: + 5.8 points after 50 B tokens). Empty: they are not."""
SHAPE: Shape | None = None
"""None: the preset's; another one for a START or INHERIT that it does not fit."""

ROUNDS = 1
"""2: when all is read, SHARE of the sequences are read again, rather those that were badly learnt (arXiv 2402.02791,
section 4.2: + 2.9 points on average for half as much compute again; a third round brings none). Text beyond the tokens
of the first round is scored and drawn from as well, though unread: give --sample where there is more."""
SHARE, TEMPERATURE = 0.5, 1.0

EPOCHS = 4.0
"""Up to four, text that is read again is nearly as good as new (arXiv 2305.16264)."""
DECAY = 0.1
"""Of "wsd"; between the 10 and 20 % of SmolLM2 (arXiv 2502.02737)."""


# Tokens: 20 for each parameter (Chinchilla, arXiv 2203.15556), or the papers'. Up to 250m rate and batch are by the
# ladder rule of OLMo-core, 0.0047 / 2 * (N / 108 M)^(-1/3) and 2048 * 160 * (N / 108 M)^(2/3) tokens for N parameters
# beside the embeddings, and so is the warm-up, a token for each. tiny is for trying: smaller steps, and few of them.
SIZES = {
    "tiny": Size(512, 16, 3e-3, 400_000, 12_000_000, "wsd", 0.0, workers=2, gpu=False, micro_batch=4),
    "60m": Size(
        2048, 96, 3e-3, 60_000_000, 1_200_000_000, "wsd", 0.0, workers=1, gpu=True, micro_batch=32
    ),
    "250m": Size(
        2048, 224, 2e-3, 250_000_000, 5_000_000_000, "wsd", 0.0, workers=8, gpu=True, micro_batch=16
    ),
    # HARE (arXiv 2406.11410, section 3), whose paper names neither warm-up nor shape: 2000 steps as TinyLlama.
    "1b": Size(
        2048, 1024, 3e-4, 2000 << 21, 52_000_000_000, "wsd", 0.0, workers=16, gpu=True, micro_batch=8, zero_stage=1
    ),
    # PanGu-pi Pro (arXiv 2402.02791, section 5); its code: warm-up of 3 %, down to a tenth of the rate.
    "pangu-1b-pro": Size(
        2048, 1024, 2e-4, 3_000_000_000, 100_000_000_000, "cosine", 0.1, workers=16, gpu=True, micro_batch=8,
        zero_stage=1,
    ),
}  # fmt: skip


def size_of(choice: cli.Choice) -> tuple[Size, Shape]:
    """Numbers and shape of the scale; it must be named."""
    if choice.scale not in SIZES:
        raise ValueError(f"given --scale {choice.scale or '(nothing)'}, expected one of {', '.join(SIZES)}")
    return SIZES[choice.scale], SHAPE or PRESETS[choice.scale]


def recipe(choice: cli.Choice) -> tuple[Stage, ...]:
    """From files to a model; with two rounds beside it what the second one was drawn by."""
    size, shape = size_of(choice)
    check(choice, shape)
    sequences, tokenizer = packed(choice, size, shape)
    first = trained("round_1", sequences, tokenizer, size, shape)
    if ROUNDS == 1:
        return (exported(first, tokenizer, size),)
    losses = SequenceLosses(
        sequences=sequences, trained=first, sequence_tokens=size.sequence_tokens, dtype=first.training.precision,
        batch_rows=size.micro_batch, gpus=size.workers if size.gpu else 0,
    )  # fmt: skip
    draw = Resampled(sequences=sequences, losses=losses, share=SHARE, temperature=TEMPERATURE, seed=1)
    again = Keep(label="resampled_packed", docs=sequences, verdicts=(draw,))
    second = trained("round_2", again, tokenizer, size, shape, first)
    return (
        exported(second, tokenizer, size),
        RoundSummary(draws=(draw,), losses=(losses,), names=("text",)),
        Forgetting(trained=first, losses=(losses,)),
    )


def check(choice: cli.Choice, shape: Shape) -> None:
    """Refuse what could only fail later, or would be ignored."""
    if not choice.source:
        raise ValueError("given no --source, expected your text or tokens: files, a folder, a glob or a URL")
    if choice.llm:
        raise ValueError(f"given --llm {choice.llm}, expected none: no model writes text here; leave it out")
    if ROUNDS not in (1, 2):
        raise ValueError(f"given ROUNDS={ROUNDS}, expected 1 or 2")
    if START and INHERIT:
        raise ValueError(f"given START={START!r} and INHERIT={INHERIT!r}, expected one: weights come from one place")
    if START and (its := shape_in("START", START)) != shape:
        raise ValueError(f"given START={START!r} of {its}, expected {shape}; set SHAPE to what it is")
    if INHERIT:
        parent = shape_in("INHERIT", INHERIT)
        for name in ("vocabulary", "head_dim", "rope_theta"):
            if getattr(parent, name) != getattr(shape, name):
                raise ValueError(
                    f"given INHERIT={INHERIT!r} with {name}={getattr(parent, name)}, expected "
                    f"{getattr(shape, name)}; set SHAPE to a smaller one with the same"
                )


def shape_in(name: str, folder: str) -> Shape:
    """What the config.json of a model's folder tells."""
    system, path = filesystem(f"{folder.rstrip('/')}/{CONFIG}")
    if not system.exists(path):
        raise ValueError(
            f"given {name}={folder!r} without {CONFIG}, expected the folder of a Mistral or Llama in the format of "
            "Hugging Face"
        )
    return shape_of(json.loads(system.cat_file(path)), f"{name}={folder!r}")


def packed(choice: cli.Choice, size: Size, shape: Shape) -> tuple[Table, Stage]:
    """Whole documents in sequences, and the tokenizer that they were encoded with."""
    files = Source(label="files", location=choice.source or "", part_bytes=64 * MIB)
    folder = TOKENIZER or START or INHERIT
    given = None
    if folder:
        theirs = Source(label="tokenizer_files", location=folder)
        given = GivenTokenizer(label="tokenizer", given=theirs, vocabulary=shape.vocabulary)
    token_bytes = 2 if shape.vocabulary <= 1 << 16 else 4
    if TOKEN_FILES is not None:
        if given is None or choice.sample != 1.0:
            raise ValueError(
                f"given TOKEN_FILES with TOKENIZER={folder!r} and --sample {choice.sample:g}, expected the folder of "
                "the tokenizer that made them, and all of them; name it in this file, and leave --sample out"
            )
        return Tokenised(
            label="packed", files=files, vocabulary=shape.vocabulary, sequence_tokens=size.sequence_tokens,
            token_bytes=token_bytes, seed=1, stored_token_bytes=TOKEN_FILES.stored_token_bytes,
            end_token=TOKEN_FILES.end_token, pad_token=TOKEN_FILES.pad_token,
        ), given  # fmt: skip
    records = Read(files=files, sample=choice.sample, max_payload_bytes=64 * MIB)
    texts = Extract(
        docs=records, engine="model", max_payload_bytes=64 * MIB, max_depth=1000, max_broken_share=0.01, min_chars=1
    )
    tokenizer = given or Tokenizer(docs=texts, vocabulary=shape.vocabulary, max_bytes=1 << 30)
    return Pack(
        label="packed", docs=texts, tokenizer=tokenizer, sequence_tokens=size.sequence_tokens,
        token_bytes=token_bytes, seed=1,
    ), tokenizer  # fmt: skip


def trained(
    label: str, sequences: Table, tokenizer: Stage, size: Size, shape: Shape, before: Pretrain | None = None
) -> Pretrain:
    """One round; the second goes on with weights and moments, and with the course of the learning rate."""
    mixture = Mixture(
        label=f"{label}_mixture", sources=(sequences,), names=("text",), weights=(1.0,), max_epochs=EPOCHS,
        tokens=size.tokens if before is None else int(SHARE * size.tokens), sequence_tokens=size.sequence_tokens,
        batch_sequences=size.batch_sequences,
    )  # fmt: skip
    return Pretrain(
        label=label, mixture=mixture, sources=(sequences,), tokenizer=tokenizer, before=before,
        start=first_weights(sequences, size, shape) if before is None else None,
        shape=shape, training=training(size), schedule=schedule(size, before is not None),
        batch_sequences=size.batch_sequences, micro_batch=size.micro_batch, workers=size.workers, gpu=size.gpu,
        speed=Speed(compile=size.gpu, zero_stage=size.zero_stage), log_steps=10 if size.gpu else 1,
        seed=1 if before is None else 2, checkpoint_steps=1000,
    )  # fmt: skip


def first_weights(sequences: Table, size: Size, shape: Shape) -> Stage | None:
    """Given, inherited, or to be drawn."""
    if not INHERIT:
        return Source(label="start", location=START) if START else None
    # Of the ways that need no training the best in the paper; the losses of its layers are looked at on your text.
    return Inherit(
        label="inherited", parent=Source(label="parent", location=INHERIT), shape=shape, layers="skip_loss",
        neurons="taylor", sample=sequences, sequences=64, sequence_tokens=size.sequence_tokens, seed=1,
    )  # fmt: skip


def schedule(size: Size, second: bool) -> Schedule:
    """Of one round: a stretch of the course through all rounds, which falls at its very end."""
    cut = 1.0 / (1.0 + SHARE) if ROUNDS == 2 else 1.0
    decay = 1.0 if size.schedule == "cosine" else DECAY
    part = (cut, 1.0) if second else (0.0, cut)
    return Schedule(size.warmup_tokens, decay, kind=size.schedule, floor=size.floor, part=part)


def training(size: Size) -> Training:
    """AdamW as HARE's released configuration has it; beta2 0.99 for batches under half a million tokens (OLMo-core)."""
    batch_tokens = size.batch_sequences * size.sequence_tokens
    return Training(
        sequence_tokens=size.sequence_tokens, batch_tokens=batch_tokens, learning_rate=size.learning_rate,
        warmup_steps=size.warmup_tokens // batch_tokens, decay_share=DECAY,
        betas=(0.9, 0.95 if batch_tokens >= 1 << 19 else 0.99), epsilon=1e-8, weight_decay=0.1, gradient_clip=1.0,
        precision="bfloat16",
    )  # fmt: skip


def exported(last: Pretrain, tokenizer: Stage, size: Size) -> Export:
    """The model as transformers, vLLM and lm-eval load it."""
    return Export(
        label="model", trained=last, tokenizer=tokenizer, dtype="bfloat16", context_tokens=size.sequence_tokens
    )


def facts(choice: cli.Choice) -> list[Grid]:
    """The numbers of the scale, before the plan."""
    size, shape = size_of(choice)
    batch = size.batch_sequences * size.sequence_tokens
    grid = Grid(title=f"{choice.scale}: training", title_justify="left")
    for name in ("", "value"):
        grid.add_column(name)
    for name, value in (
        ("parameters", f"{shape.parameters / 1e6:,.1f} M"),
        ("tokens", f"{size.tokens / 1e9:g} B, {size.tokens / shape.parameters:.0f} for each parameter, if there are"),
        ("batch", f"{batch:,} tokens, {size.tokens // batch:,} steps"),
        ("learning rate", f"{size.learning_rate:g}, {size.schedule}, warm-up {size.warmup_tokens / batch:,.0f} steps"),
        ("rounds", str(ROUNDS)),
        ("workers", f"{size.workers}, {'a GPU' if size.gpu else 'a core'} each"),
    ):
        grid.add_row(name, value)
    return [grid]


if __name__ == "__main__":
    sys.exit(cli.job(recipe, __doc__, facts))
