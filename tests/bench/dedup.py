"""Near-duplicates out of real text: us, in one process and on Ray, and five peers, end to end on the same files.

    make bench-dedup        (HARE_DATA: folder of real data; .bench/*: the peers' own venvs)
    python -m tests.bench.dedup --megabytes 10 --sides ours-plain,rensa        a smaller trial

JSON lines in, JSON lines, Parquet or Arrow out; each side is a cold process that is told to use WORKERS workers, files
in the page cache, and its time is that of the whole process. Word 5-grams, 14 bands of 8 rows; `-default`: a peer's own
numbers. The first round is not timed but watched for memory; then medians of three, in turn. A side above SLOW_SECONDS
has its first round alone, which is then its time.

Recall: planted copies (tests/bench/dedup_edits.py) and natural pairs of a true 5-gram Jaccard similarity of 0.8 and
more, each the share of pairs of which at most one is kept; `expected` is the mean of 1 - (1 - J^8)^14 over the planted
pairs. Precision: of what is gone and was not planted, the share with a true similarity of 0.5 and 0.7 to some document
that is kept.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.hardware import machine
from tests.bench import dedup_truth as truth
from tests.bench.dedup_edits import ARTICLES, EDITS, Corpus, Pair, corpus, write
from tests.bench.watched import Took, timed

ROUNDS = 3
SLOW_SECONDS = 30
LIMIT_SECONDS = 3600
WORKERS = 2
FILES = 4
BANDS, ROWS = 14, 8
CLOSE = 0.8
NATURAL = ("text/reuters21578_train", "text/spamassassin_set1")
BENCH = Path(__file__).parent
JOB = BENCH.parents[1] / "jobs" / "dedup.py"


@dataclass(frozen=True)
class Side:
    """A program that deduplicates."""

    peer: str
    """Key of the last line; empty: ours."""
    venv: str
    script: str
    settings: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return Path(".bench") / self.venv / "bin" / "python" if self.venv else Path(sys.executable)

    def command(self, source: Path, out: Path) -> list[str]:
        """What is run."""
        if self.venv:
            script = str(BENCH / "peers" / f"{self.script}.py")
            return [str(self.python), script, str(source), str(out), self.settings, str(WORKERS)]
        workers = ["--plain" if self.settings == "plain" else "--workers", str(WORKERS)]
        return [str(self.python), str(JOB), str(source), "--root", str(out / "root"), *workers]


SIDES = {
    "ours-plain": Side("", "", "", "plain"),
    "ours-ray": Side("", "", "", "ray"),
    "rensa": Side("rensa", "sketches", "rensa_dedup", "equal"),
    "datasketch": Side("datasketch", "sketches", "datasketch_dedup", "equal"),
    "text-dedup": Side("text-dedup", "textdedup", "textdedup", "equal"),
    "text-dedup-default": Side("text-dedup", "textdedup", "textdedup", "default"),
    "data-juicer": Side("data-juicer", "datajuicer", "datajuicer", "equal"),
    "data-juicer-default": Side("data-juicer", "datajuicer", "datajuicer", "default"),
    "data-juicer-ray": Side("data-juicer-ray", "datajuicer", "datajuicer", "ray"),
    "datatrove": Side("datatrove", "datatrove", "datatrove_dedup", "equal"),
}
Kept = NDArray[np.bool_]


def numbers(out: Path) -> Iterator[int]:
    """The documents that a side has kept, whatever it wrote them as."""
    for file in sorted((out / "root" / "unique").rglob("part-*.parquet")):
        yield from (int(url.removeprefix("doc:")) for url in pq.read_table(file, columns=["url"])["url"].to_pylist())
    folder = out / "kept"
    for file in sorted(folder.rglob("*.json*")):
        if file.name not in ("state.json", "dataset_info.json"):
            with file.open(encoding="utf-8") as lines:
                yield from (int(json.loads(line)["id"]) for line in lines)
    for file in sorted(folder.rglob("*.arrow")):
        with pa.memory_map(str(file)) as data:
            yield from map(int, pa.ipc.open_stream(data).read_all()["id"].to_pylist())


def kept_of(out: Path, documents: int) -> Kept:
    """A flag for every document."""
    kept = np.zeros(documents, bool)
    for number in numbers(out):
        if kept[number]:
            raise RuntimeError(f"{out} holds document {number} twice")
        kept[number] = True
    if not kept.any():
        raise RuntimeError(f"{out} holds no document")
    return kept


def once(side: Side, source: Path, work: Path, watch: bool) -> tuple[Took, Path]:
    """One run into an empty folder."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return timed(side.command(source, out), work / "log", watch, LIMIT_SECONDS), out


