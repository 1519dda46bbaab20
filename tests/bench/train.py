"""Training on a CPU: our loop against Hugging Face's Trainer with MistralForCausalLM, on the same documents.

    make bench-train        (HARE_DATA: folder of real data)
    python -m tests.bench.train --preset tiny --precision float32 --rounds 1

Same shape, type of numbers (bf16 with float32 masters), threads, documents, tokenizer, tokens of a step and optimizer.
`hf-trainer` pads to the longest piece of a batch and groups pieces of similar length; `hf-packed` takes our packed rows
and lets attention run over whole rows. Counted are useful tokens (no padding), after the first steps. All sides in
turn, medians of three, each in a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from hare_ray.hardware import cores, machine
from hare_ray.model.presets import PRESETS
from tests.bench.train_arms import RESULT, Work
from tests.bench.train_data import Size, prepare

SIDES = ("ours", "ours-eager", "hf-trainer", "hf-packed")
"""Ours with its layers through torch.compile, as a long training is run, and without."""

ROUNDS = 3
COUNTED = 25
"""Steps. Trainer sorts 50 batches at a time by length, longest first: that is 25 steps of two batches, no fewer."""

WARM = {"ours": 3, "ours-eager": 3, "hf-trainer": COUNTED, "hf-packed": 3}
"""Steps that are left out."""

TEXT_BYTES = 8 << 20


@dataclass(frozen=True)
class Speed:
    """Of one side in one round."""

    tokens_per_second: float
    step_seconds: float
    peak_mib: float


def side(name: str, folder: Path, work: Work, out: Path) -> dict:
    """What a side says, run in a process of its own."""
    kind = name.removesuffix("-eager")
    command = [sys.executable, "-m", "tests.bench.train_arms", kind, str(folder), json.dumps(asdict(work)), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(work.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    return json.loads((out / RESULT).read_text())


def speed(name: str, told: dict) -> Speed:
    """Without the first steps."""
    steps = told["steps"][WARM[name] :]
    seconds, tokens = sum(took for took, _ in steps), sum(count for _, count in steps)
    return Speed(tokens / seconds, statistics.median(took for took, _ in steps), told["peak_mib"])


def main() -> int:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--tokens", type=int, default=512, help="of a row")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    data = os.environ.get("HARE_DATA")
    if not data:
        print("skipped: HARE_DATA names no folder of real data")
        return 0
    with tempfile.TemporaryDirectory(prefix="hare-bench-") as name:
        folder = Path(name)
        prepare(Path(data), folder, Size(PRESETS[asked.preset].vocabulary, asked.tokens, TEXT_BYTES))
        rows = json.loads((folder / "held_out.json").read_text())["rows"]
        work = Work(
            asked.preset, asked.tokens, rows, 16, 8, COUNTED, asked.precision, 1e-3, 0.1, 0.2, 1, True, cores(),
        )  # fmt: skip
        found: dict[str, list[Speed]] = {each: [] for each in SIDES}
        for turn in range(asked.rounds):
            for each in SIDES:
                mine = replace(work, steps=WARM[each] + COUNTED, compile=each == "ours")
                found[each].append(speed(each, side(each, folder, mine, folder / f"{each}-{turn}")))
    report(asked, found)
    return 0


def report(asked: argparse.Namespace, found: dict[str, list[Speed]]) -> None:
    """The table and the line."""
    shape = PRESETS[asked.preset]
    title = f"{asked.preset}: {shape.parameters / 1e6:.1f} M parameters, rows of {asked.tokens}, {asked.precision}"
    grid = Grid("side", "useful tokens/s", "all rounds", "seconds a step", "peak MiB", title=title)
    median = {each: statistics.median(one.tokens_per_second for one in rounds) for each, rounds in found.items()}
    peaks = {each: round(max(one.peak_mib for one in rounds)) for each, rounds in found.items()}
    for each, rounds in found.items():
        every = ", ".join(f"{one.tokens_per_second:,.0f}" for one in rounds)
        steps = statistics.median(one.step_seconds for one in rounds)
        grid.add_row(each, f"{median[each]:,.0f}", every, f"{steps:.3f}", f"{peaks[each]:,}")
    Console().print(grid)
    ours, eager, padded, packed = (median[each] for each in SIDES)
    said = {
        "bench": "train", "unit": "useful tokens/s", "ours": ours, "peers": {"hf-trainer": padded},
        "ratio": ours / padded, "quality": {"vs_packed": ours / packed, "hf-packed": packed, "eager": eager},
        "peak_mb": peaks, "machine": machine(),
    }  # fmt: skip
    print(json.dumps(said))


if __name__ == "__main__":
    sys.exit(main())
