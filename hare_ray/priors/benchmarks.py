"""How benchmarks write their items down (benchmarks.yaml), which of them count by default, and what a file is called.

    load_benchmark_forms()  -> all forms, in the order in which they are tried
    load_leaderboard()      -> the six tasks of the Open LLM Leaderboard v1, by lm-eval's names
    named("arc_challenge_test.jsonl.gz")  -> ("arc_challenge", "test")
    covers(("arc_challenge",), "arc_challenge/test")  -> True

A file's name is benchmark and split: `_train`, `_dev`, `_val`, `_valid`, `_validation` or `_test` at the end of the
stem is the split. Where the stem is nothing but a split, as in the Parquet files of the Hugging Face hub
(`gsm8k/main/test-00000-of-00001.parquet`), the folders are the benchmark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from hare_ray.priors.reading import check_different, read

EVERY_SPLIT = "all"
"""The split of items whose benchmark is not divided."""

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
"""Of files with items."""

ANSWERS = ("text", "index", "number", "label", "letter", "marked", "tail", "yes_no")

_SPLIT = re.compile(r"(?:^|_)(train|dev|val|valid|validation|test)$")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True)
class Form:
    """Where question, choices and answer lie in a record; benchmarks.yaml explains the fields."""

    name: str
    fields: tuple[str, ...]
    question: tuple[str, ...]
    choices: tuple[str, ...] = ()
    answer: str = ""
    answer_as: str = "text"
    labels: str = ""
    id: tuple[str, ...] = ("id",)
    remove: str = ""
    context: tuple[str, ...] = ()
    divide: str = ""

    def __post_init__(self) -> None:
        """Refuse an answer that nobody can read, and a division into other parts."""
        if self.answer_as not in ANSWERS:
            raise ValueError(f"form {self.name!r}: given answer_as={self.answer_as!r}, expected one of {ANSWERS}")
        if self.divide and set(re.compile(self.divide).groupindex) != {"context", "question"}:
            raise ValueError(
                f"form {self.name!r}: given divide={self.divide!r}, expected a regular expression with the groups "
                "(?P<context>...) and (?P<question>...)"
            )


@dataclass(frozen=True)
class Known:
    """All of benchmarks.yaml."""

    leaderboard: tuple[str, ...]
    forms: tuple[Form, ...]

    def __post_init__(self) -> None:
        """Refuse names used twice."""
        check_different(self.leaderboard, "leaderboard")
        check_different([form.name for form in self.forms], "forms")


def load_benchmark_forms() -> tuple[Form, ...]:
    """All forms, in the order in which they are tried."""
    return read("benchmarks", Known).forms


def load_leaderboard() -> tuple[str, ...]:
    """The six tasks of the Open LLM Leaderboard v1; TruthfulQA has two measures."""
    return read("benchmarks", Known).leaderboard


def named(file: str, otherwise: str = "") -> tuple[str, str]:
    """Benchmark and split of a file by its name below its folder; `otherwise` where the name is only a split."""
    path = PurePosixPath(file)
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if path.name.endswith(ending)), "")
    stem = _SHARD.sub("", path.name[: len(path.name) - len(ending)])
    found = _SPLIT.search(stem)
    split = found[1] if found else EVERY_SPLIT
    benchmark = stem[: found.start()] if found else stem
    folders = [part for part in path.parent.parts if part != "data"]
    return benchmark or "_".join(folders) or otherwise or stem, split


def covers(told: tuple[str, ...], wanted: str) -> bool:
    """Whether "benchmark" or "benchmark/split" is among those that a training was told of."""
    return wanted in told or wanted.partition("/")[0] in told
