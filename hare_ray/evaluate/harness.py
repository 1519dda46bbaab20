"""Evaluate: exported models judged on the same items by lm-eval, each in a worker of its own.

    models (Hugging Face folders), items (bits_per_byte.jsonl, cloze.jsonl), optional benchmarks
    ->  results.json    {"models": {name: {task: {metric, metric_stderr, items}}}, "chance": ..., "versions": ...,
                         "certificates": {name: stage, or null where nobody searched its corpus for what is asked}}
        results.md      the same as a table
        samples.jsonl   {"model", "task", "id", log-likelihoods, "correct"}: for paired tests

lm-eval does the scoring, so the numbers compare with everyone's; that it does it right on our tasks is tested
against log-likelihoods computed directly. What is set here, and why:

    float32     judging is short, and bfloat16 moves near-ties
    context     the same window for all models: bits per byte fall as windows grow. Longer texts are scored in
                windows that follow each other, each token once (lm-eval's rolling log-likelihood)
    <s>         before every text and prompt exactly once, whatever the tokenizer does (see language_model)
    CPU         one thread a model: last bits depend on the number of threads, and models run beside each other.
                Where this process sees a GPU (`Needs(gpus=1)` reserves one), models run there, one after the other
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hare_ray.evaluate.checked import certificate_of, check_told
from hare_ray.evaluate.results import Judged, judged, table
from hare_ray.evaluate.tasks import (
    CLOZE,
    TEXTS,
    Benchmark,
    Record,
    Task,
    benchmark_task,
    bits_per_byte_task,
    cloze_of,
    cloze_task,
    records,
    texts_of,
)
from hare_ray.priors.benchmarks import named
from hare_ray.stage import Make, Stage

if TYPE_CHECKING:
    from hare_ray.evaluate.language_model import LanguageModel
    from hare_ray.gather import Desk

BOOTSTRAPS = 100
"""For those few of lm-eval's metrics whose standard error has no closed form."""

RECORDED = ("datasets", "lm_eval", "tokenizers", "torch", "transformers")

log = logging.getLogger(__name__)


