"""A crawl from WARC files to clean Parquet, as the recipe's `cleaned` does it: on Ray, and what Ray costs.

    make bench-corpus        (HARE_DATA: folder of real data; .bench/datatrove: datatrove's own venv)
    python -m tests.bench.corpus --quick    one file, one round; datatrove then has one worker, as it splits no file

Ours is timed three ways over the same parts, in turn, after a warm-up: a plain loop of the same functions in a process
of its own, Ray with one worker at a time, and Ray with both cores. All three are checked to have written the same
bytes. The time is that of the whole call from the listing of the files to the last manifest; Ray's start is printed
beside it. datatrove has two workers, and its start (the same pipeline over one page of each file) is taken off its
time. Memory is the sum of proportional set sizes over all processes of a side, Ray's own and the driver among them,
in a run that nobody times.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from hare_ray.engine import Settings, run
from hare_ray.executor import Plain
from hare_ray.hardware import machine
from hare_ray.on_ray import OnRay, start
from hare_ray.stage import Needs, PartWise, Source, upstream
from jobs.hare_documents import cleaned
from tests.bench.watched import Peak

ROUNDS = 3
WORKERS = 2
PART_BYTES = 4 << 20
"""18 parts of 66 MB. The last file has a third of the pages in a ninth of the bytes: as one part, which is what 8 MiB
make of it, it would keep one worker busy alone at the end."""
FILES, QUICK_FILES = "wcxb_dev_*.warc.gz", "wcxb_dev_02.warc.gz"
PEER = Path(".bench/datatrove/bin/python")
PEER_SIDE = Path(__file__).parent / "peers" / "datatrove_corpus.py"
MODEL = "models/lid.176.ftz"


@dataclass(frozen=True)
class Took:
    """One run of ours."""

    seconds: float
    hashes: tuple[str, ...]
    pages: int
    kept: int
    by_stage: dict[str, float]


def timed(location: str, cpus: float, on_ray: bool) -> Took:
    """One run into a root of its own. A worker that asks for all CPUs is alone."""
    target = cleaned(Source(label="crawl", location=location, part_bytes=PART_BYTES), 1.0)
    needs = {stage.name: Needs(cpus=cpus) for stage in upstream(target) if isinstance(stage, PartWise)}
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    began = time.perf_counter()
    executor = OnRay if on_ray else lambda _: Plain()
    manifest = run(target, root=str(root), settings=Settings(needs=needs), executor=executor)["clean"]
    seconds = time.perf_counter() - began
    shutil.rmtree(root)
    read = next(member for member in manifest["members"] if member["name"] == "read")
    parts = manifest["parts"]
    return Took(
        seconds,
        tuple(part["sha256"] for part in parts),
        read["books"]["made"],
        sum(part["rows"] for part in parts),
        manifest["run"]["worker_seconds"],
    )


def peer(folder: Path, pattern: str) -> tuple[dict[str, float], float]:
    """What datatrove's side says, and its peak memory."""
    with tempfile.TemporaryDirectory(prefix="hare-bench-") as out:
        command = [str(PEER), str(PEER_SIDE), str(folder / "web"), pattern, str(folder / MODEL), out, str(WORKERS)]
        side = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with Peak(side.pid) as peak:
            said, complaints = side.communicate()
    if side.returncode:
        raise RuntimeError(f"{PEER_SIDE.name} failed:\n{complaints[-2000:]}")
    return json.loads(said.strip().split("\n")[-1]), peak.tree_mib


def measured(sides: dict[str, Callable[[], Took]], rounds: int) -> dict[str, list[Took]]:
    """Every side `rounds` times, in turn, after a warm-up."""
    took: dict[str, list[Took]] = {name: [] for name in sides}
    hashes = set()
    for counted in range(rounds + 1):
        for name, side in sides.items():
            once = side()
            hashes.add(once.hashes)
            if counted:
                took[name].append(once)
    assert len(hashes) == 1, "the sides wrote different bytes"
    return took


def inflated_bytes(files: list[Path]) -> int:
    """Bytes of the files without their compression."""
    total = 0
    for file in files:
        with gzip.open(file) as stream:
            while block := stream.read(1 << 20):
                total += len(block)
    return total


def table(times: dict[str, list[float]], pages: int, megabytes: tuple[float, float]) -> Grid:
    """Speeds by side."""
    grid = Grid("side", "seconds", "pages/s", "MB/s stored", "MB/s inflated", "all rounds")
    for name, values in times.items():
        median = statistics.median(values)
        speeds = [f"{pages / median:.0f}", *(f"{size / median:.1f}" for size in megabytes)]
        grid.add_row(name, f"{median:.2f}", *speeds, ", ".join(f"{value:.2f}" for value in values))
    return grid


def ours(location: str, rounds: int) -> tuple[dict[str, list[Took]], float, float]:
    """Our three sides, our peak memory, and seconds of Ray's start."""
    began = time.perf_counter()
    start(WORKERS)
    start_seconds = time.perf_counter() - began
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as loop:
        sides = {
            "plain loop": lambda: loop.submit(timed, location, 1, False).result(),
            "on Ray, 1 worker": lambda: timed(location, WORKERS, True),
            f"on Ray, {WORKERS} workers": lambda: timed(location, 1, True),
        }
        took = measured(sides, rounds)
    with Peak(os.getpid()) as peak:
        timed(location, 1, True)
    return took, peak.tree_mib, start_seconds


def main() -> int:
    """Measure, print tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one file, one round")
    quick = parser.parse_args().quick
    folder = os.environ.get("HARE_DATA")
    if not folder or not PEER.exists():
        print(f"needs HARE_DATA (now {folder!r}) and {PEER}; see tests/bench/peers/datatrove.txt")
        return 1
    pattern, rounds = (QUICK_FILES, 1) if quick else (FILES, ROUNDS)
    files = sorted((Path(folder) / "web").glob(pattern))
    took, peak, start_seconds = ours(str(Path(folder) / "web" / pattern), rounds)
    theirs = [peer(Path(folder), pattern) for _ in range(rounds)]
    times = {name: [one.seconds for one in values] for name, values in took.items()}
    times["datatrove"] = [said["seconds"] - said["start_seconds"] for said, _ in theirs]
    plain, alone, both, other = (statistics.median(values) for values in times.values())
    first = took["plain loop"][0]
    megabytes = sum(file.stat().st_size for file in files) / 1e6, inflated_bytes(files) / 1e6
    console = Console()
    console.print(table(times, first.pages, megabytes))
    console.print(f"{first.pages} pages, {megabytes[0]:.1f} MB stored, {megabytes[1]:.1f} MB inflated, ", end="")
    console.print(f"{len(first.hashes)} parts; kept {first.kept}, datatrove {theirs[0][0]['kept']}")
    console.print(f"seconds in the plain loop by stage: {first.by_stage}")
    start_other = statistics.median(said["start_seconds"] for said, _ in theirs)
    console.print(f"left out: Ray's start, once, {start_seconds:.2f} s; datatrove's, each time, {start_other:.2f} s")
    peers = {"datatrove": first.pages / other}
    told = {"bench": "corpus", "unit": "pages/s", "ours": first.pages / both, "peers": peers, "ratio": other / both}
    quality = {"engine_overhead": alone / plain - 1, "speedup_2": alone / both}
    peaks = {"ours": round(peak), "datatrove": round(max(mib for _, mib in theirs))}
    print(json.dumps({**told, "quality": quality, "peak_mb": peaks, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
