"""An exam of three items, an index of it, and text that has nothing to do with it."""

import json
import random
from pathlib import Path

from hare_ray.engine import run
from hare_ray.leakage.benchmarks import Benchmarks
from hare_ray.leakage.index import LeakIndex
from hare_ray.priors.benchmarks import load_benchmark_forms
from hare_ray.stage import Make, Source

QUESTION = (
    "Farmer Giles sells 16 fresh eggs each morning at the county market, and eats three of them for his "
    "breakfast. How many dollars does he earn?"
)
SHORT = "Which of these soft alkali metals floats on cold water?"
EXAM = [
    {"id": "long", "question": QUESTION, "choices": ["twenty-two dollars", "none", "he loses money"], "answer": 0},
    {"id": "short", "question": SHORT, "choices": ["lead", "sodium", "gold"], "answer": 1},
    {"id": "tiny", "question": "Why?", "answer": "So."},
]


def unrelated(count: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"word{draw.randrange(5000)}" for _ in range(count))


def leak_index(benchmarks: Make, label: str = "leak_index", ngram: int = 13) -> LeakIndex:
    return LeakIndex(
        label=label, benchmarks=(benchmarks,), ngram=ngram, min_words=4, min_weight=2.0, anchor_words=3,
        anchor_weight=1.0, anchors_per_question=4, reworded_weight=6.0,
    )  # fmt: skip


def write_exam(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exam_test.jsonl").write_text("".join(json.dumps(item) + "\n" for item in EXAM))
    return folder


def index_of(folder: Path) -> tuple[LeakIndex, Path]:
    """The index of the exam, made, and where its files lie."""
    source = Source(label="exam", location=str(write_exam(folder / "exam")))
    index = leak_index(Benchmarks(files=(source,), tasks=(), forms=load_benchmark_forms()))
    run(index, root=str(folder / "run"))
    return index, folder / "run" / index.name / index.fingerprint[:12]
