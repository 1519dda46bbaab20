"""How deduplication grows: 1, 10 and 50 million documents on Ray with two workers, on this machine's disk.

    make bench-dedup-scale
    python -m tests.bench.dedup_scale --sizes 1e6        a trial

Documents of 100 to 300 words are made of their numbers inside the worker that signs them (tests/bench/scale_stages.py):
their text is never on disk, signatures, runs and verdicts are. Each size is a process of its own over an empty root.
Steps: sign, whose share of making the texts is measured beside and told; duplicates, all of it; keep, of ids alone.
Recall: share of planted copies of which, with their original, at most one stays; `expected` is the mean of
1 - (1 - J^8)^14 over them, J the least that their changes leave. Wrongly removed: originals of which nothing stays,
neither they nor a copy.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.dedup.duplicates import Duplicates
from hare_ray.engine import run
from hare_ray.hardware import machine
from hare_ray.on_ray import OnRay
from hare_ray.stage import Keep
from hare_ray.store import Root
from tests.bench.scale_stages import Numbered, NumberedSignature, Ranges, origins, similarities, texts
from tests.bench.watched import Disk, timed

SIZES = "1e6,1e7,5e7"
PART_DOCUMENTS = 50_000
"""60 MB of text."""
WORKERS = 2
BANDS, ROWS = 14, 8
MEMORY_BYTES = 1 << 30
BUDGET_MIB = 4096
"""Two tasks of MEMORY_BYTES, what a task cannot count (libraries, Ray) and the union-find's 4 bytes a text."""
LIMIT_SECONDS = 3600
WARM_UP = 2 * PART_DOCUMENTS
"""Documents of a run that nobody counts: it compiles what is compiled once."""
MADE = 200_000
"""Documents made to time the making."""


def graph(documents: int) -> Keep:
    """The whole of it."""
    ranges = Ranges(documents=documents, part_documents=PART_DOCUMENTS)
    docs = Numbered(ranges=ranges)
    signature = NumberedSignature(label="sign", docs=docs, ngram=5, unit="word", bands=BANDS, rows=ROWS, seed=1)
    duplicates = Duplicates(
        docs=docs, signatures=signature, min_similarity=0.5, prefer=("words",), memory_bytes=MEMORY_BYTES
    )  # fmt: skip
    return Keep(label="unique", docs=docs, verdicts=(duplicates,))


