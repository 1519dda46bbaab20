"""What is asked of a model, as task configurations of lm-eval.

    hare_bits_per_byte   texts          loglikelihood_rolling   bits_per_byte, byte_perplexity
    hare_cloze           questions      multiple_choice         acc, acc_norm
    Benchmark            JSONL files    multiple_choice         acc, acc_norm
    Task                 lm-eval's own names, for machines with a network or a filled cache

The cloze: every choice is put into the blank, and the model says how likely the whole text is. One of the choices
is the word that stood there and the others were drawn for their frequency, not by a model, so the likelihood of
the whole text ranks them as the posterior over "which one stood there" does. Scoring only what follows the blank
(as lm-eval does for WinoGrande) divides by p(choice | before) and asks for nothing where the blank comes last;
scoring only the choice ignores what follows; and a small model has never seen "____".
acc_norm divides by characters, the usual hedge against choices of different lengths; acc is the measure here.

Documents are handed over in memory: no cache, no hub, nothing under a home directory.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXTS, CLOZE = "bits_per_byte.jsonl", "cloze.jsonl"
BITS_PER_BYTE, CLOZE_TASK = "hare_bits_per_byte", "hare_cloze"
BLANK = "____"

SPLIT = "test"
CHOICE_METRICS = ("acc", "acc_norm")

Record = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """Multiple-choice items in a JSONL file (.gz or not); the templates are Jinja over an item, or a field's name."""

    name: str
    file: str
    """Name in the folder of `Evaluate.benchmark_files`."""
    context: str
    """What precedes a choice; empty: choices are whole texts, as in pairs of sentences."""
    choices: str
    """Gives a list of texts."""
    answer: str
    """Gives the index of the right one."""


@dataclass(frozen=True)
class Task:
    """A task or group by lm-eval's name."""

    name: str
    shots: int


LEADERBOARD = (
    Task("mmlu", 5),
    Task("arc_challenge", 25),
    Task("truthfulqa_mc2", 0),
    Task("winogrande", 5),
    Task("hellaswag", 10),
    Task("gsm8k", 5),
)
"""The six of Open LLM Leaderboard v1 with its shots (HARE paper, table 1)."""


def records(path: Path) -> list[Record]:
    """The objects of a JSONL file, gzipped or not."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().split("\n") if line.strip()]


def texts_of(path: Path, max_items: int | None) -> list[Record]:
    """Items of bits per byte that hold any text."""
    found = [{"id": item["id"], "text": item["text"]} for item in records(path)[:max_items]]
    return [item for item in found if item["text"]]


def cloze_of(path: Path, max_items: int | None) -> list[Record]:
    """Cloze items: id, the filled texts, the index of the right one."""
    return [
        {"id": item["id"], "texts": filled(item["question"], item["choices"], path), "answer": item["answer"]}
        for item in records(path)[:max_items]
    ]


def filled(question: str, choices: Sequence[str], path: Path) -> list[str]:
    """The question with each choice in its blank."""
    if BLANK not in question:
        raise ValueError(f"{path.name}: given the question {question!r:.80}, expected one with a blank {BLANK!r}")
    return [question.replace(BLANK, choice, 1) for choice in choices]


def bits_per_byte_task(items: list[Record]) -> Record:
    """All of every text, in windows where it is longer than the context."""
    return {
        "task": BITS_PER_BYTE,
        **_dataset(items),
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": _field("text"),
        "metric_list": _metrics(("bits_per_byte", "byte_perplexity"), None, higher=False),
    }


def cloze_task(items: list[Record]) -> Record:
    """Whole texts after an empty context, so after the token that begins a document."""
    return _choice_task(CLOZE_TASK, items, context="", choices=_field("texts"), answer=_field("answer"))


def benchmark_task(benchmark: Benchmark, items: list[Record]) -> Record:
    """A benchmark as its templates say."""
    return _choice_task(
        benchmark.name, items, context=benchmark.context, choices=benchmark.choices, answer=benchmark.answer
    )


Reader = str | Callable[[Record], Any]


def _choice_task(name: str, items: list[Record], *, context: str, choices: Reader, answer: Reader) -> Record:
    return {
        "task": name,
        **_dataset(items),
        "output_type": "multiple_choice",
        "doc_to_text": context,
        "doc_to_choice": choices,
        "doc_to_target": answer,
        "target_delimiter": " " if context else "",
        "metric_list": _metrics(CHOICE_METRICS, "mean", higher=True),
    }


def _dataset(items: list[Record]) -> Record:
    def load(**_: object) -> Record:
        from datasets import Dataset

        return {SPLIT: Dataset.from_list(items)}

    return {"custom_dataset": load, "test_split": SPLIT}


def _field(name: str) -> Callable[[Record], Any]:
    def read(item: Record) -> Any:
        return item[name]

    return read


def _metrics(names: Sequence[str], aggregation: str | None, *, higher: bool) -> list[Record]:
    own = {"bits_per_byte": "bits_per_byte", "byte_perplexity": "weighted_perplexity"}
    return [{"metric": name, "aggregation": aggregation or own[name], "higher_is_better": higher} for name in names]
