"""Questions to a run's directory: what is done, why a page is not there, what a stage or a reason looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.catalog import Place, part_name, place, read_ledger, read_part
from hare_ray.manifest import Manifest, load_all
from hare_ray.store import Root

BASES = ("map", "keep", "rebalance")
"""Kinds of stage that make a new base of documents."""

PACKED = "documents"
"""Column of packed sequences: the ids of the documents that each holds."""

LINE_CHARS = 160
"""Of a longer text only the beginning is told."""

SHOWN = 8
"""Sequences of a part that are named; a book is in hundreds."""


@dataclass(frozen=True)
class Finding:
    """One thing a run knows of a document."""

    stage: str
    what: str
    detail: dict[str, Any]
    sequences: tuple[tuple[int, int], ...] = ()
    """Part and row of each packed sequence that holds the document, where it speaks of such."""


def finished(root: Root) -> dict[str, Manifest]:
    """All manifests under a root; ValueError where a stage was taken over from another root and is gone there."""
    manifests = load_all(root)
    gone: dict[str, list[str]] = {}
    for manifest in in_order(manifests):
        where = place(root, manifest)
        first = part_name(where, 0) if where.rows else next((f"{where.folder}/{name}" for name in where.files), None)
        if "location" not in manifest or manifest["kind"] == "source" or first is None:
            continue
        if not where.root.exists(first):
            gone.setdefault(where.root.url, []).append(manifest["name"])
    if gone:
        other, names = next(iter(gone.items()))
        redo = " ".join(f"--redo {name}" for name in names)
        raise ValueError(
            f"{root.url} reuses {', '.join(names)} of {other}, where they are gone; put {other} back, "
            f"or make them anew: hare run RECIPE.py --root {root.url} {redo}"
        )
    return manifests


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
    """Everything the run knows of the page `url`, in the order of the stages.

    What was made of the page counts too, and so do the packed sequences that hold it; `hare_ray.train.trace` knows
    which of them a training saw.
    """
    manifests = finished(root)
    found: list[Finding] = []
    for manifest in in_order(manifests):
        if manifest["kind"] not in BASES:
            continue
        where = place(root, manifest)
        if PACKED in manifest["schema"]:
            ids = {bytes.fromhex(finding.detail["id"]) for finding in found if "id" in finding.detail}
            found += _in_sequences(where, manifest["name"], ids)
            continue
        for part in range(len(where.rows)):
            found += _in_ledger(where, part, url)
            found += _in_base(root, manifests, manifest, part, url)
    return found


def _in_sequences(where: Place, name: str, ids: set[bytes]) -> Iterator[Finding]:
    """Which rows of packed sequences hold one of these documents."""
    wanted = pa.array(sorted(ids), pa.binary(16))
    for part in range(len(where.rows)):
        held = read_part(where, part, [PACKED]).column(PACKED).combine_chunks()
        rows = pc.list_parent_indices(held).filter(pc.is_in(held.flatten(), wanted)).unique().to_pylist()
        if rows:
            shown = ", ".join(map(str, rows[:SHOWN])) + (", ..." if len(rows) > SHOWN else "")
            what = f"in {len(rows)} sequence{'s' * (len(rows) > 1)}"
            yield Finding(name, what, {"part": part, "rows": shown}, tuple((part, row) for row in rows))


def _match(table: pa.Table, url: str) -> pa.Array:
    """Rows of the page, and of what was made of it: its URL with a fragment."""
    urls = table.column("url")
    return pc.indices_nonzero(pc.or_(pc.equal(urls, url), pc.starts_with(urls, f"{url}#")))


def _in_ledger(where: Place, part: int, url: str) -> Iterator[Finding]:
    ledger = read_ledger(where, part)
    for row in ledger.take(_match(ledger, url)).to_pylist():
        made = {"made": row["url"]} if row["url"] != url else {}
        yield Finding(
            row["stage"], f"dropped: {row['reason']}", {"detail": row["detail"], "id": row["id"].hex(), **made}
        )


def _in_base(root: Root, manifests: dict[str, Manifest], manifest: Manifest, part: int, url: str) -> Iterator[Finding]:
    rows = _match(read_part(place(root, manifest), part, ["url"]), url).to_pylist()
    if not rows:
        return
    table = read_part(place(root, manifest), part)
    for row in rows:
        values = table.slice(row, 1).to_pylist()[0]
        shown = {k: _short(v) for k, v in values.items() if k not in ("text", "url", "seed", "prompt")}
        shown |= {"made": values["url"]} if values["url"] != url else {}
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
    if isinstance(value, str) and (len(value) > LINE_CHARS or "\n" in value):
        return f"{' '.join(value[:LINE_CHARS].split())} ..."
    return value


def examples(root: Root, name: str, reason: str | None, count: int) -> list[dict[str, Any]]:
    """Rows a stage kept, spread evenly over the parts, or rows of the ledgers that it dropped for `reason`.

    Raises ValueError where there is no such stage or reason, or `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"given {count} rows to show, expected 1 or more")
    manifests = finished(root)
    if reason is not None:
        return _dropped(root, manifests, (name, reason), count)
    if name not in manifests or "parts" not in manifests[name]:
        tables = sorted(n for n, m in manifests.items() if "parts" in m)
        raise ValueError(f"{root.url} has no table {name!r}; there are {', '.join(tables) or 'none'}")
    where = place(root, manifests[name])
    return _spread((read_part(where, part) for part in range(len(where.rows))), where.rows, count)


def _dropped(root: Root, manifests: dict[str, Manifest], wanted: tuple[str, str], count: int) -> list[dict[str, Any]]:
    """The first rows that stage and reason in `wanted` dropped."""
    known: set[tuple[str, str]] = set()
    found: list[dict[str, Any]] = []
    for where in (place(root, manifest) for manifest in manifests.values() if manifest["kind"] in BASES):
        for part in range(len(where.rows)):
            ledger = read_ledger(where, part)
            keys = ledger.group_by(["stage", "reason"]).aggregate([]).to_pylist()
            known.update((key["stage"], key["reason"]) for key in keys)
            chosen = pc.and_(pc.equal(ledger["stage"], wanted[0]), pc.equal(ledger["reason"], wanted[1]))
            found += ledger.filter(chosen).slice(0, count - len(found)).to_pylist()
            if len(found) == count:
                return found
    if not found:
        told = ", ".join(f"{stage}: {r}" for stage, r in sorted(known)) or "nothing was dropped"
        raise ValueError(f"{root.url}: stage {wanted[0]!r} dropped nothing for {wanted[1]!r}; there are {told}")
    return found


def _spread(tables: Iterator[pa.Table], rows: tuple[int, ...], count: int) -> list[dict[str, Any]]:
    each = max(1, -(-count // max(1, len(rows))))
    found: list[dict[str, Any]] = []
    for table in tables:
        step = max(1, len(table) // each)
        found += table.take(pa.array(range(0, len(table), step)[:each], pa.int64())).to_pylist()
        if len(found) >= count:
            break
    return found[:count]
