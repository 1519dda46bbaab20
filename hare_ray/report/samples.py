"""Samples of synthetic text for a person to read: kept and refused ones of every template, with what was asked.

    kept      the text as it stands in the last base on disk (or the model's answer, where that are the prompts)
    refused   the whole answer of the model, reason and detail; of a text without one, the ledger's beginning of it

`hare_ray.report.draw` says which rows. They come from few parts, so that whole texts are read of few; a prompt is
found by its id, for which the ids of all prompts are read once and nothing else of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray.report.draw import SHOWN, Draw, Drawn
from hare_ray.report.lineage import generates
from hare_ray.report.reading import Run
from hare_ray.report.ways import Counted, Way

PROMPT_PARTS_READ = 48
"""Parts whose prompts are read for samples: those that most of them come from. Rows keep their order between bases, so
sixteen parts of one base come from about as many parts of another."""

PREVIEW_CHARS = 400
"""Of a text that are shown before it is unfolded."""

WHOLE_CHARS = 20_000
"""Longest text that is shown whole: more than an LLM writes in 4,000 tokens."""

FOLDED_CHARS = 3_000_000
"""Of a corpus's samples by template together; their texts are cut to what that leaves each, so that a page about
hundreds of templates still opens at once."""

Label = tuple[int, str]
"""Number of the way, and template."""


@dataclass
class Sample:
    """One text, kept or refused."""

    id: bytes
    url: str
    label: Label
    drawn: int
    """Its place in the order of drawing."""
    text: str
    variant: str | None = None
    seed: str | None = None
    prompt: str | None = None
    stage: str | None = None
    """That refused it."""
    reason: str | None = None
    detail: str | None = None


@dataclass
class Samples:
    """By way and template."""

    kept: dict[Label, list[Sample]]
    refused: dict[Label, list[Sample]]


def overall(found: dict[Label, list[Sample]], way: int) -> list[Sample]:
    """A sample of all templates of a way together, in which each has its share."""
    mine = (sample for label, samples in found.items() if label[0] == way for sample in samples)
    return sorted(mine, key=lambda sample: sample.drawn)[:SHOWN]


def samples(run: Run, counted: Counted) -> Samples:
    """The texts of the rows drawn."""
    kept = _kept(run, counted.last, counted.kept) if counted.last is not None else {}
    refused: dict[Label, list[Sample]] = defaultdict(list)
    for holder, draw in counted.refused.items():
        for label, found in _refused(run, holder, draw).items():
            refused[label] = sorted(refused[label] + found, key=lambda sample: sample.drawn)[:SHOWN]
    everything = [sample for side in (kept, refused) for found in side.values() for sample in found]
    for way in counted.ways:
        _ask(run, way, [sample for sample in everything if counted.ways[sample.label[0]] is way])
    return Samples(kept, dict(refused))


def _by_part(draw: Draw) -> dict[int, list[tuple[Label, Drawn]]]:
    found: dict[int, list[tuple[Label, Drawn]]] = defaultdict(list)
    for label, rows in draw.rows.items():
        for row in rows:
            found[row.part].append((label, row))
    return found


def _grouped(found: Iterable[Sample]) -> dict[Label, list[Sample]]:
    groups: dict[Label, list[Sample]] = defaultdict(list)
    for sample in sorted(found, key=lambda sample: sample.drawn):
        groups[sample.label].append(sample)
    return dict(groups)


def _kept(run: Run, base: str, draw: Draw) -> dict[Label, list[Sample]]:
    found = []
    for part, wanted in _by_part(draw).items():
        rows = pa.array([row.row for _, row in wanted])
        table = run.read(base, part, ["id", "url", "text", "seed", "variant"]).take(rows)
        for name in generates(run, base)[:1]:
            table = table.append_column("text", run.read(name, part, ["answer"])["answer"].take(rows))
        for (label, drawn), row in zip(wanted, table.to_pylist(), strict=True):
            seed, variant = row.get("seed"), row.get("variant")
            text = (row.get("text") or "").strip()
            found.append(Sample(row["id"], row["url"], label, drawn.hash, text, variant, seed))
    return _grouped(found)


def _refused(run: Run, holder: str, draw: Draw) -> dict[Label, list[Sample]]:
    found = []
    columns = ["id", "url", "stage", "reason", "detail", "snippet"]
    for part, wanted in _by_part(draw).items():
        table = run.ledger(holder, part, columns).take(pa.array([row.row for _, row in wanted]))
        for (label, drawn), row in zip(wanted, table.to_pylist(), strict=True):
            told = {name: row[name] for name in ("stage", "reason", "detail")}
            found.append(Sample(row["id"], row["url"], label, drawn.hash, row["snippet"] or "", **told))
    return _grouped(found)


def _ask(run: Run, way: Way, mine: list[Sample]) -> None:
    """Add what was asked, and to refused texts the whole answer."""
    if way.prompts is None or not mine:
        return
    by_id = {sample.id: sample for sample in mine}
    wanted = pa.array(sorted(by_id), pa.binary(16))
    places: dict[int, Any] = {}
    for part in range(run.parts(way.prompts)):
        ids = run.read(way.prompts, part, ["id"])["id"].cast(pa.binary(16))
        rows = np.flatnonzero(pc.is_in(ids, wanted).combine_chunks().to_numpy(zero_copy_only=False))
        if len(rows):
            places[part] = pa.array(rows)
    for part in sorted(places, key=lambda part: (-len(places[part]), part))[:PROMPT_PARTS_READ]:
        asked = run.read(way.prompts, part, ["id", "seed", "prompt", "variant"]).take(places[part]).to_pylist()
        answers = run.read(way.start, part, ["answer"])["answer"].take(places[part]).to_pylist()
        for row, answer in zip(asked, answers, strict=True):
            sample = by_id[row["id"]]
            sample.seed, sample.prompt, sample.variant = row.get("seed"), row["prompt"], row.get("variant")
            if sample.reason is not None:
                sample.text = (answer or sample.text).strip()


def clip(text: str, most: int) -> str:
    """The beginning of a text."""
    return text if len(text) <= most else f"{text[: max(most - 4, 0)].rstrip()} ..."


def folded_chars(texts: int) -> int:
    """How much each of so many texts by template may take."""
    return max(PREVIEW_CHARS, min(WHOLE_CHARS, FOLDED_CHARS // max(1, texts)))