class Evaluate(Make):
    """Scores of models on held-out items and benchmarks."""

    models: tuple[Stage, ...]
    """Makes or Sources whose folders transformers loads: config.json, weights, tokenizer."""
    names: tuple[str, ...]
    """What the models are called in the results, in the same order."""
    items: Stage
    """Holds bits_per_byte.jsonl and cloze.jsonl; either may be empty."""
    context_tokens: int
    """Window of every model, at most what each was trained with."""
    max_items: int | None
    """Of each task, the first; None: all."""
    seed: int
    """Of lm-eval's few-shot examples."""
    benchmarks: tuple[Benchmark, ...] = ()
    benchmark_files: Stage | None = None
    """A Source or Make with the files that the benchmarks name."""
    tasks: tuple[Task, ...] = ()
    """lm-eval's own tasks; these load from the Hugging Face hub or its cache (HF_HOME)."""

    imports: ClassVar[tuple[str, ...]] = ("datasets", "lm_eval", "torch", "transformers")

    def __post_init__(self) -> None:
        """Refuse models without names of their own, and benchmarks without files."""
        if len(self.names) != len(self.models) or len(set(self.names)) != len(self.names) or not self.models:
            raise ValueError(
                f"{self!r}: given {len(self.models)} models and the names {self.names}, "
                "expected one or more models and as many different names"
            )
        if self.benchmarks and self.benchmark_files is None:
            raise ValueError(f"{self!r}: given benchmarks and no benchmark_files, expected a Source with their files")
        if self.context_tokens < 2:
            raise ValueError(f"{self!r}: given context_tokens={self.context_tokens}, expected at least 2")
        check_told(self, self.models, self.asked())

    def asked(self) -> tuple[str, ...]:
        """What models are judged by, as a training is told of it."""
        own = tuple(named(name)[0] for name in (TEXTS, CLOZE))
        files = tuple("/".join(named(benchmark.file)) for benchmark in self.benchmarks)
        return (*own, *files, *(task.name for task in self.tasks))

    def make(self, desk: Desk) -> dict[str, int]:
        """Judge every model, then write the three files; returns models, and items judged over all of them."""
        device = _device()
        one = partial(_judge, desk, self, device)
        found = [one(model) for model in self.models] if device == "cuda" else desk.map(one, self.models)
        results = {
            "models": {name: model.scores for name, model in zip(self.names, found, strict=True)},
            "chance": {task: chance for model in found for task, chance in model.chance.items()},
            "certificates": {name: certificate_of(model) for name, model in zip(self.names, self.models, strict=True)},
            "versions": {name: importlib.metadata.version(name) for name in RECORDED} | {"device": device},
        }
        samples = [
            {"model": name, **sample} for name, model in zip(self.names, found, strict=True) for sample in model.samples
        ]
        lines = [json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples]
        text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
        (desk.folder / "results.json").write_text(text, encoding="utf-8")
        (desk.folder / "results.md").write_text(table(results), encoding="utf-8")
        (desk.folder / "samples.jsonl").write_text("".join(lines), encoding="utf-8")
        return {"models": len(found), "samples": len(samples)}


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _judge(desk: Desk, stage: Evaluate, device: str, model: Stage) -> Judged:
    """One model, in the worker that this is called in."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("DISABLE_MULTIPROC", "1")  # a pool of processes for a few bootstrap samples
    if not stage.tasks:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from hare_ray.evaluate.language_model import LanguageModel

    loaded = LanguageModel(desk.files(model), device, stage.context_tokens)
    asked = [*_held_out(loaded, desk.files(stage.items), stage.max_items), *_benchmarks(desk, stage), *stage.tasks]
    parts = [_ask(loaded, task, stage.seed, stage.max_items) for task in asked]
    return Judged(
        scores={task: scores for part in parts for task, scores in part.scores.items()},
        chance={task: chance for part in parts for task, chance in part.chance.items()},
        samples=[sample for part in parts for sample in part.samples],
    )


def _held_out(model: LanguageModel, folder: Path, max_items: int | None) -> list[Record]:
    """The two tasks of our own that have items."""
    texts = texts_of(folder / TEXTS, max_items)
    cloze = cloze_of(folder / CLOZE, max_items)
    fitting = [item for item in cloze if model.fits(item["texts"])]
    if len(fitting) < len(cloze):
        log.warning(
            "%d of %d cloze questions exceed the context and are left out", len(cloze) - len(fitting), len(cloze)
        )
    for name, found in ((TEXTS, texts), (CLOZE, fitting)):
        if not found:
            log.warning("%s holds nothing to ask; its task is skipped", name)
    return [*([bits_per_byte_task(texts)] if texts else []), *([cloze_task(fitting)] if fitting else [])]


def _benchmarks(desk: Desk, stage: Evaluate) -> list[Record]:
    if stage.benchmark_files is None:
        return []
    folder = desk.files(stage.benchmark_files)
    return [benchmark_task(benchmark, records(folder / benchmark.file)) for benchmark in stage.benchmarks]


def _ask(model: LanguageModel, task: Record | Task, seed: int, limit: int | None) -> Judged:
    """The model's scores on a task, given as a configuration or by lm-eval's name."""
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    named = isinstance(task, Task)
    loaded = TaskManager(include_defaults=named).load(task.name if named else task)
    for part in loaded["tasks"].values():
        part.set_config("num_fewshot", task.shots if named else 0)
        part.set_fewshot_seed(seed)
    with torch.inference_mode():
        raw = evaluate(model, loaded, limit=limit, bootstrap_iters=BOOTSTRAPS)
    assert raw is not None  # only workers of a distributed evaluation get nothing
    return judged(raw, task.name if named else task["task"])
