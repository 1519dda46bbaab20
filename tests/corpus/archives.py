"""Archives of every packing, and their records over any cut, for tests and for the fuzzer."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import zstandard

from hare_ray.corpus.archive import Archive, Record
from tests.corpus.reading import PAGE, answer, warc_record

MOST = 1 << 20
Packer = Callable[[list[bytes]], bytes]


def lz4(data: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "lz4") as stream:
        stream.write(data)
    return packed.getvalue().to_pybytes()


def in_pieces(records: list[bytes], size: int = 300) -> bytes:
    """Members cut at will, as block compression makes them."""
    data = b"".join(records)
    return b"".join(gzip.compress(data[at : at + size]) for at in range(0, len(data), size))


PACKINGS: dict[str, Packer] = {
    "a.warc": b"".join,
    "a.warc.gz": lambda records: b"".join(map(gzip.compress, records)),
    "a.warc.zst": lambda records: b"".join(map(zstandard.compress, records)),
    "a.warc.lz4": lambda records: b"".join(map(lz4, records)),
    "whole.warc.gz": lambda records: gzip.compress(b"".join(records)),
    "whole.warc.zst": lambda records: zstandard.compress(b"".join(records)),
    "whole.warc.lz4": lambda records: lz4(b"".join(records)),
    "pieces.warc.gz": in_pieces,
}


def warc(body: bytes = PAGE, **changes: str) -> bytes:
    return answer(body, **changes)


def arc_record(body: bytes, url: str = "http://a.example/", media: str = "text/html") -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body
    return b"%s 192.0.2.1 20081124120000 %s %d\n%s\n" % (url.encode(), media.encode(), len(block), block)


def arc_opening() -> bytes:
    block = b"1 0 Example\nURL IP-address Archive-date Content-type Archive-length\n"
    return b"filedesc://a.arc 0.0.0.0 20081124120000 text/plain %d\n%s\n" % (len(block), block)


def request() -> bytes:
    return warc_record(b"", http="GET / HTTP/1.1", WARC_Type="request")


def records_of(path: Path, start: int = 0, end: int = -1, most: int = MOST) -> list[Record]:
    with path.open("rb") as file:
        return list(Archive(file, path.name, start, end, most).records())


def over_cuts(path: Path, cuts: Iterable[int], most: int = MOST) -> list[Record]:
    """The records of the stretches between the cuts, one after another."""
    size = path.stat().st_size
    bounds = [0, *sorted(cut for cut in set(cuts) if 0 < cut < size), size]
    return [
        record
        for start, end in pairwise(bounds)
        for record in records_of(path, start, end if end < size or start else -1, most)
    ]
