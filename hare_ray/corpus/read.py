"""Read: files into records, one row per fetched page or row of text, payload undecoded.

    in      splits (`hare_ray.schema.SPLIT`) of WARC, WET, Parquet, JSON lines, text and HTML files
    out     `hare_ray.schema.RECORD`, `reason`, `detail` (the reasons: `hare_ray.corpus.fetched`)

The format is the end of the file's name. (`file`, `offset`) lead back to the record: a byte offset in WARC
and WET, a row number in files of rows. Every record the crawl holds is a row here, kept or with the reason
why not; only what is no page (requests, crawl information, metadata) is passed over. The payload is as the
server meant it, with compression and chunking undone; what bytes mean as characters is decided by
extraction, which has seen the page.

The id names URL and payload, not the file: a record that lies in two files has one id.

`sample` keeps the records whose id hashes below it: the same ones for any cut into parts and on any
machine, all copies of a record or none, and because it comes before every other reason, the shares of the
other reasons in it are those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import pyarrow as pa

from hare_ray.corpus.fetched import HTML, PLAIN, Columns, Fetched, complete
from hare_ray.schema import RECORD, SPLIT
from hare_ray.stage import Files, Map, PartFunction, Stage

PACKED = ("", ".gz", ".zst")
ENDINGS: dict[str, tuple[str, ...]] = {
    "warc": tuple(kind + packed for kind in (".warc", ".wet") for packed in (*PACKED, ".lz4")),
    "parquet": (".parquet",),
    "json": tuple(kind + packed for kind in (".jsonl", ".ndjson", ".json") for packed in PACKED),
    "text": tuple(".txt" + packed for packed in PACKED),
    "html": tuple(kind + packed for kind in (".html", ".htm") for packed in PACKED),
}


def format_of(file: str) -> str:
    """One of the keys of `ENDINGS`, by the end of the name."""
    for kind, endings in ENDINGS.items():
        if file.lower().endswith(endings):
            return kind
    known = "; ".join(f"{kind}: {' '.join(endings)}" for kind, endings in ENDINGS.items())
    raise ValueError(
        f"{file} is of no format that can be read; known by the end of the name are {known}. Rename or "
        "convert it (ARC to WARC), or give the source a glob that leaves it out (WAT files hold no pages)"
    )


def opened(file: str, path: str) -> BinaryIO:
    """A local file or a URL that fsspec knows, as stored."""
    try:
        if "://" not in path:
            return Path(path).open("rb")
        import fsspec

        return cast(BinaryIO, cast(Any, fsspec.open(path, "rb", compression=None)).open())
    except FileNotFoundError as missing:
        raise ValueError(
            f"{file} is not at {path}, where its listing had it; put it back, or point the source at where it is now"
        ) from missing


class Read(Map):
    """Splits of files into records."""

    imports: ClassVar[tuple[str, ...]] = ("fastwarc",)

    writes: ClassVar[pa.Schema] = RECORD

    files: Stage
    """A Source or a Make."""
    sample: float
    """Share of the records to keep; 1.0: all."""
    max_payload_bytes: int
    """Larger payloads are dropped unread, so that one page cannot fill the memory."""

    def __post_init__(self) -> None:
        """Refuse a sample that keeps nothing or more than all."""
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample is {self.sample}; expected a share above 0 and up to 1.0, which keeps all")

    def prepare(self, files: Files) -> PartFunction:
        """The function that reads splits."""
        return self._read

    def _read(self, splits: pa.Table) -> pa.Table:
        columns = Columns(self.sample)
        for split in splits.to_pylist():
            with opened(split["file"], split["path"]) as file:
                columns.extend(split["file"], self._records(file, split["file"], split["start"], split["end"]))
        return columns.table()

    def _records(self, file: BinaryIO, name: str, start: int, end: int) -> Iterator[Fetched]:
        kind, most = format_of(name), self.max_payload_bytes
        if kind == "warc":
            from hare_ray.corpus.read_warc import pages

            return pages(file, name, start, end, most)
        from hare_ray.corpus import read_rows as rows

        if kind == "parquet":
            return (complete(row, most) for row in rows.parquet_rows(file, name, start, end))
        if kind == "json":
            return (complete(row, most) for row in rows.json_rows(file, name, start, end))
        return rows.document(file, name, HTML if kind == "html" else PLAIN, most)

    def explode(self, rows: pa.Table, files: Files) -> pa.Table:
        """One split per record; a file that is one document, or cannot be split, stays whole."""
        finer: list[dict[str, str | int]] = []
        for split in rows.to_pylist():
            with opened(split["file"], split["path"]) as file:
                starts = _starts(file, split["file"], split["start"], split["end"])
            ends = [*starts[1:], split["end"]]
            finer.extend({**split, "start": start, "end": end} for start, end in zip(starts, ends, strict=True))
        return pa.Table.from_pylist(finer, schema=SPLIT)


def _starts(file: BinaryIO, name: str, start: int, end: int) -> list[int]:
    """Where the finer splits of [start, end) begin; the first at `start` itself."""
    kind = format_of(name)
    if kind == "warc":
        from hare_ray.corpus.read_warc import offsets

        found = offsets(file, start, end)
        apart = all(left < right for left, right in pairwise(found))
        return [start, *found[1:]] if apart else [start]
    if kind in ("parquet", "json"):
        from hare_ray.corpus import read_rows

        most = read_rows.parquet_count(file) if kind == "parquet" else read_rows.json_count(file, name)
        return list(range(start, most if end < 0 else min(end, most))) or [start]
    return [start]
