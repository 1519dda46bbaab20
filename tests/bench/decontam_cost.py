"""What the search for leaks costs beside deduplication, both from Parquet to verdicts on disk, in one process.

    dedup    signatures and duplicates         alone    the search by itself
    both     the two, in one pass over the words of the same documents

Each side reads the same documents of an earlier run and writes what it finds; seconds of wall time of the engine's
plain loop, medians, in turn.
"""

import json
import shutil
import statistics
import time
from pathlib import Path

import pyarrow.parquet as pq

from hare_ray.corpus.extract import Extract
from hare_ray.corpus.read import Read
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.signature import Signature
from hare_ray.engine import Settings, run
from hare_ray.gather import Desk
from hare_ray.leakage.decontaminate import Decontaminate
from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.leaks import Rule
from hare_ray.stage import Make, Source, Stage

ROUNDS = 3


class Items(Make):
    """Items that exist already."""

    location: str

    def make(self, desk: Desk) -> dict[str, int]:
        shutil.copy(Path(self.location) / "items.parquet", desk.folder / "items.parquet")
        return {"items": pq.read_metadata(desk.folder / "items.parquet").num_rows}


def seconds_of(items: Path, texts: list[str], numbers: dict, rule: Rule, work: Path) -> dict[str, float]:
    """Median seconds by side."""
    work.mkdir()
    lines = (json.dumps({"text": text, "url": f"https://example.org/{n}"}) for n, text in enumerate(texts))
    (work / "articles.jsonl").write_text("\n".join(lines))
    read = Read(files=Source(location=str(work / "articles.jsonl")), sample=1.0, max_payload_bytes=1 << 24)
    docs = Extract(
        docs=read, engine="model", max_payload_bytes=1 << 24, max_depth=100, max_broken_share=0.1, min_chars=1
    )
    index = LeakIndex(benchmarks=(Items(location=str(items)),), **numbers)
    run(docs, index, root=str(work / "base"))
    signature = Signature(docs=docs, ngram=5, unit="word", bands=14, rows=8, seed=1)
    duplicates = Duplicates(docs=docs, signatures=signature, min_similarity=0.5, prefer=("words",))
    leaks = Decontaminate(docs=docs, index=index, rule=rule)
    sides: dict[str, tuple[Stage, ...]] = {"dedup": (duplicates,), "alone": (leaks,), "both": (duplicates, leaks)}
    took: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(ROUNDS + 1):  # the first one loads what is compiled, and does not count
        for side, targets in sides.items():
            began = time.perf_counter()
            run(*targets, root=str(work / f"{side}-{turn}"), settings=Settings(reuse=str(work / "base")))
            took[side].append(time.perf_counter() - began)
    return {side: statistics.median(values[1:]) for side, values in took.items()}
