"""Who opts out takes all copies of the text with him: requests become clusters of duplicates, and these a verdict.

    OptOutList    id and url of the documents and their duplicate_cluster, all before duplicates go, and the lists
                  -> clusters.npy  uint64[clusters, 2], sorted: halves of the ids of clusters, as big-endian numbers
                     report.json   entries asked and found, what each matched, and by name those that matched nothing
    OptOut        documents with the column duplicate_cluster
                  -> reason        opted_out

A page that asks to be left out may have been dropped already, as the copy of a page elsewhere that stayed. So requests
are looked up among all documents, and what goes is the cluster: the kept copy at another URL too. Near duplicates
belong to it as they do when duplicates are dropped.

The list enters here and nowhere before: when it changes, this verdict is made again, what is selected by it, and what
is made of that (tokenizer, shards). Text, signatures, clusters and embeddings stay. How lists are written:
`hare_ray.dedup.optout_entries`.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.schema import ID, REASON
from hare_ray.stage import Annotate, Files, Make, PartFunction, Source, Table

if TYPE_CHECKING:
    from hare_ray.dedup.optout_entries import Entry
    from hare_ray.gather import Desk

OPTED_OUT = "opted_out"

CLUSTER = "duplicate_cluster"

CLUSTERS = "clusters.npy"
REPORT = "report.json"


class OptOutList(Make):
    """The clusters of duplicates that someone asked to leave out."""

    docs: Table
    duplicates: Table
    """Has the column `duplicate_cluster`."""
    lists: tuple[Source, ...]

    def __post_init__(self) -> None:
        """Refuse verdicts on other documents, and no list."""
        if self.duplicates.base is not self.docs.base:
            raise ValueError(
                f"{self!r} joins documents on base {self.docs.base!r} with duplicates on base "
                f"{self.duplicates.base!r}; give the documents that the duplicates were looked for in"
            )
        if CLUSTER not in self.duplicates.schema().names:
            raise ValueError(f"{self.duplicates!r} has no column {CLUSTER}; {self!r} needs it to find all copies")
        if not self.lists:
            raise ValueError(f"{self!r} is given no list; expected a source of them, or leave the stage out")

    def make(self, desk: Desk) -> dict[str, int]:
        """Look up all documents, part by part."""
        entries = _read(desk, self.lists)
        rows = desk.rows(self.docs)
        found = desk.map(partial(_look_up, desk, self, entries), range(len(rows)))
        matched = sum((Counter(counts) for _, counts in found), Counter())
        clusters = np.unique(np.concatenate([np.empty((0, 2), np.uint64), *(some for some, _ in found)]), axis=0)
        np.save(desk.folder / CLUSTERS, clusters)
        missed = [entry.name for number, entry in enumerate(entries) if number not in matched]
        report = {
            "asked": len(entries),
            "found": len(matched),
            "clusters": len(clusters),
            "matched_nothing": missed,
            "entries": [
                {"entry": entry.name, "kind": entry.kind, "documents": matched[number]}
                for number, entry in enumerate(entries)
            ],
        }
        (desk.folder / REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return {
            "documents": sum(rows),
            "entries": len(entries),
            "entries_found": len(matched),
            "clusters": len(clusters),
        }


def _read(desk: Desk, lists: tuple[Source, ...]) -> list[Entry]:
    """All entries, each normal form once, in the order of the lists."""
    from hare_ray.dedup.optout_entries import parse

    found: dict[tuple[str, str], Entry] = {}
    for source in lists:
        for name in desk.names(source):
            for entry in parse(desk.files(source) / name):
                found.setdefault((entry.kind, entry.value), entry)
    return list(found.values())


def _look_up(
    desk: Desk, stage: OptOutList, entries: list[Entry], part: int
) -> tuple[NDArray[np.uint64], dict[int, int]]:
    """Clusters of one part that are asked for, and how many documents each entry matches, by its number."""
    docs = desk.read(stage.docs, part, ["id", "url"])
    clusters = desk.read(stage.duplicates, part, [CLUSTER]).column(CLUSTER).combine_chunks()
    asked = np.zeros(len(docs), bool)
    matched: Counter[int] = Counter()
    for numbers in _matches(docs, entries):
        asked |= numbers >= 0
        some, counts = np.unique(numbers[numbers >= 0], return_counts=True)
        matched.update(dict(zip(some.tolist(), counts.tolist(), strict=True)))
    return _halves(clusters.filter(pa.array(asked))), dict(matched)


def _matches(docs: pa.Table, entries: list[Entry]) -> list[NDArray[np.int64]]:
    """Number of the entry that each document matches, -1 for none: by id, by URL, and by host and parent domains."""
    from hare_ray.dedup.optout_entries import HOST, SITE, URL, normal

    kinds = {kind: [n for n, entry in enumerate(entries) if entry.kind == kind] for kind in ("id", URL, HOST, SITE)}
    ids = pa.array([bytes.fromhex(entries[n].value) for n in kinds["id"]], ID.type)
    found = [_numbers(docs.column("id").combine_chunks(), ids, kinds["id"])]
    if kinds[URL] or kinds[HOST] or kinds[SITE]:
        hosts, urls = normal(docs.column("url").combine_chunks())
        found.append(_numbers(urls, pa.array([entries[n].value for n in kinds[URL]], pa.string()), kinds[URL]))
        found.append(_numbers(hosts, pa.array([entries[n].value for n in kinds[SITE]], pa.string()), kinds[SITE]))
        names = hosts.dictionary_encode()
        wanted = pa.array([entries[n].value for n in kinds[HOST]], pa.string())
        domains = names.dictionary
        while kinds[HOST] and len(domains):
            numbers = _numbers(domains, wanted, kinds[HOST])
            if (numbers >= 0).any():
                found.append(numbers[names.indices.to_numpy()])
            domains = pc.replace_substring_regex(domains, r"^[^.]*\.?", "")
            if pc.all(pc.equal(domains, "")).as_py():
                break
    return found


def _numbers(values: pa.Array, wanted: pa.Array, numbers: list[int]) -> NDArray[np.int64]:
    """The number of the wanted value that each value is, or -1."""
    at = pc.fill_null(pc.index_in(values, value_set=wanted), -1).to_numpy(zero_copy_only=False)
    return np.array([*numbers, -1], np.int64)[at]


def _halves(ids: pa.Array) -> NDArray[np.uint64]:
    """A binary(16) column without nulls as two numbers per row, in the order of the bytes."""
    if len(ids) == 0:
        return np.empty((0, 2), np.uint64)
    data = np.frombuffer(ids.buffers()[1], ">u8", 2 * len(ids), 16 * ids.offset)
    return data.reshape(-1, 2).astype(np.uint64)


class OptOut(Annotate):
    """A verdict: the document, or a copy of it, is asked to be left out."""

    docs: Table
    """With `duplicate_cluster`, as `Keep` carries it."""
    opted_out: OptOutList

    writes: ClassVar[pa.Schema] = pa.schema([REASON])
    reads: ClassVar[tuple[str, ...] | None] = (CLUSTER,)

    def __post_init__(self) -> None:
        """Refuse documents that do not know their cluster."""
        super().__post_init__()
        if CLUSTER not in self.docs.schema().names:
            raise ValueError(
                f"{self!r}: {self.docs!r} has no column {CLUSTER}; carry it: carry=({CLUSTER!r},) in the Keep that "
                "drops duplicates"
            )

    def prepare(self, files: Files) -> PartFunction:
        """Read the clusters."""
        clusters = np.load(files(self.opted_out) / CLUSTERS)
        data = pa.py_buffer(clusters.astype(">u8").tobytes())
        asked = pa.Array.from_buffers(ID.type, len(clusters), [None, data])

        def judge(docs: pa.Table) -> pa.Table:
            hit = pc.is_in(docs.column(CLUSTER), value_set=asked)
            return pa.table({"reason": pc.if_else(hit, OPTED_OUT, pa.scalar(None, pa.string()))}, schema=self.writes)

        return judge