@dataclass
class Ran:
    """What came of a side."""

    first: Took
    kept: Kept
    seconds: list[float]

    @property
    def median(self) -> float:
        """Of the timed rounds."""
        return statistics.median(self.seconds)


def measured(names: list[str], source: Path, documents: int, console: Console) -> dict[str, Ran]:
    """All sides in turn; a side that fails is left out and said."""
    ran: dict[str, Ran] = {}
    with tempfile.TemporaryDirectory(prefix="hare-bench-") as folder:
        work = Path(folder)
        for number in range(ROUNDS + 1):
            for name in names if number == 0 else list(ran):
                if number and ran[name].first.seconds > SLOW_SECONDS:
                    continue
                try:
                    took, out = once(SIDES[name], source, work, watch=number == 0)
                except RuntimeError as failed:
                    console.print(f"{name} failed: {failed}", markup=False)
                    continue
                if number:
                    ran[name].seconds.append(took.seconds)
                    continue
                slow = took.seconds > SLOW_SECONDS
                ran[name] = Ran(took, kept_of(out, documents), [took.seconds] if slow else [])
                console.print(f"{name}: first round {took.seconds:.1f} s, kept {ran[name].kept.sum():,}", markup=False)
    return ran


@dataclass(frozen=True)
class Known:
    """What is true of the corpus."""

    corpus: Corpus
    index: truth.Index
    similarity: dict[str, NDArray[np.float64]]
    """By kind of edit, of each planted pair."""
    natural: dict[str, NDArray[np.int64]]
    """By set, its pairs [n, 2] of a similarity of at least CLOSE."""


def known_of(made: Corpus) -> Known:
    """Count all shingles."""
    shingles = truth.shingles_of([document.text for document in made.documents])
    similarity = {
        kind: np.array([truth.jaccard(shingles, p.original, p.copy) for p in made.planted if p.kind == kind])
        for kind in EDITS
    }
    natural = {}
    for name in NATURAL:
        places = np.array([n for n, document in enumerate(made.documents) if document.source == name])
        own = truth.shingles_of([made.documents[place].text for place in places])
        natural[name] = places[truth.close(truth.index_of(own), CLOSE)]
    return Known(made, truth.index_of(shingles), similarity, natural)


def resolved(kept: Kept, pairs: NDArray[np.int64]) -> float:
    """Share of pairs of which at most one is kept."""
    return float(np.mean(~kept[pairs].all(axis=1))) if len(pairs) else 1.0


def places(pairs: list[Pair]) -> NDArray[np.int64]:
    """Pairs [n, 2]."""
    return np.array([(pair.original, pair.copy) for pair in pairs], np.int64).reshape(-1, 2)


def quality(kept: Kept, known: Known) -> dict[str, Any]:
    """Recall and precision of a kept set."""
    made = known.corpus
    by_kind = {kind: resolved(kept, places([p for p in made.planted if p.kind == kind])) for kind in EDITS}
    planted = places(made.planted)
    unplanted = np.ones(len(kept), bool)
    unplanted[planted.ravel()] = False
    gone = np.flatnonzero(~kept & unplanted)
    similar = truth.best(known.index, gone, kept)
    named = places(made.articles)
    articles = np.array([document.source == ARTICLES for document in made.documents])
    articles[named.ravel()] = False
    return {
        "recall": resolved(kept, planted),
        **{f"recall_{kind}": share for kind, share in by_kind.items()},
        **{f"recall_{name.split('/')[1]}": resolved(kept, pairs) for name, pairs in known.natural.items()},
        "articles_found": resolved(kept, named),
        "articles_wrong": int((~kept & articles).sum()),
        "gone": len(gone),
        "gone_above_0.5": float(np.mean(similar >= 0.5)) if len(gone) else 1.0,
        "gone_above_0.7": float(np.mean(similar >= 0.7)) if len(gone) else 1.0,
    }


