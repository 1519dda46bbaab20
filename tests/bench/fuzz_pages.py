"""Damaged and made-up pages through the extractor, until the time is over.

    make fuzz-pages        (HARE_DATA: folder of real data, whose pages are damaged too)

Looked for: any exception but PageError, text that is not UTF-8, input that takes over INPUT_SECONDS, and writes past
the end of an array: all arrays of a page are made exactly as large as they must be, with guards behind them.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from hare_ray.corpus import page_model as pm
from hare_ray.corpus import page_text as pt
from hare_ray.corpus.charset import utf8
from hare_ray.corpus.fetched import Wanted
from hare_ray.corpus.page_blocks import desk
from hare_ray.corpus.pages import PageError, Pages
from hare_ray.corpus.read_warc import pages as records
from hare_ray.hardware import machine

MAX_DEPTH = 200
INPUT_SECONDS = 20
GUARD_BYTES, GUARD = 64, 0xA5
REAL_PAGES, REAL_BYTES = 60, 60_000
PIECES = [
    *("<p>", "</p>", "<div class='post-content nav'>", "</div>", "<ul><li>", "</ul>", "<table><tr><td>", "</table>"),
    *("<a href=x>", "</a>", "<br/>", "<br><br>", "<pre>", "</pre>", "<h2>", "</h2>", "<svg>", "</svg>", "<math>"),
    *("<annotation encoding=tex>", "</math>", "<script>", "</script>", "<!--", "-->", "<title>", "</title>", "&nGt;"),
    *(
        "&#x10FFFF;",
        "&#0;",
        "&amp",
        "<img class=latex alt='&nGt;'>",
        "<b",
        "='",
        '"',
        ">",
        "<",
        " ",
        "\n",
        "word ",
        ".",
    ),
    *(
        "<meta name=robots content=noai>",
        "<meta property=og:type content=article>",
        "\u4e2d\u6587",
        "\u00ad",
        "\u00a0x",
    ),
]


class Guarded(Pages):
    """Reads pages in arrays that just suffice."""

    def __init__(self) -> None:
        super().__init__(MAX_DEPTH)
        self.guards: list[np.ndarray] = []

    def guarded(self, array: np.ndarray) -> np.ndarray:
        """A copy of an array with a guard behind it."""
        data = np.full(array.nbytes + GUARD_BYTES, GUARD, np.uint8)
        self.guards.append(data[array.nbytes :])
        copy = data[: array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    def scan(self, data: bytes) -> int:
        """Scan in a room of exactly the size it asks for."""
        self.guards = []
        made = pt.room(len(data), data.count(b"<"), MAX_DEPTH)
        self.room = pt.Room(*map(self.guarded, made))
        status = super().scan(data)
        blocks, nodes, size = (int(self.room.state[name]) for name in (pt.BLOCKS, pt.NODES, pt.TEXT))
        exact = desk(max(blocks, 1), max(nodes, 1), size)
        self.desk = type(exact)(*map(self.guarded, exact))
        self.features = self.guarded(np.zeros((blocks, pm.COLUMNS), np.float32))
        return status


def real() -> list[bytes]:
    """The beginnings of some real pages, where there are any."""
    root = os.environ.get("HARE_DATA")
    found: list[bytes] = []
    for path in sorted(Path(root, "web").glob("*.warc.gz"))[:1] if root else []:
        with path.open("rb") as file:
            for record in records(file, (path.name, 0, -1), 1 << 24, Wanted(frozenset(range(REAL_PAGES)))):
                found.append(utf8(record.payload or b"", record.charset, html=True, max_broken_share=1.0) or b"")
    return [page[:REAL_BYTES] for page in found]


def page_of(chance: random.Random, pages: list[bytes]) -> bytes:
    """A made-up page, or a real one with pieces put in, cut out and doubled."""
    if not pages or chance.random() < 0.5:
        pieces = chance.choices(PIECES, k=int(2 ** chance.uniform(0, 13)))
        return "".join(pieces).encode()
    page = chance.choice(pages)
    for _ in range(chance.randrange(1, 30)):
        at, length = chance.randrange(len(page) + 1), int(2 ** chance.uniform(0, 12))
        piece = chance.choice([chance.choice(PIECES).encode() * chance.randrange(1, 50), page[at : at + length], b""])
        page = page[:at] + piece + page[at + chance.choice([0, length]) :]
    return page.decode("utf-8", "ignore").encode()


def check(reader: Guarded, page: bytes) -> str:
    """What is wrong with the reading of a page; empty: nothing."""
    with suppress(PageError):
        reader.read(page).text.decode()
    if any((guard != GUARD).any() for guard in reader.guards):
        return "wrote past the end of an array"
    blocks, size = int(reader.room.state[pt.BLOCKS]), int(reader.room.state[pt.TEXT])
    roomy = np.empty(2 * size + 100 * blocks + 100, np.uint8)
    used = pm.render(reader.room, np.ones(blocks, bool), roomy)
    return "" if used <= size + pm.MOST_ADDED_BYTES * blocks else f"{used} bytes of text of {blocks} blocks in {size}"


def main() -> None:
    """Try pages for some seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    reader, pages = Guarded(), real()
    began, tried, failures = time.perf_counter(), 0, 0
    while time.perf_counter() - began < given.seconds:
        page = page_of(random.Random(f"{given.seed} {tried}"), pages)
        signal.alarm(INPUT_SECONDS if tried else 0)  # the first one compiles
        wrong = check(reader, page)
        if wrong:
            failures += 1
            print(f"seed {given.seed} number {tried}: {wrong}")
        tried += 1
    signal.alarm(0)
    told = {"bench": "fuzz_pages", "unit": "inputs/s", "ours": round(tried / given.seconds, 1), "peers": {}}
    told |= {"ratio": None, "quality": {"inputs": tried, "failures": failures}, "peak_mb": {}, "machine": machine()}
    print(f"{tried} pages in {given.seconds:.0f} s, {failures} failures")
    print(json.dumps(told))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
