"""Synthetic text: Generate through Ray Data LLM and through Ray Serve against vLLM offline, and what it survives.

    make bench-synth
    python -m tests.bench.synth --tiny      a small model, one round

Speed: the same random model whose answers never end by themselves, the same prompts, sampling and engine settings, on
the same cores (or GPU); all sides in turn, medians of three. Ours is timed from the table of prompts to the committed
parts, vLLM around `LLM.generate` in a process of its own with the number of threads that suits it best. The start of
an engine is told apart: `ratio` is of steady work, `end_to_end_ratio` has both. Faults: the engine and the actor around
it killed in turn, three times within a run, on both ways, against the answers of an undisturbed run; any row lost,
swapped or journaled twice is a fault. Load: twice as many clients as the server lets in, so that it must refuse some.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from hare_ray.hardware import cores, machine
from hare_ray.on_ray import start
from hare_ray.synth.door import WAITING
from hare_ray.synth.server import CPU_SEQUENCES, GPU_SEQUENCES
from tests.bench.synth_arms import LARGE, MEDIUM, SMALL, Took, Work, batch, best_threads, endless, lines, offline
from tests.bench.synth_arms import serve as through_serve
from tests.bench.synth_faults import asked as answers_of
from tests.bench.synth_faults import faults, load
from tests.synth.stages import TinyMistral

WORKERS = 2


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    model: TinyMistral
    rows: int
    max_tokens: int
    rounds: int
    fault_rows: int
    load_seconds: float
    probe: bool
    """Whether to look for the best number of threads of vLLM offline."""


TINY = Size(SMALL, 64, 50, 1, 300, 5.0, probe=False)
ON_CPU = Size(MEDIUM, 160, 200, 3, 2000, 20.0, probe=True)
ON_GPU = Size(LARGE, 4096, 256, 3, 2000, 20.0, probe=False)
FAULT_TOKENS = 20
LOAD_TOKENS = 50
"""So that on a CPU all that are inside are answered well within the load's last seconds."""


def gpus() -> int:
    """GPUs of a replica."""
    import torch

    return int(torch.cuda.is_available())


def rates(took: list[Took]) -> dict[str, float]:
    """Medians of a side."""
    return {
        "tokens_per_second": statistics.median(one.tokens / one.seconds for one in took),
        "rows_per_second": statistics.median(one.rows / one.seconds for one in took),
        "start_seconds": statistics.median(one.start_seconds for one in took),
        "end_to_end": statistics.median(one.tokens / (one.start_seconds + one.seconds) for one in took),
        "tokens_a_row": statistics.median(one.tokens / one.rows for one in took),
    }


def speeds(work: Work, size: Size) -> tuple[dict[str, dict[str, float]], dict[str, int], dict[str, int]]:
    """Medians by side; rows lost by ours, and threads of vLLM offline; peak memory by side."""
    threads = best_threads(work, cores()) if size.probe else min(cores(), WORKERS) * (not work.gpus)
    took: dict[str, list[Took]] = {"batch": [], "serve": [], "vllm": []}
    for seed in range(size.rounds):
        took["batch"].append(batch(work, seed))
        took["vllm"].append(offline(work, [seed], threads)[0])
        took["serve"].append(through_serve(work, seed))
    lost = sum(one.lost for one in took["batch"] + took["serve"])
    peaks = {name: round(max(one.peak_mib for one in rounds)) for name, rounds in took.items()}
    medians = {name: rates(rounds) for name, rounds in took.items()}
    return medians, {"rows_lost": lost, "vllm_threads": threads}, peaks


def broken(folder: Path, model: Path, size: Size, accelerators: int) -> dict[str, object]:
    """Faults of both ways."""
    short = lines(folder, size.fault_rows, words=6)
    work = Work(model, short, size.fault_rows, FAULT_TOKENS, accelerators, temperature=0.0)
    undisturbed, _ = answers_of(work, "batch", seed=7, kills=False)
    return {f"faults_{way}": faults(work, way, 7, undisturbed) for way in ("batch", "serve")}


def main() -> int:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small model, one round")
    parser.add_argument("--only", choices=("speed", "faults", "load"), help="one of the three")
    asked = parser.parse_args()
    accelerators = gpus()
    size = TINY if asked.tiny else ON_GPU if accelerators else ON_CPU
    start(WORKERS)
    quality: dict[str, object] = {}
    side: dict[str, dict[str, float]] = {}
    peaks: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="hare-bench-") as name:
        folder = Path(name)
        model = endless(folder / "model", size.model, accelerators)
        if asked.only in (None, "speed"):
            work = Work(model, lines(folder / "prompts", size.rows), size.rows, size.max_tokens, accelerators)
            side, told, peaks = speeds(work, size)
            quality |= {**told, "by_side": side}
        if asked.only in (None, "faults"):
            small = endless(folder / "small", SMALL, accelerators) if size.model != SMALL else model
            quality |= broken(folder / "short", small, size, accelerators)
        if asked.only in (None, "load"):
            some = Work(model, folder, 0, LOAD_TOKENS, accelerators)
            clients = 2 * (1 + WAITING) * (GPU_SEQUENCES if accelerators else CPU_SEQUENCES)
            quality["load"] = load(some, clients, size.load_seconds)
    said: dict[str, object] = {"bench": "synth", "unit": "tokens/s"}
    if side:
        grid = Grid("side", "tokens/s", "rows/s", "start, s", "tokens/s with the start", "tokens a row")
        for who, one in side.items():
            grid.add_row(who, *(f"{value:.1f}" for value in one.values()))
        Console().print(grid)
        ours, theirs = side["batch"], side["vllm"]
        quality["serve_ratio"] = side["serve"]["tokens_per_second"] / theirs["tokens_per_second"]
        quality["end_to_end_ratio"] = ours["end_to_end"] / theirs["end_to_end"]
        said |= {"ours": ours["tokens_per_second"], "peers": {"vllm": theirs["tokens_per_second"]}}
        said["ratio"] = ours["tokens_per_second"] / theirs["tokens_per_second"]
    print(json.dumps({**said, "quality": quality, "peak_mb": peaks, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
