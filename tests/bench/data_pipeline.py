"""The data pipeline of training alone: random steps out of packed shards, in tokens a second of one core.

    make bench-data-pipeline
    python -m tests.bench.data_pipeline --tokens 5000000        a smaller trial

Ours is all that a step of one worker needs before the model runs, in one thread (`hare_ray.train.reading.Reader.read`):
the order's arithmetic, the rows, segments and positions of their documents, what attention must know of them, and the
counts. Peer `memmap`: what nanoGPT's `get_batch` does, random windows of one memory-mapped file of uint16 as int64
inputs and targets (https://github.com/karpathy/nanoGPT, train.py), without documents, order or counts. Rows are of T
tokens, documents of log-normal lengths, files in the page cache; medians of three, in turn. `share_of_step`: time of
the pipeline for a token over that of a step, where a GPU trains the 1 B preset at its goal of 66,000 tokens/s.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.hardware import machine
from hare_ray.storage import arrow
from hare_ray.train.sequences import PackedTable

T, STEP_ROWS, MICRO_ROWS = 2048, 128, 8
PARTS = 8
VOCABULARY = 32_000
MEDIAN_TOKENS = 500
"""Of a document: web pages have about so many."""

SPREAD = 1.0
"""Standard deviation of the logarithm of a document's tokens."""

PADDING = 0.01
"""Of a row at most; half as much on average."""

ROUNDS = 3
STEPS = 40
GOAL = 66_000
"""Tokens/s of a GPU."""


def made(
    folder: Path, *, rows: int, width: int, vocabulary: int, median: int, seed: int, parts: int = 1
) -> PackedTable:
    """A packed table of random tokens in documents of random lengths; what does not fit into a row opens the next."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    sizes = [len(each) for each in np.array_split(np.arange(rows), parts)]
    for part, size in enumerate(sizes):
        (folder / f"part-{part:05d}.arrow").write_bytes(arrow(_rows(rng, size, width, vocabulary, median)))
    return PackedTable(str(folder), tuple(sizes))


def _rows(rng: np.random.Generator, rows: int, width: int, vocabulary: int, median: int) -> pa.Table:
    tokens = rng.integers(4, vocabulary, rows * width, np.uint16)
    drawn = np.cumsum(2 + rng.lognormal(np.log(median), SPREAD, 2 * rows * width // median).astype(np.int64))
    edges = np.union1d(drawn[drawn < rows * width], np.arange(1, rows + 1) * width)
    lengths = np.diff(edges, prepend=0)
    row = (edges - 1) // width
    bounds = np.searchsorted(row, np.arange(rows + 1))
    last = bounds[1:] - 1
    lengths[last] -= np.minimum(lengths[last] - 1, rng.integers(0, max(1, int(PADDING * width)), rows))
    offsets, starts = pa.array(bounds, pa.int32()), np.zeros(len(lengths), np.uint32)
    ids = pa.array([n.to_bytes(16, "little") for n in range(len(lengths))], pa.binary(16))
    columns = {
        "tokens": pa.Array.from_buffers(pa.binary(2 * width), rows, [None, pa.py_buffer(tokens)]),
        "lengths": pa.ListArray.from_arrays(offsets, pa.array(lengths, pa.uint32())),
        "documents": pa.ListArray.from_arrays(offsets, ids),
        "starts": pa.ListArray.from_arrays(offsets, pa.array(starts)),
    }
    return pa.table(columns)


def ours(table: PackedTable, steps: int) -> tuple[Callable[[], int], float]:
    """Reads all steps and says how many tokens those were; and the share of padding."""
    import torch

    from hare_ray.model.attention import Backend
    from hare_ray.train.order import Order
    from hare_ray.train.reading import Reader
    from hare_ray.train.settings import Plan, Ranks

    rows = sum(table.rows)
    asked: dict[str, Any] = {"tables": (table,), "order": Order((rows,), (rows,), 1), "sequence_tokens": T}
    asked |= {"token_bytes": 2, "batch_sequences": STEP_ROWS, "micro_batch": MICRO_ROWS, "workers": (1, 1)}
    unused: Any = dict.fromkeys({field.name for field in fields(Plan)} - asked.keys())
    plan = Plan(**asked, **unused)
    alone = Ranks(0, 1, lambda value: [value])
    reader = Reader(plan, alone, Backend("torch_varlen", "what a GPU has"), torch.device("cpu"))
    real = sum(int(reader.read(step).counts[1]) for step in range(steps))  # and everything is mapped

    def go() -> int:
        for step in range(steps):
            reader.read(step)
        return steps * STEP_ROWS * T

    return go, 1 - real / (steps * STEP_ROWS * T)


def memmap(table: PackedTable, file: Path, steps: int) -> Callable[[], int]:
    """The same tokens one after the other in one file, in random windows."""
    import torch

    with file.open("wb") as stored:
        for part in range(len(table.rows)):
            rows = pa.ipc.open_file(table.part_url(part)).get_batch(0)
            stored.write(memoryview(rows.column("tokens").buffers()[1])[: rows.num_rows * 2 * T])
    generator = torch.Generator().manual_seed(1)

    def go() -> int:
        for _ in range(steps):
            data = np.memmap(file, np.uint16, "r")  # Anew for every batch, as there, against its growing memory.
            for _ in range(STEP_ROWS // MICRO_ROWS):
                at = torch.randint(len(data) - T, (MICRO_ROWS,), generator=generator).tolist()
                for first in (0, 1):
                    torch.stack([torch.from_numpy(data[n + first : n + first + T].astype(np.int64)) for n in at])
        return steps * STEP_ROWS * T

    return go


def speeds(sides: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Tokens a second of CPU time, medians of rounds in turn; the cores of others do not count."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, go in sides.items():
            began = time.process_time()
            tokens = go()
            took[name].append(tokens / (time.process_time() - began))
    return {name: statistics.median(each) for name, each in took.items()}


def main() -> int:
    """Measure, print a table and one line of JSON."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=50_000_000, help="of the table")
    rows = max(STEP_ROWS, parser.parse_args().tokens // T)
    torch.set_num_threads(1)
    steps = min(STEPS, rows // STEP_ROWS)
    with tempfile.TemporaryDirectory(prefix="hare-bench-") as name:
        folder = Path(name)
        table = made(
            folder / "packed", rows=rows, width=T, vocabulary=VOCABULARY, median=MEDIAN_TOKENS, seed=1, parts=PARTS
        )
        go, padding = ours(table, steps)
        speed = speeds({"ours": go, "memmap": memmap(table, folder / "tokens.bin", steps)})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # mapped files among it
    grid = Grid("pipeline", "tokens/s/core", "of a step at 66,000 tokens/s")
    for side, each in speed.items():
        grid.add_row(side, f"{each:,.0f}", f"{GOAL / each:.3%}")
    Console().print(grid)
    quality = {"share_of_step": GOAL / speed["ours"], "padding": padding, "tokens": rows * T, "parts": PARTS}
    peers = {"memmap": speed["memmap"]}
    said = {"bench": "data-pipeline", "unit": "tokens/s/core", "ours": speed["ours"], "peers": peers}
    said |= {"ratio": speed["ours"] / speed["memmap"], "quality": quality, "peak_mb": {"both": peak}}
    print(json.dumps({**said, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
