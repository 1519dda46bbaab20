"""Damaged files of rows: nothing may escape a reader but records, any cuts must give what the whole gives.

    python -m tests.bench.fuzz_rows [seconds] [first seed]

Each input is a small Parquet, Arrow or JSON lines file, plain or compressed, with bits flipped, bytes overwritten,
stretches cut out, doubled or inserted, or its end cut off. It is read whole and over random cuts, in a child process:
an input that ends the process, runs longer than `SLOW_SECONDS` or takes more than `MOST_MB` of memory is reported with
its seed, and the next goes on. Prints a table and one line of JSON; returns 1 where anything was found.
"""

import bz2
import gzip
import io
import itertools
import json
import lzma
import multiprocessing
import random
import resource
import sys
import time
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.corpus.read_rows import arrow_rows, json_rows, parquet_rows

LIMIT_BYTES = 1 << 16
SLOW_SECONDS = 20
MOST_MB = 1500
INPUTS_PER_PROCESS = 500
KINDS = ("parquet", "arrow", "jsonl", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "jsonl.xz")
PACK = {"": bytes, "gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}


def table(random_: random.Random) -> pa.Table:
    """Some rows of text with an origin, in one of the types that text is stored in."""
    count = random_.randint(0, 60)
    words = [random_.choice(["text", "e\u0301", "\n", "a much longer word " * 20, "", '"\\']) for _ in range(count)]
    text = pa.array([random_.choice([word, None, word * 3]) for word in words], pa.string())
    kind = random_.choice([pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
    text = text.dictionary_encode() if pa.types.is_dictionary(kind) else text.cast(kind)
    nested = [random_.choice([None, {"url": "u", "license": None}]) for _ in range(count)]
    rows = {"n": range(count), "text": text, "url": words, "metadata": pa.array(nested, ORIGIN)}
    return pa.table(rows)


ORIGIN = pa.struct([("url", pa.string()), ("license", pa.string())])


def intact(random_: random.Random, kind: str) -> bytes:
    """A file of the kind."""
    rows = table(random_)
    stored = io.BytesIO()
    if kind == "parquet":
        packing = random_.choice(["none", "snappy", "zstd", "gzip", "lz4"])
        version = random_.choice(["1.0", "2.0"])
        size = random_.randint(1, 30)
        dictionary = random_.random() < 0.5
        pq.write_table(rows, stored, size, compression=packing, data_page_version=version, use_dictionary=dictionary)
    elif kind == "arrow":
        options = pa.ipc.IpcWriteOptions(compression=random_.choice([None, "zstd", "lz4"]))
        make = pa.ipc.new_file if random_.random() < 0.3 else pa.ipc.new_stream
        rows = rows.combine_chunks() if make is pa.ipc.new_file else rows
        with make(stored, rows.schema, options=options) as writer:
            writer.write_table(rows, max_chunksize=random_.randint(1, 30))
    else:
        lines = "".join(json.dumps(row, ensure_ascii=random_.random() < 0.5) + "\n" for row in rows.to_pylist())
        return PACK[kind.partition(".")[2]](lines.encode())
    return stored.getvalue()


def mutated(random_: random.Random, stored: bytes) -> bytes:
    """The file with up to five kinds of damage."""
    data = bytearray(stored)
    for _ in range(random_.randint(0, 5)):
        at = random_.randrange(len(data) + 1)
        length = random_.choice([1, 1, 4, 8, random_.randint(0, len(data))])
        damage = random_.randrange(6)
        if damage == 0 and at < len(data):
            data[at] ^= 1 << random_.randrange(8)
        elif damage == 1:
            data[at : at + length] = random_.randbytes(min(length, len(data) - at))
        elif damage == 2:
            del data[at : at + length]
        elif damage == 3:
            data[at:at] = random_.randbytes(min(length, 100))
        elif damage == 4:
            data[at:at] = data[at : at + length]
        elif damage == 5 and random_.random() < 0.3:
            del data[at:]
    return bytes(data)


def check(kind: str, seed: int) -> Counter:
    """Read one input whole and over cuts; the reasons of its records."""
    random_ = random.Random(f"{kind}{seed}")
    stored = mutated(random_, intact(random_, kind))
    reader = {"parquet": parquet_rows, "arrow": arrow_rows}.get(kind, json_rows)
    limit = random_.choice([10, LIMIT_BYTES])

    def rows(start, end):
        return list(reader(io.BytesIO(stored), "a." + kind, start, end, limit))

    whole = rows(0, -1)
    cuts = sorted(random_.randrange(len(stored) + 2) for _ in range(random_.randint(1, 4)))
    edges = [0, *cuts, random_.choice([-1, max(len(stored), cuts[-1])])]
    pieces = [row for start, end in itertools.pairwise(edges) if start != end for row in rows(start, end)]
    if pieces != whole:
        apart = next((pair for pair in zip(pieces, whole, strict=False) if pair[0] != pair[1]), None)
        raise AssertionError(f"cuts {edges}: {len(pieces)} records, {len(whole)} in the whole, first apart {apart}")
    for row in whole:
        assert (row.payload is None) <= (row.reason is not None)
        json.dumps([row.url, row.title, row.license, row.detail], ensure_ascii=False).encode()
        assert -(2**63) <= row.offset < 2**63
    return Counter(str(row.reason) for row in whole)


def work(kind: str, first: int, told) -> None:
    """Check inputs from a seed on, telling of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MB * 4 << 20, MOST_MB * 4 << 20))
    for seed in range(first, first + INPUTS_PER_PROCESS):
        told.send(("begun", seed))
        began = time.monotonic()
        try:
            reasons, wrong = check(kind, seed), ""
        except BaseException as failed:
            reasons, wrong = Counter(), f"{type(failed).__name__}: {failed}"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        if memory > MOST_MB:
            wrong = wrong or f"{memory} MB"
        told.send(("done", seed, reasons, wrong, time.monotonic() - began, memory))
        if memory > MOST_MB:
            return


def supervise(kind: str, first: int) -> tuple[int, Counter, list[str], float, int]:
    """Run one child; how many inputs it read, their reasons, what was wrong, the longest seconds, its memory."""
    here, there = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=work, args=(kind, first, there))
    child.start()
    there.close()
    inputs, reasons, wrong, slowest, memory, seed = 0, Counter(), [], 0.0, 0, first
    while inputs < INPUTS_PER_PROCESS:
        if not here.poll(SLOW_SECONDS):
            wrong.append(f"{kind} {seed}: no end after {SLOW_SECONDS} s")
            inputs += 1
            break
        try:
            what, seed, *rest = here.recv()
        except EOFError:
            child.join()
            wrong.append(f"{kind} {seed}: the process ended with {child.exitcode}")
            inputs += 1
            break
        if what == "done":
            inputs += 1
            reasons += rest[0]
            wrong += [f"{kind} {seed}: {rest[1]}"] if rest[1] else []
            slowest, memory = max(slowest, rest[2]), max(memory, rest[3])
    child.kill()
    child.join()
    return inputs, reasons, wrong, slowest, memory


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    next_seed = dict.fromkeys(KINDS, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    inputs, reasons = Counter(), {kind: Counter() for kind in KINDS}
    wrong, slowest, memory = [], Counter(), Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for kind in KINDS:
            count, found, bad, slow, most = supervise(kind, next_seed[kind])
            next_seed[kind] += count
            inputs[kind] += count
            reasons[kind] += found
            wrong += bad
            slowest[kind], memory[kind] = max(slowest[kind], slow), max(memory[kind], most)
    grid = Grid("files", "inputs", "records by reason", "slowest, s", "memory, MB")
    for kind in KINDS:
        told = ", ".join(f"{reason} {count}" for reason, count in reasons[kind].most_common())
        grid.add_row(kind, str(inputs[kind]), told, f"{slowest[kind]:.2f}", str(memory[kind]))
    Console().print(grid, *wrong[:50], sep="\n")
    print(json.dumps({"fuzz": "rows", "inputs": dict(inputs), "wrong": len(wrong)}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
