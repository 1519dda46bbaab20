"""Read: files into records, one row per fetched page or row of text, payload undecoded.

    in      splits (`hare_ray.schema.SPLIT`) of WARC, WET, ARC, Parquet, Arrow, JSON lines, text and HTML files
    out     `hare_ray.schema.RECORD`, `reason`, `detail` (the reasons: `hare_ray.corpus.fetched`)

The format is the end of the file's name; a file of no known format among others (`_SUCCESS`, a README) is one row with
the reason `unknown_format`, and a source of nothing else is refused. A split is a stretch of stored bytes and holds
the records that begin in it, whatever the format, so that any cut of a file holds each of its records once. (`file`,
`offset`) lead back to the record. Every record the crawl holds is a row here, kept or with the reason why not; only
what is no page (requests, crawl information, metadata) is passed over. The payload is as the server meant it, with
compression and chunking undone; what bytes mean as characters is decided by extraction, which has seen the page.

Payloads are written one behind another into the buffer that the column stands on: a part costs about the bytes of
its payloads, once.

The id names URL and payload, not the file: a record that lies in two files has one id.

`sample` keeps the records whose id hashes below it: the same ones for any cut into parts and on any
machine, all copies of a record or none, and because it comes before every other reason, the shares of the
other reasons in it are those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar, cast

import pyarrow as pa

from hare_ray.corpus.fetched import HTML, PLAIN, UNKNOWN_FORMAT, Columns, Fetched, Wanted, complete
from hare_ray.schema import RECORD, SPLIT
from hare_ray.stage import Files, Map, PartFunction, Source, Stage
from hare_ray.store import filesystem

REMOTE_BLOCK_BYTES = 1 << 18
"""Read ahead of what was asked for."""
STRETCH = ("file", "path", "start", "end")
ARCHIVED = ("", ".gz", ".zst", ".lz4")
PACKED = ("", ".gz", ".zst", ".bz2", ".xz")
BESIDE = ("state.json", "dataset_info.json", "dataset_dict.json")
"""What Hugging Face's `save_to_disk` writes beside the rows; no rows."""
NO_ROWS, UNKNOWN = "beside", "unknown"
ENDINGS: dict[str, tuple[str, ...]] = {
    "warc": tuple(kind + packed for kind in (".warc", ".wet") for packed in ARCHIVED),
    "arc": tuple(".arc" + packed for packed in ARCHIVED),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
    "json": tuple(kind + packed for kind in (".jsonl", ".ndjson", ".json") for packed in PACKED),
    "text": tuple(".txt" + packed for packed in PACKED),
    "html": tuple(kind + packed for kind in (".html", ".htm") for packed in PACKED),
}
KNOWN = "known by the end of the name are " + "; ".join(f"{kind}: {' '.join(end)}" for kind, end in ENDINGS.items())


def format_of(file: str) -> str:
    """One of the keys of `ENDINGS`, by the end of the name; NO_ROWS where it holds none, UNKNOWN of any other."""
    if PurePosixPath(file).name in BESIDE:
        return NO_ROWS
    for kind, endings in ENDINGS.items():
        if file.lower().endswith(endings):
            return kind
    return UNKNOWN


def opened(file: str, path: str) -> BinaryIO:
    """A local file or a URL that fsspec knows, as stored."""
    try:
        if "://" not in path:
            return Path(path).open("rb")
        fs, inside = filesystem(path)
        # A driver's own idea of what to read ahead is up to 50 MiB; readers here ask for blocks that are worth it.
        return cast(BinaryIO, fs.open(inside, "rb", cache_type="readahead", block_size=REMOTE_BLOCK_BYTES))
    except FileNotFoundError as missing:
        raise ValueError(
            f"{file} is not at {path}, where its listing had it; put it back, or point the source at where it is now"
        ) from missing


class Read(Map):
    """Splits of files into records."""

    code: ClassVar[int] = 4
    imports: ClassVar[tuple[str, ...]] = ("fastwarc", "isal", "msgspec", "zstandard")

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
        stretches = groupby(splits.to_pylist(), lambda split: tuple(split[name] for name in STRETCH))
        for (name, path, start, end), group in stretches:
            rows = [split["row"] for split in group]
            # Isolation asks for single records; a stretch is opened once for all of its neighbours.
            for wanted in [None] * rows.count(-1) or [frozenset(rows)]:
                with opened(name, path) as file:
                    columns.extend(name, self._records(file, (name, start, end), Wanted(wanted)))
        return columns.table()

    def _records(self, file: BinaryIO, stretch: tuple[str, int, int], wanted: Wanted) -> Iterator[Fetched]:
        name, start, end = stretch
        kind, most = format_of(name), self.max_payload_bytes
        if kind == NO_ROWS:
            return iter(())
        if kind == UNKNOWN:
            return wanted.of(self._unknown(name, start))
        if kind in ("warc", "arc"):
            from hare_ray.corpus.read_warc import pages

            return pages(file, stretch, most, wanted)
        from hare_ray.corpus import read_rows as rows

        if kind == "json":
            found = rows.json_rows(file, name, start, end, most)
        elif kind in ("parquet", "arrow"):
            reader = rows.parquet_rows if kind == "parquet" else rows.arrow_rows
            found = reader(file, name, start, end, most)
        else:
            found = rows.document(file, name, HTML if kind == "html" else PLAIN, most)
        return (complete(row, most) for row in wanted.of(found))

    def _unknown(self, name: str, start: int) -> list[Fetched]:
        """One row for a file of an unknown format, in the stretch where it begins."""
        if not self._some_known:
            raise ValueError(
                f"{name} is of no format that can be read, and so are all files of {self.files!r}; {KNOWN}. Rename or "
                "convert them, or point the source elsewhere (WAT files hold no pages)"
            )
        return [] if start else [Fetched(name, 0, None, reason=UNKNOWN_FORMAT, detail=KNOWN)]

    @cached_property
    def _some_known(self) -> bool:
        """Whether any file of the source can be read; what a Make leaves is for it to say."""
        if not isinstance(self.files, Source):
            return True
        return any(format_of(entry.name) not in (NO_ROWS, UNKNOWN) for entry in self.files.resolved[1])

    def explode(self, rows: pa.Table, files: Files) -> pa.Table:
        """One split per record; where there are no two, the same splits."""
        finer = [split for split in rows.to_pylist() for split in self._apart(split)]
        return pa.Table.from_pylist(finer, schema=SPLIT)

    def _apart(self, split: dict[str, Any]) -> list[dict[str, Any]]:
        """`split`, or one split for each of its records."""
        stretch = (split["file"], split["start"], split["end"])
        if split["row"] >= 0 or format_of(split["file"]) in ("text", "html", UNKNOWN):
            return [split]
        with opened(split["file"], split["path"]) as file:
            if format_of(split["file"]) in ("warc", "arc"):
                from hare_ray.corpus.read_warc import count

                found = count(file, stretch, self.max_payload_bytes)
            else:
                found = sum(1 for _ in self._records(file, stretch, Wanted(None)))
        return [{**split, "row": row} for row in range(found)] if found > 1 else [split]
