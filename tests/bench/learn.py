"""Learning: bits per byte of held-out articles after the same tokens, our loop against Hugging Face's Trainer.

    make bench-learn        (HARE_DATA: folder of real data)

The pieces of the benchmark `train`, each read once, from Wikipedia text; same shape, tokenizer, tokens of a step, peak
rate and schedule (warm-up, constant, linear fall to 0). Bits per byte: summed cross entropy of 200 articles that nobody
trained on, in nats over ln 2, over their bytes of UTF-8; computed by one function for both, with the float32 masters.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.hardware import cores, machine
from hare_ray.model.presets import PRESETS
from tests.bench.train import side
from tests.bench.train_arms import Work
from tests.bench.train_data import Size, prepare

SIDES = ("ours", "hf-trainer")


def bits_per_byte(state: dict[str, Any], preset: str, tokens: int, held: dict[str, Any]) -> float:
    """Of the held-out articles, each cut every `tokens` tokens as in training."""
    import torch

    from hare_ray.model.attention import choose
    from hare_ray.model.decoder import Decoder

    model = Decoder(PRESETS[preset], choose("cpu", torch.float32), 0)
    model.load_state_dict(state)
    nats = 0.0
    with torch.no_grad():
        for ids in held["ids"]:
            for piece in np.split(np.array(ids, np.int64), range(tokens, len(ids), tokens)):
                at = torch.arange(len(piece))[None]
                nats += float(model(torch.from_numpy(piece)[None], torch.zeros_like(at), at)[0])
    return nats / math.log(2) / held["bytes"]


def state_of(name: str, out: Path) -> dict[str, Any]:
    """The weights that a side left."""
    from hare_ray.model.export import from_hf
    from hare_ray.train.settings import RESULT as OURS
    from hare_ray.train.stored import Stored

    if name != "ours":
        return from_hf(out / "model")[1]
    told = json.loads((out / "lasting" / OURS).read_text())
    stored = Stored.opened(f"{out}/lasting/{told['checkpoint']}")
    names = [each for each in stored.names() if each.startswith("weights/")]
    return {each.removeprefix("weights/"): stored.read(each) for each in names}


def main() -> int:
    """Train both, judge both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--tokens", type=int, default=6_000_000, help="that each side trains on, once each")
    parser.add_argument("--text-bytes", type=int, default=100 << 20, help="of the articles they are taken from")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate of both")
    asked = parser.parse_args()
    data = os.environ.get("HARE_DATA")
    if not data:
        print("skipped: HARE_DATA names no folder of real data")
        return 0
    width = 512
    with tempfile.TemporaryDirectory(prefix="hare-bench-") as name:
        folder = Path(name)
        prepare(Path(data), folder, Size(PRESETS[asked.preset].vocabulary, width, asked.text_bytes))
        held = json.loads((folder / "held_out.json").read_text())
        steps = min(asked.tokens // width, held["rows"]) // 16
        work = Work(
            asked.preset, width, held["rows"], 16, 8, steps, "bfloat16", asked.rate, 0.02, 0.2, 1, False, cores()
        )
        found, read = {}, {}
        for each in SIDES:
            mine = work if each == "ours" else replace(work, steps=padded_steps(folder, work))
            told = side(each, folder, mine, folder / each)
            read[each] = sum(count for _, count in told["steps"])
            found[each] = bits_per_byte(state_of(each, folder / each), asked.preset, width, held)
    grid = Grid("side", "bits per byte", "useful tokens read", title=f"{asked.preset}, {steps} steps of 16 rows")
    for each in SIDES:
        grid.add_row(each, f"{found[each]:.4f}", f"{read[each]:,}")
    Console().print(grid)
    said = {
        "bench": "learn", "unit": "1 / bits per byte", "ours": 1 / found["ours"],
        "peers": {"hf-trainer": 1 / found["hf-trainer"]}, "ratio": found["hf-trainer"] / found["ours"],
        "quality": {"bits_per_byte": found, "tokens": read}, "peak_mb": {}, "machine": machine(),
    }  # fmt: skip
    print(json.dumps(said))
    return 0


def padded_steps(folder: Path, work: Work) -> int:
    """Steps of the padded side that read as many useful tokens as ours."""
    edges = np.load(folder / "edges.npy")
    mean = edges[-1] / (len(edges) - 1)
    at_once = max(1, round(work.micro_rows * work.tokens / mean)) * (work.batch_rows // work.micro_rows)
    useful = work.steps * work.batch_rows * edges[-1] / work.rows
    return round(useful / (at_once * mean))


if __name__ == "__main__":
    sys.exit(main())
