"""The ways in which the texts of a synthetic corpus were written, counted by template and by variant.

    PROMPT     template, variant                                         what was asked
    GENERATED  finish, prompt_tokens, completion_tokens                  what came, row for row
    ledgers    id, url, stage, reason                                    what was refused, by every base on the way
    WRITTEN    id, template, variant, tokens                             what is left

A way of a model is a stage that had it answer the rows of a base. One that asked again about the answers, with prompts
that are an opinion on the same base, wrote no text: its rows and tokens are counted beside the way that it asked about.

A text of a model is of the template that the ledger's URL `<seed url>#<template>` ends with. Once such texts are
joined with others that no model wrote (by rule, from open data), URL and template no longer tell them apart, so the
ids of those others are looked up: eight bytes of each are held, and two for its template.

Parts are read one at a time and only in these columns; what stays are counters and a few rows drawn as samples. All
rows count. Work is linear in the rows, and the ids of the others (ten bytes a row) are all that grows in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.report.draw import Draw, spread, words_of
from hare_ray.report.lineage import Branch, Track, generates, generates_again, ledger_holders
from hare_ray.report.reading import Run

OF_URL = r"(?s)^.*#"
"""What stands before the template in a URL."""

NOT_ASKED = "not_asked"
"""`finish` of a row whose prompt is null."""

UNKNOWN = ""
"""Template of a text that names none."""


@dataclass
class Count:
    """What became of the prompts of one template or variant."""

    asked: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    accepted: int = 0
    accepted_tokens: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, other: Count) -> None:
        """Count another's rows in."""
        self.asked += other.asked
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.accepted += other.accepted
        self.accepted_tokens += other.accepted_tokens
        self.refused.update(other.refused)


def total(counts: Iterable[Count]) -> Count:
    """All together."""
    found = Count()
    for one in counts:
        found.add(one)
    return found


@dataclass
class Again:
    """Second questions: a stage in which a model was asked about the answers of a way."""

    stage: str
    count: Count = field(default_factory=Count)
    """Rows with a question, and tokens."""
    finishes: Counter[str] = field(default_factory=Counter)
    """Of the rows with a question."""


@dataclass
class Way:
    """One way of writing: a stage in which a model answered, or a stage that makes texts without one."""

    start: str
    """That stage."""
    prompts: str | None
    """The base of its prompts; None where no model was asked."""
    templates: dict[str, Count] = field(default_factory=dict)
    variants: dict[str, Count] = field(default_factory=dict)
    """Of prompts that have a variant; without what was refused."""
    finishes: Counter[str] = field(default_factory=Counter)
    tokens_known: bool = True
    """Whether the tables left say how many tokens a text has."""
    again: list[Again] = field(default_factory=list)

    @property
    def total(self) -> Count:
        """All templates together."""
        return total(self.templates.values())

    def of(self, template: str) -> Count:
        """The count of a template."""
        if template not in self.templates:
            self.templates[template] = Count()
        return self.templates[template]

    def add(self, template: str, variant: str, found: Count) -> None:
        """Count rows in."""
        self.of(template).add(found)
        if variant:
            self.variants.setdefault(variant, Count()).add(found)


@dataclass
class Counted:
    """The ways of one branch, and the rows drawn for samples: kept by `last`, refused by base on disk."""

    ways: list[Way]
    last: str | None
    """The last base on disk, whose rows are left; None where there is none."""
    kept: Draw
    refused: dict[str, Draw]


def count(run: Run, branch: Branch, ready: bool) -> Counted:
    """Read the tables of a branch; where it is not `ready`, nothing is left yet and all that counts is what was asked.

    The rows drawn are labelled with (number of the way, template).
    """
    ways = [*_by_model(run, branch), *_without(run, branch)]
    bases = [base for track in branch.tracks for base in track.bases if run.parts(base)]
    found = Counted(ways, bases[-1] if ready and bases else None, Draw(), {})
    others = _Others(run, branch, ways)
    for way in ways:
        _add_asked(run, way)
        _add_again(run, way)
    for track in branch.tracks:
        _add_refused(run, track, found, others)
    if found.last is not None:
        _add_left(run, branch, found, others)
    for way in ways:
        if way.prompts is None:
            for one in way.templates.values():
                one.asked = one.accepted + one.refused.total()
    return found


def _by_model(run: Run, branch: Branch) -> list[Way]:
    return [Way(name, base) for track in branch.tracks for base in track.bases for name in generates(run, base)]


