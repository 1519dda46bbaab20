"""Gopher's two sets of rules, C4's and FineWeb's: us against datatrove, on the same documents, one core each.

    make bench-filters        (HARE_DATA: folder of real data; .bench/datatrove: datatrove's own venv)

Speed: every TIMED_EVERY-th document, in turn, medians of three; "together" is all four sets on one document before the
next, which lets datatrove keep its tokens and us walk once. Agreement: share of all documents that are kept or dropped
alike, with datatrove's tokens in our kernel, and with our own words.
"""

import gzip
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.corpus.rules import judged
from hare_ray.corpus.rules_families import (
    PUBLISHED_C4,
    PUBLISHED_FINEWEB,
    PUBLISHED_GOPHER,
    PUBLISHED_REPETITION,
    Family,
)
from hare_ray.corpus.rules_kernel import counts
from hare_ray.hardware import machine
from hare_ray.text.spans import words_at
from hare_ray.text.words import Words

ROUNDS = 3
REPEATS = 5
"""Of ours in a round: one alone is over in a tenth of a second."""
TIMED_EVERY = 10
DOCUMENTS = (("web/wcxb_dev_gold", 1200), ("text/hplt_v2_snippets", 800), ("text/enwiki_2014_dev", 1000))
"""Files of English text, and how many documents of each, those with the smallest hashes."""
FILTERS: dict[str, Family] = {
    "gopher_repetition": PUBLISHED_REPETITION,
    "gopher_quality": PUBLISHED_GOPHER,
    "fineweb": PUBLISHED_FINEWEB,
    "c4": PUBLISHED_C4,
}
"""In the order that is best for datatrove: its C4 filter reads line by line and so empties its cache of tokens."""
BENCH = Path(__file__).parent
PEER = Path(".bench/datatrove/bin/python")


def texts_of(path: Path) -> Iterator[str]:
    """English texts of a file that are not empty."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["text"] and row.get("lang", "en")[:2] == "en":
                yield row["text"]


def documents(folder: Path) -> list[str]:
    """The documents of the benchmark, in order of their hashes."""
    chosen = []
    for name, number in DOCUMENTS:
        texts = texts_of(folder / f"{name}.jsonl.gz")
        chosen += heapq.nsmallest(number, ((xxhash.xxh3_64_intdigest(text.encode()), text) for text in texts))
    return [text for _, text in sorted(chosen)]


def peer(task: str, texts: list[str], work: Path, *out: Path) -> str:
    """Run datatrove's side; what it prints last."""
    source = work / f"{task}.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    command = [str(PEER), str(BENCH / "peers" / "datatrove_filters.py"), task, str(source), *map(str, out)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split("\n")[-1]


def seconds(rules: tuple[Family, ...], column: pa.Array) -> float:
    """Seconds of ours, once."""
    began = time.perf_counter()
    for _ in range(REPEATS):
        judged(rules, counts, column)
    return (time.perf_counter() - began) / REPEATS


def peak_mb() -> int:
    """Most memory that this process has held, in MiB; ru_maxrss would begin with that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def speeds(texts: list[str], work: Path) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Documents per second by filter, of both; peak memory."""
    column = pa.array(texts, pa.large_string())
    kinds = {**{name: (family,) for name, family in FILTERS.items()}, "together": tuple(FILTERS.values())}
    judged(kinds["together"], counts, column)
    rounds = []
    peak = {}
    for _ in range(ROUNDS):
        theirs = json.loads(peer("time", texts, work))
        peak["datatrove"] = theirs.pop("peak_mb")
        rounds.append({"ours": {name: seconds(rules, column) for name, rules in kinds.items()}, "datatrove": theirs})
    peak["ours"] = peak_mb()
    return {
        who: {name: len(texts) / statistics.median(one[who][name] for one in rounds) for name in kinds}
        for who in ("ours", "datatrove")
    }, peak


def agreement(column: pa.Array, reasons: dict[str, list[str]], words: Words | None) -> dict[str, float]:
    """Share of documents with the same decision, by filter and in all."""
    dropped = {
        name: ~np.asarray(judged((one,), counts, column, words)["reason"].is_null()) for name, one in FILTERS.items()
    }
    theirs = {name: np.array([reason != "" for reason in reasons[name]]) for name in FILTERS}
    dropped["all"] = np.any(list(dropped.values()), axis=0)
    theirs["all"] = np.any(list(theirs.values()), axis=0)
    return {name: float(np.mean(dropped[name] == theirs[name])) for name in dropped}


def main() -> int:
    """Measure, print a table and one line of JSON."""
    folder = os.environ.get("HARE_DATA")
    if not folder or not PEER.exists():
        print(f"needs HARE_DATA (now {folder!r}) and {PEER}; see tests/bench/peers/datatrove.txt")
        return 1
    texts = documents(Path(folder))
    column = pa.array(texts, pa.large_string())
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        speed, peak = speeds(texts[::TIMED_EVERY], work)
        peer("decide", texts, work, work / "words.npz", work / "reasons.json")
        reasons = json.loads((work / "reasons.json").read_text())
        with np.load(work / "words.npz") as spans:
            words = words_at(column, spans["offsets"], spans["starts"], spans["ends"])
    injected, own = agreement(column, reasons, words), agreement(column, reasons, None)
    grid = Grid("filter", "ours, docs/s", "datatrove", "ratio", "agreement", "with our words")
    for name in speed["ours"]:
        ours, theirs = speed["ours"][name], speed["datatrove"][name]
        which = "all" if name == "together" else name
        grid.add_row(
            name, f"{ours:.0f}", f"{theirs:.1f}", f"{ours / theirs:.0f}", f"{injected[which]:.4f}", f"{own[which]:.4f}"
        )
    Console().print(grid)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} documents, {megabytes:.1f} MB; timed on {len(texts[::TIMED_EVERY])}")
    ours, theirs = speed["ours"]["together"], speed["datatrove"]["together"]
    quality = {"agreement": injected.pop("all"), "agreement_by_filter": injected}
    quality |= {"agreement_own_words": own.pop("all"), "agreement_own_words_by_filter": own}
    told = {"bench": "filters", "unit": "documents/s/core", "ours": ours, "peers": {"datatrove": theirs}}
    print(json.dumps({**told, "ratio": ours / theirs, "quality": quality, "peak_mb": peak, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
