"""What each topic is about: its words, its most typical documents, its size, quality and sources.

    id, url, title, text, cluster, similarity [, quality] -> labels.json, a list, largest topic first:
        cluster, label, words, rows,
        quality    mean and deviation (the standard deviation within the topic); null where nothing was scored
        sources    source and rows of its largest sources (`hare_ray.cluster.sources`)
        ids, urls, titles, openings      of the `nearest` documents, nearest to the centroid first

Words (`hare_ray.cluster.words`) are those of the `documents_per_cluster` documents nearest to each centroid: the middle
of a topic names it best. A topic without words, all numbers or empty pages, is called "topic 7". A topic without
documents has nothing to be shown and is not in the list.

No process holds the corpus. Parts report sizes and sources, which are added up a few parts at a time; which documents
are among the nearest is found by counting (`hare_ray.best`); those documents, cut to what is read of them, are put
together topic by topic. Topics are dealt out by number to groups of about `GROUP_ROWS` documents, and a word is
compared over the topics of its group: a draw of a hundred topics or more, all of them where there are few.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.best import Contest, Limits, best, id_hashes
from hare_ray.cluster.sample import check_one_base
from hare_ray.cluster.sources import MAX_SOURCES, NO_SOURCES, count_sources, largest, merged
from hare_ray.cluster.words import CHARACTERS_READ, TITLE_CHARACTERS, ranks, topic_words
from hare_ray.stage import Make, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

LABELS = "labels.json"

ROUND_PARTS = 64
"""Parts whose counts are in the driver at a time."""

GROUP_ROWS = 25_000
"""Documents whose words are counted at a time: up to 50 MB of text, and up to 1.5 GB while they are counted."""

MIN_RUNS = 64
"""Stretches of neighbouring parts that the nearest documents are collected in, side by side; more where there are more
groups, so that none holds many more documents than a group."""

OPENING_CHARACTERS = 200
"""Of a text, shown where a document has no title."""

SOURCES_SHOWN = 5

QUALITY_STEPS = 1 << 20
"""Qualities are added up as whole numbers of this part of one: sums of whole numbers do not depend on their order."""

_NEAR = pa.schema(
    [
        ("cluster", pa.int32()),
        ("similarity", pa.float32()),
        ("hash", pa.uint64()),
        ("id", pa.binary(16)),
        ("url", pa.string()),
        ("title", pa.large_string()),
        ("text", pa.large_string()),
    ]
)


class LabelClusters(Make):
    """Words, examples, size, quality and sources of every topic that has documents."""

    docs: Table
    clusters: Table
    """An Assign."""
    scores: Table | None = None
    """A Score; None: quality is not told."""
    words_per_label: int
    nearest: int
    """Documents shown per topic."""
    documents_per_cluster: int
    """Documents read per topic."""

    code: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse tables that do not belong together and numbers that mean nothing."""
        check_one_base(self, self.docs, self.clusters, *([self.scores] if self.scores else []))
        for name in ("words_per_label", "nearest", "documents_per_cluster"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected at least 1")

    def make(self, desk: Desk) -> dict[str, int]:
        """Count, find the documents nearest to each centroid, name the topics."""
        found = self._counted(desk)
        wanted = np.minimum(found.rows, max(self.documents_per_cluster, self.nearest))
        parts = desk.parts(self.clusters)
        near = _Near(desk, self.docs, self.clusters)
        limits = best(desk.map, near, parts, wanted, found.rows)
        groups = max(1, -(-int(wanted.sum()) // GROUP_ROWS))
        runs = [run.tolist() for run in np.array_split(np.arange(parts), min(parts, max(groups, MIN_RUNS)))]
        kept = desk.map(partial(_collect, near, limits, groups), list(enumerate(runs)))
        items = [(group, [run for run, there in enumerate(kept) if group in there]) for group in range(groups)]
        told = desk.map(partial(_named, desk, self), items)
        about = {name: one for group in told for name, one in group.items()}
        labels = [
            {**about.get(name, _nothing(name)), **found.facts(name)}
            for name in np.lexsort((np.arange(len(found.rows)), -found.rows)).tolist()
            if found.rows[name]
        ]
        (desk.folder / LABELS).write_text(json.dumps(labels, indent=1) + "\n")
        return {"rows": int(found.rows.sum()), "topics": len(labels), "read": int(wanted.sum())}

    def _counted(self, desk: Desk) -> _Counted:
        total, parts = _Counted(), list(range(desk.parts(self.clusters)))
        for start in range(0, len(parts), ROUND_PARTS):
            for one in desk.map(partial(_count, desk, self), parts[start : start + ROUND_PARTS]):
                total.add(one)
        return total


def _nothing(name: int) -> dict[str, Any]:
    """Of a topic of copies of one record, of which none is nearest."""
    return {"cluster": name, "label": f"topic {name}", "words": [], "ids": [], "urls": [], "titles": [], "openings": []}


@dataclass
class _Counted:
    """Sums by topic, over any number of parts."""

    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    quality: NDArray[np.int64] | None = None
    """Sums of quality and of its square, in steps, as two rows."""
    sources: pa.Table = field(default_factory=NO_SOURCES.empty_table)

    def add(self, other: _Counted) -> None:
        """Count others in."""
        topics = max(len(self.rows), len(other.rows))
        self.rows = _grown(self.rows, topics) + _grown(other.rows, topics)
        if other.quality is not None:
            mine = np.zeros((2, 0), np.int64) if self.quality is None else self.quality
            self.quality = _grown(mine, topics) + _grown(other.quality, topics)
        self.sources = merged(self.sources, other.sources, MAX_SOURCES)

    def facts(self, name: int) -> dict[str, Any]:
        """What is counted of a topic."""
        rows, quality = int(self.rows[name]), None
        if self.quality is not None:
            mean, square = (self.quality[:, name] / QUALITY_STEPS / rows).tolist()
            quality = {"mean": round(mean, 4), "deviation": round(max(0.0, square - mean * mean) ** 0.5, 4)}
        return {"rows": rows, "quality": quality, "sources": largest(self.sources, name, SOURCES_SHOWN)}


def _grown(values: NDArray[np.int64], topics: int) -> NDArray[np.int64]:
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, topics - values.shape[-1])])


