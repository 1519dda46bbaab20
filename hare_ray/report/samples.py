"""Samples of synthetic text: what a prompt asked, the seed in it, and the text that was kept.

The documents with the smallest ids are shown. A corpus that went on to be packed inside the same pass is not on disk
itself; then it is the last base before it that is, without what the ledger says was dropped since, and where that are
the prompts, the text is the model's answer. Ids and URLs lead back to the prompts, so only those parts are read that
hold one; a text made by rule has no prompt.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.catalog import place, read_ledger
from hare_ray.report.lineage import Branch, generates, ledger_holders
from hare_ray.report.reading import Run

SHOWN = 5
"""Samples per branch."""

CLIP_CHARS = 900
"""Longest text shown; a sample is to be read, not studied."""


@dataclass
class Sample:
    """One kept text."""

    url: str
    seed: str | None
    prompt: str | None
    text: str


def accepted_samples(run: Run, branch: Branch, asked: list[str]) -> list[Sample]:
    """Kept texts of a branch, with their prompts out of the bases that a model was asked with."""
    bases = [base for track in branch.tracks for base in track.bases]
    written = [number for number, base in enumerate(bases) if run.parts(base)]
    if not written:
        return []
    base, after = bases[written[-1]], bases[written[-1] + 1 :]
    holders = ledger_holders(run, after)
    smallest: list[tuple[bytes, int, int]] = []
    for part in range(run.parts(base)):
        keys = run.read(base, part, ["id", "url"])
        kept = pc.indices_nonzero(pc.invert(_dropped(run, (base, *holders), part, keys)))
        ids = keys["id"].cast(pa.binary()).take(kept)
        for row in pc.sort_indices(ids)[:SHOWN].to_pylist():
            smallest.append((ids[row].as_py(), part, kept[row].as_py()))
        smallest = heapq.nsmallest(SHOWN, smallest)
    rows = [_row(run, base, part, row) for _, part, row in smallest]
    prompts = _prompts(run, asked, rows)
    return [
        Sample(row["url"], clip(row.get("seed")), clip(prompts.get(row["id"])), clip(row["text"]) or "") for row in rows
    ]


def _dropped(run: Run, bases: tuple[str, ...], part: int, keys: pa.Table) -> pa.ChunkedArray | pa.Array:
    """Whether a row of the first base was dropped in those after it."""
    base, *holders = bases
    gone = pa.repeat(pa.scalar(False), len(keys))
    for holder in holders:
        if part >= run.parts(holder) or not run.manifests[holder]["parts"][part].get("ledger_rows"):
            continue
        ledger = read_ledger(place(run.root, run.manifests[holder]), part)
        gone = pc.or_(gone, pc.is_in(keys["id"].cast(pa.binary()), ledger["id"].cast(pa.binary()).combine_chunks()))
        if "prompt" in run.manifests[base]["schema"]:  # an answer may have an id of its own, but its prompt's URL
            gone = pc.or_(gone, pc.is_in(keys["url"], ledger["url"].combine_chunks()))
    return gone


def _row(run: Run, base: str, part: int, row: int) -> dict[str, Any]:
    """One row of a base, with the answer as its text where it is a prompt."""
    columns = ["id", "url", "seed", "text"]
    found = run.read(base, part, columns).slice(row, 1).to_pylist()[0]
    for name in generates(run, base)[:1]:
        found["text"] = run.read(name, part, ["answer"])["answer"][row].as_py()
    return {"text": None, **found}


def _prompts(run: Run, asked: list[str], rows: list[dict[str, Any]]) -> dict[bytes, str]:
    """Prompts of these documents, by the documents' ids: those of the same id, or else of the same URL."""
    of_url = {row["url"]: row["id"] for row in rows}
    ids = {row["id"] for row in rows}
    same: dict[bytes, str] = {}
    alike: dict[bytes, str] = {}
    for base in asked:
        for part in range(run.parts(base)):
            keys = run.read(base, part, ["id", "url"])
            match = pc.or_(
                pc.is_in(keys["id"].cast(pa.binary()), pa.array(sorted(ids), pa.binary())),
                pc.is_in(keys["url"], pa.array(list(of_url), pa.string())),
            )
            if not pc.any(match).as_py():
                continue
            for row in run.read(base, part, ["id", "url", "prompt"]).filter(match).to_pylist():
                if row["id"] in ids:
                    same[row["id"]] = row["prompt"]
                else:
                    alike[of_url[row["url"]]] = row["prompt"]
    return {**alike, **same}


def clip(text: str | None) -> str | None:
    """The beginning of a text."""
    text = (text or "").strip()
    return (text if len(text) <= CLIP_CHARS else f"{text[:CLIP_CHARS].rstrip()} ...") or None
