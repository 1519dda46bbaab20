"""What a Source is made of: a sorted listing of files with sizes and hashes, and its cut into parts.

    name    relative to the location (the file name, for a glob: from its fixed folder on)
    bytes   size
    hash    local files up to 64 MiB: sha256 of the bytes; larger ones: sha256 of three 1 MiB samples (first, middle,
            last); object stores: the etag

The listing is identity, the location is not: the same files elsewhere are the same Source. Parts depend on the
listing alone: neighbouring small files share a part, and a file of many records that is larger than a part is cut into
stretches of its stored bytes, all of one size, which its reader takes for the records that begin in them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from hare_ray.schema import SPLIT
from hare_ray.store import filesystem

WHOLE_HASH_BYTES = 64 << 20
"""Files above this are identified by size and samples: hashing terabytes at each start would take hours."""
SAMPLE_BYTES = 1 << 20
CUTTABLE = (
    *(kind + packed for kind in (".warc", ".wet", ".arc") for packed in ("", ".gz", ".zst", ".lz4")),
    *(kind + packed for kind in (".jsonl", ".ndjson", ".json") for packed in ("", ".gz", ".zst", ".bz2", ".xz")),
    ".parquet",
    ".arrow",
    *(".bin", ".npy", ".ds"),
)
"""Ends of the names of files that hold many records; other files are one document, or nobody knows how to cut them."""
MARKS = ("ETag", "etag", "blob_id", "md5Hash", "crc32c", "LastModified", "mtime", "created")
"""What an object store may say of a file's content, the surest first."""


@dataclass(frozen=True)
class Entry:
    """One file of a listing."""

    name: str
    bytes: int
    hash: str


def _content_hash(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE_HASH_BYTES:
            while block := file.read(SAMPLE_BYTES):
                digest.update(block)
            return f"sha256:{digest.hexdigest()}"
        for start in (0, size // 2, size - SAMPLE_BYTES):
            file.seek(start)
            digest.update(file.read(SAMPLE_BYTES))
    return f"sampled:{digest.hexdigest()}"


def _fixed(pattern: str) -> str:
    """The folder of a path or glob that all matches share."""
    parts = PurePosixPath(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if any(c in part for c in "*?[")), len(parts) - 1)
    return str(PurePosixPath(*parts[:fixed])) if fixed else ""


def _found(fs: Any, path: str) -> tuple[str, list[str]]:
    if any(c in path for c in "*?["):
        return _fixed(path), [name for name in fs.glob(path) if fs.isfile(name)]
    if fs.isdir(path):
        return path, fs.find(path)
    return _fixed(path), [path] if fs.exists(path) else []


def resolve(location: str) -> tuple[str, tuple[Entry, ...]]:
    """The folder all names are relative to, and the sorted listing.

    Raises ValueError where `location` (a file, a folder or a glob, local or a URL) holds no file.
    """
    # Absolute, because workers may stand elsewhere; names stay relative, so the identity does not know.
    fs, path = filesystem(location if "://" in location else str(Path(location).absolute()))
    folder, found = _found(fs, path)
    entries = []
    for name in found:
        relative = name[len(folder) :].lstrip("/") if folder else name
        if any(part.startswith(".") or part == "__pycache__" for part in PurePosixPath(relative).parts):
            continue
        if "://" in location:
            info = fs.info(name)
            mark = next((info[key] for key in MARKS if info.get(key)), None)
            if mark is None:
                raise ValueError(
                    f"{location}: the store gives no mark of a file's content, so a change would go unseen; "
                    f"expected one of {', '.join(MARKS)}; copy the files to a folder or an object store"
                )
            entries.append(Entry(relative, int(info["size"]), f"etag:{mark}"))
        else:
            size = Path(name).stat().st_size
            entries.append(Entry(relative, size, _content_hash(Path(name), size)))
    if not entries:
        raise ValueError(f"no files at {location!r}; expected a file, a folder or a glob such as 'crawl/*.warc.gz'")
    scheme = f"{location.split('://', 1)[0]}://" if "://" in location else ""
    return scheme + folder, tuple(sorted(entries, key=lambda entry: entry.name))


def digest(entries: tuple[Entry, ...]) -> str:
    """Hex sha256 of the listing."""
    return hashlib.sha256(json.dumps([asdict(entry) for entry in entries]).encode()).hexdigest()


def difference(old: list[dict[str, Any]], new: tuple[Entry, ...]) -> str:
    """What was added, removed or changed between a recorded listing and a new one, by name."""
    before = {entry["name"]: (entry["bytes"], entry["hash"]) for entry in old}
    after = {entry.name: (entry.bytes, entry.hash) for entry in new}
    kinds = {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
    }
    return "; ".join(
        f"{kind}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for kind, names in kinds.items()
        if names
    )


def splits(folder: str, entries: tuple[Entry, ...], part_bytes: int) -> list[pa.Table]:
    """One SPLIT table per part: neighbours up to `part_bytes` together, a larger file in stretches of even size."""
    groups: list[list[dict[str, str | int]]] = []
    filled = 0
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        for start, end in stretches(entry, part_bytes):
            held = entry.bytes if end < 0 else end - start
            if not groups or filled + held > part_bytes:
                groups.append([])
                filled = 0
            groups[-1].append({"file": entry.name, "path": path, "start": start, "end": end, "row": -1})
            filled += held
    return [pa.Table.from_pylist(group, schema=SPLIT) for group in groups]


def stretches(entry: Entry, part_bytes: int) -> list[tuple[int, int]]:
    """The file whole, or in the fewest stretches [start, end) of even size that hold `part_bytes` at most."""
    pieces = -(-entry.bytes // part_bytes)
    if pieces < 2 or not entry.name.lower().endswith(CUTTABLE):
        return [(0, -1)]
    bounds = [piece * entry.bytes // pieces for piece in range(pieces + 1)]
    return list(pairwise(bounds))
