"""The two embedders: documents a second, and how many of the full model's neighbours the static one keeps.

    make bench-embed        (HARE_DATA: folder of real data; .bench/embed: model2vec's own venv)

Wikipedia articles of 200 characters and more, by the hashes of their addresses: the first 12,000 are judged, 2,000 of
them as queries whose ten nearest of the 10,000 others by MiniLM (first 128 tokens) are the truth. StaticModel learns
from the rest. potion-base-4m by model2vec reads the same beginnings. The full path and sentence-transformers' own
`encode` (float32, its defaults) are timed in turn on the same documents; everything on one core.
"""

import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.cluster.embed import CHARACTERS_PER_TOKEN, Embed, beginnings
from hare_ray.cluster.packaged import embedder
from hare_ray.cluster.sample import normalised, vectors_of
from hare_ray.cluster.static import REPORT, StaticModel, nearest
from hare_ray.cluster.static_embed import EmbedStatic
from hare_ray.hardware import cores, machine
from hare_ray.schema import DOCUMENT
from hare_ray.stage import PartFunction, Source, Table

MIN_CHARACTERS = 200
JUDGED, QUERIES, NEAR = 12_000, 2_000, 10
TRUTH_ROWS = 500
"""Documents of a task that asks the full model."""
TIMED, ROUNDS = 192, 3
"""Documents that the full paths are timed on, and how often."""
REPEATS = 5
"""Of the static path in a round: one alone is over in a fifth of a second."""
PEER = Path(".bench/embed/bin/python")
POTION = "models/potion-base-4m-int8"


class Docs(Table):
    """The articles."""

    writes = DOCUMENT


DOCS, MODEL = Docs(), Source(label="teacher", location="teacher")
FULL = Embed(
    docs=DOCS, model=MODEL, dimensions=384, max_tokens=128, max_chunks=1, batch_rows=8, dtype="bfloat16",
)  # fmt: skip
STATIC = StaticModel(
    docs=DOCS, model=MODEL, dimensions=384, max_tokens=128, max_words=100, half_words=50.0, vocabulary=50_000,
    min_documents=2, vocabulary_rows=50_000, sample_rows=12_000, held_out=0.05, ridge=1.0, steps=15, batch_rows=8,
    dtype="bfloat16", seed=1,
)  # fmt: skip
FAST = EmbedStatic(docs=DOCS, static=STATIC, dimensions=384)