def expected(known: Known) -> dict[str, float]:
    """What the bands alone would find, by kind."""
    curve = {kind: float(np.mean(1 - (1 - s**ROWS) ** BANDS)) for kind, s in known.similarity.items()}
    return {"recall": statistics.mean(curve.values()), **{f"recall_{kind}": share for kind, share in curve.items()}}


def speed_table(ran: dict[str, Ran], documents: int, megabytes: float) -> Grid:
    """Seconds, speeds, memory, kept."""
    grid = Grid("side", "seconds", "MB/s", "documents/s", "peak MiB", "largest process", "kept", "all rounds")
    for name, one in ran.items():
        speeds = [f"{megabytes / one.median:.2f}", f"{documents / one.median:,.0f}"]
        memory = [f"{one.first.tree_mib:,.0f}", f"{one.first.largest_mib:,.0f}"]
        rounds = ", ".join(f"{seconds:.1f}" for seconds in one.seconds)
        grid.add_row(name, f"{one.median:.1f}", *speeds, *memory, f"{one.kept.sum():,}", rounds)
    return grid


def quality_table(found: dict[str, dict[str, Any]], curve: dict[str, float]) -> Grid:
    """A row for every number, a column for every side."""
    grid = Grid("", "expected", *found)
    for key in next(iter(found.values())):
        told = [f"{one[key]:.3f}" if isinstance(one[key], float) else str(one[key]) for one in found.values()]
        grid.add_row(key, f"{curve[key]:.3f}" if key in curve else "", *told)
    return grid


def summary(ran: dict[str, Ran], found: dict[str, dict[str, Any]], megabytes: float, curve: dict[str, float]) -> str:
    """The last line."""
    speed = {name: megabytes / one.median for name, one in ran.items()}
    ours = max(speed[name] for name in speed if not SIDES[name].peer)
    peers: dict[str, float] = {}
    for name in ran:
        if SIDES[name].peer:
            peers[SIDES[name].peer] = max(speed[name], peers.get(SIDES[name].peer, 0.0))
    ratios = {f"times_{peer}": ours / value for peer, value in peers.items()}
    told = {"bench": "dedup", "unit": "MB/s", "ours": ours, "peers": peers, "ratio": ours / max(peers.values())}
    parts = {"megabytes": megabytes, "speed": speed, **ratios, "expected": curve, "sides": found}
    peaks = {name: round(one.first.tree_mib) for name, one in ran.items()}
    return json.dumps({**told, "quality": parts, "peak_mb": peaks, "machine": machine()})


def main() -> int:
    """Measure, print tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=110, help="of text, beside what is planted")
    parser.add_argument("--sides", default=",".join(SIDES), help="which, in this order")
    options = parser.parse_args()
    folder = os.environ.get("HARE_DATA")
    names = [name for name in options.sides.split(",") if SIDES[name].python.exists()]
    absent = sorted(set(options.sides.split(",")) - set(names))
    if not folder or all(SIDES[name].peer for name in names) or not any(SIDES[name].peer for name in names):
        print(f"needs HARE_DATA (now {folder!r}), a side of ours and a peer; without a venv in .bench: {absent}")
        return 1
    console = Console(width=240) if not sys.stdout.isatty() else Console()
    made = corpus(Path(folder), options.megabytes)
    megabytes, documents = made.text_bytes / 1e6, len(made.documents)
    with tempfile.TemporaryDirectory(prefix="hare-bench-") as source:
        write(made.documents, Path(source) / "in", FILES)
        console.print(f"{documents:,} documents, {megabytes:.1f} MB of text in {FILES} files; without a venv: {absent}")
        ran = measured(names, Path(source) / "in", documents, console)
    known = known_of(made)
    found, curve = {name: quality(one.kept, known) for name, one in ran.items()}, expected(known)
    console.print(speed_table(ran, documents, megabytes), quality_table(found, curve))
    console.print({name: f"{len(pairs):,} pairs of {CLOSE} and more" for name, pairs in known.natural.items()})
    assert len({one.kept.tobytes() for name, one in ran.items() if not SIDES[name].peer}) == 1, "ours differ"
    print(summary(ran, found, megabytes, curve))
    return 0


if __name__ == "__main__":
    sys.exit(main())
