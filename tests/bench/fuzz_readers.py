"""Fuzz the readers of archives: damaged copies of real and made files, read whole and in stretches.

    python tests/bench/fuzz_readers.py --seconds 120 --seed 0

Every input is a file with up to four damages: bits flipped, a range cut out, overwritten, doubled or put elsewhere,
noise or another file's bytes put in, the end cut off. It must be read without an exception, in bounded time and
memory, with offsets that never fall, and over random cuts with random looks back its stretches must hold the records
of the whole. What fails is printed with the numbers that make it again. Real files are found through HARE_DATA.

The last line is one JSON object, as of all benchmarks.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import resource
import signal
import sys
import time
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import FrameType

import zstandard

from hare_ray.corpus import archive
from hare_ray.corpus.archive import Archive, Record
from hare_ray.corpus.fetched import Columns, Wanted
from hare_ray.corpus.read_warc import pages
from tests.corpus.archives import PACKINGS, arc_opening, arc_record, request, warc

MOST = 1 << 20
"""Payloads above this are refused, so that the memory of one input is known."""
INPUT_SECONDS = 20
MEMORY_MB = 300
"""By which one input may raise the peak; the sum over inputs tells nothing, since pyarrow loses some on damaged lz4."""
REAL_BYTES = 600_000


class HangError(Exception):
    """An input that takes too long."""


def made(chance: random.Random) -> list[tuple[str, bytes]]:
    """Archives of every packing, with pages of several lengths and encodings."""
    bodies = [b"<html>" + chance.randbytes(chance.randrange(1, 3000)).hex().encode() for _ in range(12)]
    encoded = warc(gzip.compress(bodies[0]), headers="Content-Type: text/html\r\nContent-Encoding: gzip")
    chunks = b"5\r\n<html\r\n1\r\n>\r\n0\r\n\r\n"
    chunked = warc(chunks, headers="Content-Type: text/html\r\nTransfer-Encoding: chunked")
    bomb = warc(gzip.compress(bytes(8 << 20)), headers="Content-Type: text/html\r\nContent-Encoding: gzip")
    records = [request(), *map(warc, bodies), encoded, chunked, bomb, warc(zstandard.compress(b"x"))]
    arc = [arc_opening(), *(arc_record(body, f"http://a.example/{i}") for i, body in enumerate(bodies))]
    return [
        *((name, pack(records)) for name, pack in PACKINGS.items()),
        ("quoted.warc", b"".join(warc(b"<pre>" + b"".join(records[1:3])) for _ in range(4))),
        ("a.arc", b"".join(arc)),
        ("a.arc.gz", b"".join(map(gzip.compress, arc))),
        ("bomb.warc.gz", gzip.compress(warc()) + gzip.compress(warc(bytes(24 << 20))) + gzip.compress(warc())),
    ]


def real() -> list[tuple[str, bytes]]:
    """Small real archives, where there are any."""
    root = os.environ.get("HARE_DATA")
    if not root:
        return []
    paths = sorted(path for path in Path(root, "web", "edge").iterdir() if ".wat" not in path.name)
    return [(path.name, path.read_bytes()[:REAL_BYTES]) for path in paths]


def damaged(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A copy of `data` with one damage."""
    at, length = chance.randrange(len(data) + 1), int(2 ** chance.uniform(0, 14))
    piece = data[at : at + length]
    kind = chance.randrange(8)
    if kind == 0:
        for _ in range(chance.randrange(1, 9)):
            spot = chance.randrange(len(data)) if data else 0
            data = data[:spot] + bytes([data[spot] ^ (1 << chance.randrange(8))]) + data[spot + 1 :] if data else data
        return data
    if kind == 1:
        return data[:at] + data[at + length :]
    if kind == 2:
        return data[:at] + chance.randbytes(len(piece)) + data[at + length :]
    if kind == 3:
        return data[:at] + piece + data[at:]
    if kind == 4:
        to = chance.randrange(len(data) + 1)
        return data[:to] + piece + data[to:]
    if kind == 5:
        return data[:at] + chance.choice([bytes(length), b"\r\n\r\n" * 3, chance.randbytes(length)]) + data[at:]
    if kind == 6:
        other = chance.choice(others)
        spot = chance.randrange(len(other) + 1)
        return data[:at] + other[spot : spot + length] + data[at:]
    return data[:at]


def records(name: str, data: bytes, start: int, end: int) -> list[Record]:
    """The records of a stretch."""
    return list(Archive(BytesIO(data), name, start, end, MOST).records())


def check(name: str, data: bytes, chance: random.Random) -> str:
    """What is wrong with the reading of `data`; empty: nothing."""
    # An archive quoted in a record that is longer than the look back is known to give its records.
    before = peak_mb()
    archive.LOOK_BACK_BYTES = 1 << 20 if name.startswith("quoted") else chance.choice([0, 500, 20_000, 1 << 20])
    whole = records(name, data, 0, -1)
    if [record.offset for record in whole] != sorted(record.offset for record in whole):
        return "offsets fall"
    bounds = [0, *sorted(chance.sample(range(1, len(data)), min(chance.randrange(1, 6), len(data) - 1))), len(data)]
    stretches = pairwise(bounds)
    cut = [record for start, end in stretches for record in records(name, data, start, end)] if len(data) > 1 else whole
    if cut != whole:
        return f"cut at {bounds} with a look back of {archive.LOOK_BACK_BYTES}: {len(cut)} records for {len(whole)}"
    columns = Columns(1.0)
    columns.extend(name, pages(BytesIO(data), (name, 0, -1), MOST, Wanted(None)))
    columns.table().validate(full=True)
    grown = peak_mb() - before
    return f"{grown} MB more" if grown > MEMORY_MB else ""


def peak_mb() -> int:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def hang(signum: int, frame: FrameType | None) -> None:
    """Ends an input that takes too long."""
    raise HangError(f"over {INPUT_SECONDS} s")


def attempt(seed: int, number: int, files: list[tuple[str, bytes]]) -> str:
    """Try input `number` of the seed; what is wrong with it."""
    chance = random.Random(f"{seed} {number}")
    name, data = chance.choice(files)
    for _ in range(chance.randrange(5)):
        data = damaged(data, [other for _, other in files], chance)
    signal.alarm(INPUT_SECONDS)
    try:
        wrong = check(name, data, chance)
    except Exception as failed:  # the search for any exception is the point
        wrong = f"{type(failed).__name__}: {failed}"
    signal.alarm(0)
    return f"{name} seed {seed} number {number}: {wrong}" if wrong else ""


def main() -> None:
    """Try inputs for some seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of the one input to try")
    given = parser.parse_args()
    signal.signal(signal.SIGALRM, hang)
    files = [*made(random.Random(given.seed)), *real()]
    began, tried, failures = time.perf_counter(), 0, []
    while (time.perf_counter() - began < given.seconds) if given.only is None else tried < 1:
        wrong = attempt(given.seed, tried if given.only is None else given.only, files)
        if wrong:
            failures.append(wrong)
            sys.stdout.write(f"{wrong}\n")
        tried += 1
    seconds = time.perf_counter() - began
    result = {
        "bench": "fuzz_readers",
        "unit": "inputs/s",
        "ours": round(tried / seconds, 1),
        "peers": {},
        "ratio": None,
        "quality": {"inputs": tried, "failures": len(failures), "files": len(files)},
        "peak_mb": {"ours": peak_mb()},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    sys.stdout.write(f"{tried} inputs out of {len(files)} files in {seconds:.0f} s, {len(failures)} failures\n")
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
