"""Main text of pages: F1 of words against what people marked, and pages per second on one core, us against peers.

    make bench-extract        (HARE_DATA: folder of real data; .bench/extract: the peers' own venv)

Pages that taught our model are judged by models taught anew without them (cross-validation in five parts, which takes
minutes and needs LightGBM), others by the model of the package. F1: bags of words (\\w+, lower case), mean over pages;
pages whose gold text is empty are left out. Speed: SPEED_PAGES pages chosen by hash, in turn, medians of three, from
UTF-8 in memory to text in memory.
"""

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.corpus import page_model as pm
from hare_ray.corpus.page_labels import bag, f1
from hare_ray.corpus.page_training import MAX_DEPTH, by_kind, examples, judged
from hare_ray.corpus.pages import Pages
from hare_ray.hardware import machine

ROUNDS = 3
SPEED_PAGES = 250
PEERS = {
    "trafilatura": "trafilatura", "trafilatura-fast": "trafilatura_fast", "resiliparse": "resiliparse",
    "justext": "justext", "readability": "readability",
}  # fmt: skip
BENCH = Path(__file__).parent
PYTHON = Path(".bench/extract/bin/python")


def peak_mb() -> int:
    """Most memory that this process has held, in MiB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def peer(name: str, pages: list[bytes], work: Path) -> tuple[list[str], float, int]:
    """Texts, seconds and peak memory of a peer."""
    source, out = work / "pages.pickle", work / "out.json"
    source.write_bytes(pickle.dumps(pages))
    command = [PYTHON, BENCH / "peers" / "extract_main_text.py", PEERS[name], source, out]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(out.read_text())
    return found["texts"], found["seconds"], int(printed.split()[-1])


def ours(pages: list[bytes]) -> float:
    """Seconds of ours, once."""
    reader = Pages(MAX_DEPTH)
    reader.read(pages[0])
    began = time.perf_counter()
    for page in pages:
        page.decode()  # as a crawl's pages are: bytes of which nobody knows yet that they are UTF-8
        reader.read(page)
    return time.perf_counter() - began


def speeds(pages: list[bytes], work: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Pages per second, and peak memory."""
    times: dict[str, list[float]] = {"ours": [], **{name: [] for name in PEERS}}
    peaks = {}
    for _ in range(ROUNDS):
        times["ours"].append(ours(pages))
        for name in PEERS:
            _, seconds, peaks[name] = peer(name, pages, work)
            times[name].append(seconds)
    return {name: len(pages) / statistics.median(values) for name, values in times.items()}, peaks


def our_f1(given: list, reader: Pages) -> tuple[np.ndarray, str]:
    """F1 of every page, by a model that has not learned from it; which models these were."""
    known = set(pm.load().taught.tolist())
    taught = [place for place, example in enumerate(given) if pm.page_key(example.html) in known]
    scores = np.zeros(len(given))
    for place in set(range(len(given))) - set(taught):
        scores[place] = f1(bag(reader.read(given[place].html).text.decode()), given[place].gold)
    if taught:
        scores[taught] = judged([given[place] for place in taught], reader)
    crossed = f"{len(taught)} pages by cross-validation, {len(given) - len(taught)} by the package's model"
    return scores, crossed


def main() -> int:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", default="web/*gold.jsonl.gz", help="under HARE_DATA")
    parser.add_argument("--crawl", default="web/*.warc.gz", help="under HARE_DATA")
    options = parser.parse_args()
    if "HARE_DATA" not in os.environ:
        sys.exit("bench-extract needs real pages with their main text: set HARE_DATA to the folder that has them")
    folder = Path(os.environ["HARE_DATA"])
    reader = Pages(MAX_DEPTH)
    crawl = sorted(folder.glob(options.crawl))
    given = [example for gold in sorted(folder.glob(options.gold)) for example in examples(gold, crawl, reader)]
    pages = [example.html for example in given]
    with tempfile.TemporaryDirectory() as work:
        chosen = sorted(pages, key=pm.page_key)[:SPEED_PAGES]
        speed, peaks = speeds(chosen, Path(work))
        peaks["ours"] = peak_mb()
        found, crossed = our_f1(given, reader)
        scores = {"ours": by_kind(found, given)}
        for name in PEERS:
            texts, _, _ = peer(name, pages, Path(work))
            found = np.array([f1(bag(text), page.gold) for text, page in zip(texts, given, strict=True)])
            scores[name] = by_kind(found, given)
    show(speed, scores, peaks, crossed)
    return 0


def show(speed: dict[str, float], scores: dict[str, dict[str, float]], peaks: dict[str, int], crossed: str) -> None:
    """The table, and the line for machines."""
    kinds = [kind for kind in scores["ours"] if kind != "all"]
    grid = Grid("engine", "pages/s", "F1", *kinds)
    for name, pages in speed.items():
        grid.add_row(name, f"{pages:.0f}", *(f"{scores[name][kind]:.3f}" for kind in ("all", *kinds)))
    Console(width=140).print(grid, f"F1 of ours: {crossed}")
    peers = {name: pages for name, pages in speed.items() if name != "ours"}
    quality = {
        "f1": scores["ours"]["all"], "f1_from": crossed, "f1_by_type": {kind: scores["ours"][kind] for kind in kinds},
        "f1_of_peers": {name: scores[name]["all"] for name in peers},
    }  # fmt: skip
    told = {"bench": "extract", "unit": "pages/s/core", "ours": speed["ours"], "peers": peers}
    told |= {"ratio": speed["ours"] / max(peers.values()), "quality": quality, "peak_mb": peaks, "machine": machine()}
    print(json.dumps(told))


if __name__ == "__main__":
    sys.exit(main())
