"""What the engine costs: a crawl to clean text on Ray with one worker, against a plain loop of the same functions.

    make bench-engine

Both runs go through the same parts, write the same files and are checked to have written the same bytes. The time is
that of the pass; Ray's own start, once a run, is printed beside it. Medians of three, in turn, after a warm-up.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from hare_ray.cli import Choice, load_recipe
from hare_ray.engine import run
from hare_ray.executor import Plain
from hare_ray.hardware import machine
from hare_ray.on_ray import OnRay, start
from hare_ray.stage import upstream

ROUNDS = 3


def seconds(target, root: Path, executor) -> tuple[float, list[str]]:
    """Seconds of the pass that writes `clean`, and the hashes of its parts."""
    shutil.rmtree(root / "clean", ignore_errors=True)
    manifest = run(target, root=str(root), executor=executor)["clean"]
    return manifest["run"]["seconds"], [part["sha256"] for part in manifest["parts"]]


def main() -> int:
    """Measure, print a table and one line of JSON."""
    targets = load_recipe("jobs/hare.py")(Choice(scale=sys.argv[1] if len(sys.argv) > 1 else "demo"))
    clean = next(stage for stage in upstream(*targets) if stage.name == "clean")
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    began = time.time()
    start(1)
    start_seconds = time.time() - began
    kinds = {"plain loop": lambda _: Plain(), "on Ray, 1 worker": lambda r: OnRay(r, 1)}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    hashes = set()
    for counted in range(ROUNDS + 1):
        for name, executor in kinds.items():
            took, parts = seconds(clean, root, executor)
            hashes.add(tuple(parts))
            if counted:
                times[name].append(took)
    shutil.rmtree(root)
    assert len(hashes) == 1, "the two executors wrote different bytes"
    median = {name: statistics.median(values) for name, values in times.items()}
    plain, ray = median.values()
    grid = Grid("run", "seconds", "all rounds")
    for name, values in times.items():
        grid.add_row(name, f"{median[name]:.2f}", ", ".join(f"{v:.2f}" for v in values))
    grid.add_row("Ray's start, once", f"{start_seconds:.2f}", "")
    Console().print(grid)
    told = {"bench": "engine", "unit": "1/s", "ours": 1 / ray, "peers": {"plain-loop": 1 / plain}, "ratio": plain / ray}
    print(json.dumps({**told, "quality": {"engine_overhead": ray / plain - 1}, "peak_mb": {}, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
