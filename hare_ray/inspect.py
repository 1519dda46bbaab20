"""Questions to a run's directory: what is done, why a page is not there, what a stage or a reason looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hare_ray.catalog import Place, place, read_ledger
from hare_ray.manifest import Manifest, load_all
from hare_ray.store import Root, filesystem

BASES = ("map", "keep", "rebalance")


@dataclass(frozen=True)
class Finding:
    """One thing a run knows of a document."""

    stage: str
    what: str
    detail: dict[str, Any]


def read_part(where: Place, part: int, columns: list[str] | None = None) -> pa.Table:
    """One part of a finished table by place; of `columns`, those that exist."""
    fs, path = filesystem(where.root.url)
    with fs.open(f"{path}/{where.folder}/part-{part:05d}.parquet", "rb") as file:
        table = pq.ParquetFile(file)
        known = [name for name in columns if name in table.schema_arrow.names] if columns is not None else None
        return table.read(columns=known)


def in_order(manifests: dict[str, Manifest]) -> list[Manifest]:
    """Manifests with inputs before users, else in the order they were made."""
    order: dict[str, Manifest] = {}

    def visit(name: str) -> None:
        manifest = manifests.get(name)
        if manifest is None or name in order:
            return
        for member in (*manifest.get("members", ()), manifest):
            for names in member["inputs"].values():
                for parent in names:
                    visit(parent)
        order[name] = manifest

    for name in sorted(manifests, key=lambda name: (manifests[name]["run"]["started"], name)):
        visit(name)
    return list(order.values())


def why(root: Root, url: str) -> list[Finding]:
    """Everything the run knows of the page `url` (or of ids in hex), in the order of the stages."""
    manifests = load_all(root)
    found = []
    for manifest in in_order(manifests):
        if manifest["kind"] not in BASES:
            continue
        where = place(root, manifest)
        for part in range(len(where.rows)):
            found += _in_ledger(where, part, url)
            found += _in_base(root, manifests, manifest, part, url)
    return found


def _match(table: pa.Table, url: str) -> pa.Array:
    return pc.indices_nonzero(pc.equal(table.column("url"), url))


def _in_ledger(where: Place, part: int, url: str) -> Iterator[Finding]:
    ledger = read_ledger(where, part)
    for row in ledger.take(_match(ledger, url)).to_pylist():
        yield Finding(row["stage"], f"dropped: {row['reason']}", {"detail": row["detail"], "id": row["id"].hex()})


def _in_base(root: Root, manifests: dict[str, Manifest], manifest: Manifest, part: int, url: str) -> Iterator[Finding]:
    rows = _match(read_part(place(root, manifest), part, ["url"]), url).to_pylist()
    if not rows:
        return
    table = read_part(place(root, manifest), part)
    for row in rows:
        values = table.slice(row, 1).to_pylist()[0]
        shown = {k: _short(v) for k, v in values.items() if k not in ("text", "url")}
        yield Finding(manifest["name"], "kept", {"part": part, "row": row, **shown})
        for opinion in in_order(manifests):
            if opinion["kind"] in ("annotate", "gather") and opinion.get("base") == manifest["fingerprint"]:
                said = read_part(place(root, opinion), part).slice(row, 1).to_pylist()[0]
                yield Finding(opinion["name"], "opinion", {k: _short(v) for k, v in said.items()})


def _short(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return f"{len(value)} values"
    return value


def examples(root: Root, name: str, reason: str | None, count: int) -> list[dict[str, Any]]:
    """Rows a stage kept, or dropped for `reason`, spread evenly over the parts.

    Raises ValueError where there is no such stage or reason.
    """
    manifests = load_all(root)
    if reason is None:
        if name not in manifests or "parts" not in manifests[name]:
            tables = sorted(n for n, m in manifests.items() if "parts" in m)
            raise ValueError(f"{root.url} has no table {name!r}; there are {', '.join(tables) or 'none'}")
        where = place(root, manifests[name])
        return _spread((read_part(where, part) for part in range(len(where.rows))), where.rows, count)
    bases = [m for m in manifests.values() if m["kind"] in BASES]
    known = set()
    for manifest in bases:
        where = place(root, manifest)
        for part in range(len(where.rows)):
            ledger = read_ledger(where, part)
            known.update(zip(ledger["stage"].to_pylist(), ledger["reason"].to_pylist(), strict=True))
    if (name, reason) not in known:
        told = ", ".join(f"{stage}: {r}" for stage, r in sorted(known)) or "nothing was dropped"
        raise ValueError(f"{root.url}: stage {name!r} dropped nothing for {reason!r}; there are {told}")
    return [row for m in bases for row in _dropped(root, manifests, m, (name, reason))][:count]


def _dropped(
    root: Root, manifests: dict[str, Manifest], manifest: Manifest, wanted: tuple[str, str]
) -> Iterator[dict[str, Any]]:
    where = place(root, manifest)
    before = [manifests[n] for n in manifest["inputs"].get("docs", ()) if n in manifests and "parts" in manifests[n]]
    for part in range(len(where.rows)):
        ledger = read_ledger(where, part)
        chosen = pc.and_(pc.equal(ledger["stage"], wanted[0]), pc.equal(ledger["reason"], wanted[1]))
        lost = ledger.filter(chosen)
        texts: dict[bytes, str] = {}
        if before and len(lost):
            docs = read_part(place(root, before[0]), part, ["id", "text"])
            docs = docs.filter(pc.is_in(docs["id"], value_set=lost["id"].combine_chunks()))
            texts = dict(zip(docs["id"].to_pylist(), docs["text"].to_pylist(), strict=True))
        for row in lost.to_pylist():
            yield {**row, "text": texts.get(row["id"])}


def _spread(tables: Iterator[pa.Table], rows: tuple[int, ...], count: int) -> list[dict[str, Any]]:
    each = max(1, -(-count // max(1, len(rows))))
    found: list[dict[str, Any]] = []
    for table in tables:
        step = max(1, len(table) // each)
        found += table.take(list(range(0, len(table), step))[:each]).to_pylist()
        if len(found) >= count:
            break
    return found[:count]