@dataclass(frozen=True)
class Desk:
    """What a Make sees, over one Parquet file, with its tasks on all cores."""

    folder: Path
    source: Path

    @property
    def lasting(self) -> str:
        """Beside the folder."""
        return f"{self.folder}-lasting"

    def rows(self, _: Table) -> list[int]:
        """One part."""
        return [pq.read_metadata(self.source).num_rows]

    def read(self, _: Table, __: int, columns: tuple[str, ...]) -> pa.Table:
        """The part."""
        return pq.read_table(self.source, columns=list(columns))

    def files(self, _: Source) -> Path:
        """The teacher's folder."""
        return Path(embedder())

    def map(self, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        """In processes of their own."""
        with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
            return list(pool.map(function, items))


def articles(folder: Path) -> pa.Table:
    """Title and text, in the order of the hashes of their addresses."""
    with gzip.open(folder / "text/enwiki_2014_dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if len(row["text"] or "") >= MIN_CHARACTERS]
    rows.sort(key=lambda row: xxhash.xxh3_64_intdigest(row["url"].encode()))
    texts = pa.array([row["text"] for row in rows], pa.large_string())
    return pa.table({"title": pa.array([row["title"] for row in rows], pa.string()), "text": texts})


def ask(source: Path, start: int) -> NDArray[np.float32]:
    """The full model's vectors of some documents."""
    rows = pq.read_table(source).slice(start, TRUTH_ROWS)
    return vectors_of(FULL.prepare(lambda _: Path(embedder()))(rows))


def recall(truth: NDArray[np.float32], vectors: NDArray[np.float32]) -> float:
    """Share of the nearest by the full model that are among the nearest by another."""
    pairs = zip(nearest(truth, QUERIES, NEAR), nearest(normalised(vectors), QUERIES, NEAR), strict=True)
    return float(np.mean([len(np.intersect1d(*pair)) for pair in pairs])) / NEAR


def rate(function: Callable[[], object], documents: int) -> float:
    """Documents a second of one call."""
    began = time.perf_counter()
    function()
    return documents / (time.perf_counter() - began)


def full_speeds(judged: pa.Table) -> tuple[float, float]:
    """Documents a second: ours, and sentence-transformers as it comes."""
    from sentence_transformers import SentenceTransformer

    some = judged.slice(0, TIMED)
    ours = FULL.prepare(lambda _: Path(embedder()))
    plain = SentenceTransformer(embedder(), device="cpu", local_files_only=True)
    plain.max_seq_length = FULL.max_tokens
    texts = beginnings(some, CHARACTERS_PER_TOKEN * FULL.max_tokens).to_pylist()
    calls: list[Callable[[], object]] = [partial(ours, some), partial(plain.encode, texts, show_progress_bar=False)]
    rounds = [[rate(call, TIMED) for call in calls] for _ in range(ROUNDS)]
    mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    return mine, theirs


def static_speed(fast: PartFunction, judged: pa.Table) -> float:
    """Documents a second of the static path, title and text to float16 rows."""
    fast(judged.slice(0, 100))
    return statistics.median(
        rate(lambda: [fast(judged) for _ in range(REPEATS)], REPEATS * len(judged)) for _ in range(ROUNDS)
    )


def peak_mb() -> int:
    """Most memory that this process has held, in MiB; ru_maxrss would begin with that of the parent."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def potion(folder: Path, judged: pa.Table, work: Path) -> tuple[NDArray[np.float32], dict[str, float]]:
    """model2vec's vectors of the same beginnings, and its speed."""
    texts = beginnings(judged, CHARACTERS_PER_TOKEN * FULL.max_tokens).combine_chunks()
    pq.write_table(pa.table({"document": texts}), work / "texts.parquet")
    script = Path(__file__).parent / "peers" / "embed_model2vec.py"
    command = [str(PEER), str(script), str(folder / POTION), str(work / "texts.parquet"), str(work / "potion.npy")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split("\n")[-1]
    return np.load(work / "potion.npy"), json.loads(told)


def measured(folder: Path, work: Path) -> dict[str, Any]:
    """The line of JSON, less what every benchmark says."""
    every = articles(folder)
    judged = every.slice(0, JUDGED)
    pq.write_table(judged, work / "judged.parquet")
    pq.write_table(every.slice(JUDGED), work / "learned.parquet")
    desk: Any = Desk(work / "static", work / "learned.parquet")
    desk.folder.mkdir()
    truth = np.concatenate(desk.map(partial(ask, work / "judged.parquet"), list(range(0, JUDGED, TRUTH_ROWS))))
    began = time.perf_counter()
    STATIC.make(desk)
    learning = time.perf_counter() - began
    fast = FAST.prepare(lambda _: desk.folder)
    ours = vectors_of(fast(judged))
    theirs, told = potion(folder, judged, work)
    full, plain = full_speeds(judged)
    quality = {
        "recall_at_10": recall(truth, ours),
        "recall_at_10_potion": recall(truth, theirs),
        "cosine": float(np.einsum("dv,dv->d", truth, ours).mean()),
        "full_documents_per_second": full,
        "sentence_transformers_documents_per_second": plain,
        "seconds_to_learn": learning,
        "report": json.loads((desk.folder / REPORT).read_text()),
    }
    speed = static_speed(fast, judged)
    peers = {"model2vec": told["documents_per_second"]}
    peak = {"ours": peak_mb(), "model2vec": told["peak_mb"]}
    return {"ours": speed, "peers": peers, "ratio": speed / peers["model2vec"], "quality": quality, "peak_mb": peak}


def main() -> int:
    """Measure, print a table and one line of JSON."""
    folder = os.environ.get("HARE_DATA")
    if not folder or not PEER.exists():
        print(f"needs HARE_DATA (now {folder!r}) and {PEER}; see tests/bench/peers/embed.txt")
        return 1
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes to come; this one limits its threads where it counts
    with tempfile.TemporaryDirectory() as name:
        told = measured(Path(folder), Path(name))
    quality = told["quality"]
    grid = Grid("embedder", "documents/s/core", "recall@10 of the full one's neighbours")
    grid.add_row("full: ours", f"{quality['full_documents_per_second']:.1f}", "1")
    grid.add_row("full: sentence-transformers", f"{quality['sentence_transformers_documents_per_second']:.1f}", "")
    grid.add_row("static: ours", f"{told['ours']:.0f}", f"{quality['recall_at_10']:.4f}")
    grid.add_row("static: potion", f"{told['peers']['model2vec']:.0f}", f"{quality['recall_at_10_potion']:.4f}")
    Console().print(grid)
    print(json.dumps({"bench": "embed", "unit": "documents/s/core", **told, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