def _without(run: Run, branch: Branch) -> list[Way]:
    """Starts that no model ever answers to."""
    asked = {s for t in branch.tracks for base in t.bases if generates(run, base) for s in t.starts}
    return [Way(start, None) for t in branch.tracks if len(t.starts) == 1 for start in t.starts if start not in asked]


class _Others:
    """Which way and template the rows of a base are of."""

    def __init__(self, run: Run, branch: Branch, ways: list[Way]) -> None:
        self.of_start = {way.start: number for number, way in enumerate(ways) if way.prompts is None}
        self.by_model = [number for number, way in enumerate(ways) if way.prompts is not None]
        self.ways = ways
        self.names: list[tuple[int, str]] = []
        ids, codes = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint16)]
        joined = any(len(track.starts) > 1 for track in branch.tracks)
        for track in branch.tracks if joined and self.by_model else ():
            if len(track.starts) == 1 and track.starts[0] in self.of_start:
                for keys in _parts(run, track.bases[-1], ["id", "template"]):
                    ids.append(words_of(keys["id"])[:, 0])
                    codes.append(self._codes(self.of_start[track.starts[0]], _text(keys, "template")))
        whole = np.concatenate(ids)
        order = np.argsort(whole, kind="stable")
        self.ids, self.codes = whole[order], np.concatenate(codes)[order]

    def _codes(self, way: int, templates: pa.Array) -> NDArray[np.uint16]:
        """Numbers of these names, as `names` has them."""
        encoded = templates.dictionary_encode()
        own = [(way, name) for name in encoded.dictionary.to_pylist()]
        self.names += [name for name in own if name not in self.names]
        numbers = np.array([self.names.index(name) for name in own], np.uint16)
        return numbers[encoded.indices.to_numpy(zero_copy_only=False)]

    def labels(
        self, track: Track, ids: pa.ChunkedArray, templates: pa.Array
    ) -> tuple[NDArray[np.int64], list[tuple[int, str]]]:
        """For each row a number, and (way, template) by number; `templates` are right for texts of a model."""
        encoded = templates.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        own = [(self._way(track, name), name) for name in names]
        numbers = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        if len(track.starts) > 1 and len(self.ids):
            wanted = words_of(ids)[:, 0]
            at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
            there = self.ids[at] == wanted
            numbers[there] = len(own) + self.codes[at[there]].astype(np.int64)
            own = [*own, *self.names]
        return numbers, own

    def _way(self, track: Track, template: str) -> int:
        """The way of a row of a track whose id is not that of another."""
        start = next((s for s in track.starts if s in self.of_start), None)
        if not self.by_model or (len(track.starts) == 1 and start is not None):
            return self.of_start[start] if start is not None else 0
        return next((n for n in self.by_model if template in self.ways[n].templates), self.by_model[0])


def _parts(run: Run, name: str, columns: list[str]) -> Iterator[pa.Table]:
    return (run.read(name, part, columns) for part in range(run.parts(name)))


def _text(table: pa.Table, name: str) -> pa.Array:
    """A column of names, without nulls; all unknown where there is no such column."""
    if name not in table.column_names:
        return pa.repeat(pa.scalar(UNKNOWN, pa.string()), len(table))
    return pc.fill_null(table[name].cast(pa.string()), UNKNOWN).combine_chunks()


def _add_asked(run: Run, way: Way) -> None:
    if way.prompts is None:
        return
    sums = ["prompt_tokens", "completion_tokens"]
    for part in range(run.parts(way.start)):
        came = run.read(way.start, part, ["finish", *sums])
        _add_finishes(way.finishes, came["finish"])
        asked = run.read(way.prompts, part, ["template", "variant"])
        names = {"template": _text(asked, "template"), "variant": _text(asked, "variant")}
        table = pa.table({**names, **{name: came[name] for name in sums}})
        aggregates = [([], "count_all"), *((name, "sum") for name in sums)]
        for row in table.group_by(list(names)).aggregate(aggregates).to_pylist():
            got = Count(row["count_all"], row["prompt_tokens_sum"] or 0, row["completion_tokens_sum"] or 0)
            way.add(row["template"], row["variant"], got)


def _add_finishes(found: Counter[str], finishes: pa.ChunkedArray) -> None:
    for pair in pc.value_counts(finishes.combine_chunks()).to_pylist():
        found[(pair["values"] or "none").partition(":")[0]] += pair["counts"]  # an error tells more after it