def _count(desk: Desk, stage: LabelClusters, part: int) -> _Counted:
    cluster = desk.read(stage.clusters, part, ("cluster",)).column("cluster").to_numpy()
    if len(cluster) and cluster.min() < 0:
        raise ValueError(f"{stage.clusters!r}: given cluster {cluster.min()} in part {part}, expected 0 or more")
    columns = [name for name in ("url", "file", "source") if name in stage.docs.schema().names]
    sources = merged(
        count_sources(desk.read(stage.docs, part, columns), cluster), NO_SOURCES.empty_table(), MAX_SOURCES
    )
    rows, sums = np.bincount(cluster).astype(np.int64), None
    if stage.scores is not None:
        quality = desk.read(stage.scores, part, ("quality",)).column("quality").to_numpy().astype(np.float64)
        if broken := int(np.count_nonzero(~np.isfinite(quality))):
            raise ValueError(
                f"{stage.scores!r}: given {broken} of {len(quality)} rows in part {part} whose quality is no number, "
                "expected a number in each; mend what scores them"
            )
        steps = np.rint(np.stack([quality, quality * quality]) * QUALITY_STEPS)
        sums = np.stack([np.bincount(cluster, weights=one, minlength=len(rows)) for one in steps]).astype(np.int64)
    return _Counted(rows, sums, sources)


@dataclass(frozen=True)
class _Near:
    """Documents as they compete for being near the centroid of their topic."""

    desk: Desk
    docs: Table
    clusters: Table

    def __call__(self, part: int) -> Contest:
        """Rows of a part."""
        given = self.desk.read(self.clusters, part, ("cluster", "similarity"))
        return Contest(
            given.column("cluster").to_numpy().astype(np.int64),
            given.column("similarity").to_numpy(),
            id_hashes(self.desk.read(self.docs, part, ("id",)).column("id")),
        )


def _collect(near: _Near, limits: Limits, groups: int, item: tuple[int, list[int]]) -> list[int]:
    """Keep the nearest documents of a run of parts, one file per group; returns the groups that have any."""
    run, parts = item
    found = [_NEAR.empty_table()]
    for part in parts:
        contest = near(part)
        rows = np.flatnonzero(limits.admit(contest))
        if len(rows):
            docs = near.desk.read(near.docs, part, ("id", "url", "title", "text")).take(pa.array(rows))
            found.append(_cut(contest, rows, docs))
    table = pa.concat_tables(found)
    group = table.column("cluster").to_numpy() % groups
    for number in np.unique(group).tolist():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, _NEAR) as stream:
            stream.write_table(table.filter(pa.array(group == number)))
        near.desk.put(_name(number, run), sink.getvalue().to_pybytes())
    return np.unique(group).tolist()


def _name(group: int, run: int) -> str:
    return f"near-{group:05d}-{run:05d}"


def _cut(contest: Contest, rows: NDArray[np.int64], docs: pa.Table) -> pa.Table:
    """Documents with their place in the contest, cut to what is read of them."""
    text, title = (
        pc.utf8_slice_codeunits(docs.column(name).cast(pa.large_string()), 0, most)
        for name, most in (("text", CHARACTERS_READ), ("title", TITLE_CHARACTERS))
    )
    columns = [contest.group[rows].astype(np.int32), contest.quality[rows], contest.hashes[rows]]
    same = [docs.column("id").cast(pa.binary(16)), docs.column("url")]
    return pa.table([*(pa.array(values) for values in columns), *same, title, text], schema=_NEAR)


def _named(desk: Desk, stage: LabelClusters, item: tuple[int, list[int]]) -> dict[int, dict[str, Any]]:
    """Words and nearest documents of the topics of one group."""
    group, runs = item
    found = [pa.ipc.open_stream(desk.get(_name(group, run))).read_all() for run in runs]
    table = pa.concat_tables([_NEAR.empty_table(), *found])
    cluster, similarity, hashes = (table.column(name).to_numpy() for name in ("cluster", "similarity", "hash"))
    order = np.lexsort((~hashes, -similarity, cluster))
    table = table.take(pa.array(order))
    rank = ranks(cluster[order])
    read = table.filter(pa.array(rank < stage.documents_per_cluster))
    topic = read.column("cluster").to_numpy()
    words = topic_words(read.column("title"), read.column("text"), topic, stage.words_per_label)
    shown = table.filter(pa.array(rank < stage.nearest))
    labels: dict[int, dict[str, Any]] = {}
    for row in shown.drop_columns(["similarity", "hash"]).to_pylist():
        name = row["cluster"]
        mine = words.get(name, [])
        if name not in labels:
            labels[name] = {**_nothing(name), "words": mine, "label": ", ".join(mine) or f"topic {name}"}
        labels[name]["ids"].append(row["id"].hex())
        labels[name]["urls"].append(row["url"])
        labels[name]["titles"].append(row["title"])
        labels[name]["openings"].append(opening(row["text"] or ""))
    return labels


def opening(text: str) -> str:
    """The first words of a text, on one line."""
    head = " ".join(text[: 4 * OPENING_CHARACTERS].split())
    return head if len(head) <= OPENING_CHARACTERS else head[:OPENING_CHARACTERS].rsplit(" ", 1)[0]