def kept_parts(root: Path, manifest: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """The first number of every part, and which of its documents stay."""
    first = 0
    folder = root / manifest["name"] / manifest["fingerprint"][:12]
    for number, part in enumerate(manifest["parts"]):
        reason = pq.read_table(folder / f"part-{number:05d}.parquet", columns=["reason"])["reason"]
        yield first, pc.is_null(reason).to_numpy()
        first += part["rows"]


def quality(root: Path, manifest: dict[str, Any], documents: int) -> dict[str, float]:
    """Recall and what was wrongly removed."""
    kept, stays = np.zeros(documents, bool), np.zeros(documents, bool)
    for first, here in kept_parts(root, manifest):
        kept[first : first + len(here)] = here
        stays[origins(first + np.flatnonzero(here))] = True
    copies = both = wrong = 0
    expected = 0.0
    for first in range(0, documents, PART_DOCUMENTS):
        numbers = np.arange(first, min(documents, first + PART_DOCUMENTS))
        origin = origins(numbers)
        copy = numbers[origin != numbers]
        copies += len(copy)
        both += int((kept[copy] & kept[origin[origin != numbers]]).sum())
        expected += float((1 - (1 - similarities(copy) ** ROWS) ** BANDS).sum())
        wrong += int((~stays[numbers[origin == numbers]]).sum())
    found = {"recall": 1 - both / copies, "expected_recall": expected / copies}
    return {**found, "wrongly_removed": wrong, "kept": int(kept.sum()), "copies": copies}


def one(documents: int, root: Path) -> dict[str, Any]:
    """Run one size; what it took and what came of it."""
    began = time.perf_counter()
    engine = OnRay(Root(str(root)), WORKERS)
    start = time.perf_counter() - began
    began = time.perf_counter()
    with Disk(root) as disk:
        manifests = run(graph(documents), root=str(root), executor=lambda _: engine)
    seconds = time.perf_counter() - began
    signed = manifests["sign"]["run"]
    books = {key: value for key, value in manifests["duplicates"]["books"].items() if isinstance(value, int)}
    return {
        "documents": documents,
        "seconds": seconds,
        "ray_start_seconds": start,
        "sign_seconds": signed["seconds"],
        "sign_worker_seconds": signed["worker_seconds"].get("sign", 0.0),
        "duplicates_seconds": manifests["duplicates"]["run"]["seconds"],
        "keep_seconds": manifests["unique"]["run"]["seconds"],
        "disk_gb": disk.most / 1e9,
        "scratch_bytes_per_document": disk.scratch / documents,
        "books": books,
        **quality(root, manifests["duplicates"], documents),
    }


def making() -> tuple[float, float]:
    """Seconds and bytes of making one document, on one core."""
    texts(np.arange(10))
    began, made = time.perf_counter(), 0
    for first in range(0, MADE, PART_DOCUMENTS):
        made += int(pc.sum(pc.binary_length(texts(np.arange(first, first + PART_DOCUMENTS)))).as_py())
    return (time.perf_counter() - began) / MADE, made / MADE


def table(sizes: list[dict[str, Any]], make_seconds: float, document_bytes: float) -> Grid:
    """A column for every size."""
    grid = Grid("", *(f"{one['documents']:,}" for one in sizes))
    for key in sizes[0]:
        if key != "books":
            grid.add_row(
                key, *(f"{one[key]:,.4g}" if isinstance(one[key], float) else f"{one[key]:,}" for one in sizes)
            )
    grid.add_row("documents/s", *(f"{one['documents'] / one['seconds']:,.0f}" for one in sizes))
    grid.add_row("MB/s", *(f"{one['documents'] * document_bytes / 1e6 / one['seconds']:,.1f}" for one in sizes))
    grid.add_row("of sign: making texts", *(f"{make_seconds * one['documents'] / WORKERS:,.1f}" for one in sizes))
    for key in sorted({key for one in sizes for key in one["books"]}):
        grid.add_row(key, *(f"{one['books'].get(key, 0):,}" for one in sizes))
    return grid


def measured(documents: int) -> dict[str, Any]:
    """One size in a process of its own."""
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    try:
        told = root / "told.json"
        command = [
            sys.executable,
            "-m",
            "tests.bench.dedup_scale",
            "--one",
            str(documents),
            str(root / "root"),
            str(told),
        ]
        took = timed(command, root / "log", watch=True, limit_seconds=LIMIT_SECONDS)
        return {**json.loads(told.read_text()), "peak_mib": took.tree_mib, "largest_process_mib": took.largest_mib}
    finally:
        shutil.rmtree(root)


def main() -> int:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help="numbers of documents, the smallest first")
    parser.add_argument("--one", nargs=3, metavar=("DOCUMENTS", "ROOT", "OUT"), help="what a process of one size does")
    options = parser.parse_args()
    if options.one:
        documents, root, out = options.one
        Path(root).mkdir(parents=True)
        Path(out).write_text(json.dumps(one(int(documents), Path(root))))
        return 0
    console = Console(width=160) if not sys.stdout.isatty() else Console()
    make_seconds, document_bytes = making()
    console.print(f"making a document: {make_seconds * 1e6:.1f} us on one core, ", end="")
    console.print(f"{document_bytes:.0f} bytes, {document_bytes / 1e6 / make_seconds:.0f} MB/s")
    measured(WARM_UP)
    sizes = []
    for size in options.sizes.split(","):
        sizes.append(measured(int(float(size))))
        console.print(f"{size}: {sizes[-1]['seconds']:.0f} s, peak {sizes[-1]['peak_mib']:,.0f} MiB")
    console.print(table(sizes, make_seconds, document_bytes))
    per_document = [one["seconds"] / one["documents"] for one in sizes]
    growth = per_document[-1] / per_document[0]
    quality = {"time_per_doc_growth": growth, "budget_mib": BUDGET_MIB, "making_seconds": make_seconds, "sizes": sizes}
    peaks = {str(one["documents"]): round(one["peak_mib"]) for one in sizes}
    told = {"bench": "dedup-scale", "unit": "documents/s", "ours": 1 / per_document[-1], "peers": {}, "ratio": None}
    print(json.dumps({**told, "quality": quality, "peak_mb": peaks, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