def _add_again(run: Run, way: Way) -> None:
    """Second questions about a way; a row that needs none is not asked."""
    about = {} if way.prompts is None else generates_again(run, way.prompts)
    for again in (Again(name) for name, asked_about in about.items() if asked_about == way.start):
        for part in range(run.parts(again.stage)):
            came = run.read(again.stage, part, ["finish", "prompt_tokens", "completion_tokens"])
            _add_finishes(again.finishes, came["finish"])
            again.count.prompt_tokens += pc.sum(came["prompt_tokens"]).as_py() or 0
            again.count.completion_tokens += pc.sum(came["completion_tokens"]).as_py() or 0
        again.finishes.pop(NOT_ASKED, None)
        again.count.asked = again.finishes.total()
        way.again.append(again)


def _add_refused(run: Run, track: Track, found: Counted, others: _Others) -> None:
    """Rows that the bases of a track dropped; a start that made nothing of a document refused no text."""
    bases = [base for base in track.bases if base not in track.starts or generates(run, base)]
    judges = {judge for base in bases for judge in (base, *run.known[base]["inputs"].get("verdicts", ()))}
    for holder in ledger_holders(run, list(track.bases)) if found.ways else ():
        sampled = spread(run.parts(holder))
        for part in range(run.parts(holder)):
            rows = run.ledger(holder, part, ["id", "url", "stage", "reason"])
            mine = pc.is_in(rows["stage"], pa.array(sorted(judges), pa.string())) if len(rows) else None
            if mine is None or not pc.any(mine).as_py():
                continue
            places = pc.indices_nonzero(mine).to_numpy()
            rows = rows.filter(mine)
            templates = pc.replace_substring_regex(rows["url"], OF_URL, "").combine_chunks()
            numbers, names = others.labels(track, rows["id"], templates)
            table = pa.table({"label": pa.array(numbers), "reason": rows["reason"]})
            for row in table.group_by(["label", "reason"]).aggregate([([], "count_all")]).to_pylist():
                way, template = names[row["label"]]
                found.ways[way].of(template).refused[row["reason"]] += row["count_all"]
            if part in sampled:
                draw = found.refused.setdefault(holder, Draw())
                draw.add(words_of(rows["id"]), (numbers, names), part, places)


def _add_left(run: Run, branch: Branch, found: Counted, others: _Others) -> None:
    """Rows of the last base on disk that nothing after it dropped."""
    assert found.last is not None
    track = next(track for track in branch.tracks if found.last in track.bases)
    holders = _after(run, branch, found.last)
    sampled = spread(run.parts(found.last))
    answers = next((way.start for way in found.ways if way.prompts == found.last), None)
    for part in range(run.parts(found.last)):
        rows = run.read(found.last, part, ["id", "template", "variant", "tokens"])
        if answers is not None:
            rows = rows.append_column("tokens", run.read(answers, part, ["completion_tokens"])["completion_tokens"])
        kept = pc.indices_nonzero(pc.invert(dropped(run, holders, part, rows["id"])))
        rows = rows.take(kept)
        numbers, names = others.labels(track, rows["id"], _text(rows, "template"))
        known = "tokens" in rows.column_names
        tokens = rows["tokens"] if known else pa.nulls(len(rows), pa.int32())
        table = pa.table({"label": pa.array(numbers), "variant": _text(rows, "variant"), "tokens": tokens})
        sums = table.group_by(["label", "variant"]).aggregate([([], "count_all"), ("tokens", "sum")]).to_pylist()
        for row in sums:
            way, template = found.ways[names[row["label"]][0]], names[row["label"]][1]
            got = Count(accepted=row["count_all"], accepted_tokens=row["tokens_sum"] or 0)
            way.tokens_known &= known
            way.add(template, row["variant"], got)
        if part in sampled:
            found.kept.add(words_of(rows["id"]), (numbers, names), part, kept.to_numpy())


def _after(run: Run, branch: Branch, base: str) -> list[str]:
    """The bases on disk whose ledgers have what was dropped after this one, up to the branch's end."""
    bases = [name for track in branch.tracks for name in track.bases]
    return ledger_holders(run, bases[bases.index(base) + 1 :])


def dropped(run: Run, holders: list[str], part: int, ids: pa.ChunkedArray) -> pa.Array:
    """Whether rows with these ids were dropped, as the ledgers of this part say."""
    gone = pa.repeat(pa.scalar(False), len(ids))
    for holder in holders:
        lost = run.ledger(holder, part, ["id"])
        if len(lost):
            gone = pc.or_(gone, pc.is_in(ids, lost["id"].combine_chunks()).combine_chunks())
    return gone
