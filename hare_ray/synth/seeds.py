"""Which documents seed synthesis: the same number from every topic, drawn by hash.

    id, cluster  ->  chosen bool
                     turn int32      0, 1, ... within the topic in the order of the hashes; null where not chosen
                                     with `kinds` (id, cluster, url, file): within the topic and the kind of source

HARE (arXiv 2406.11410, 1 and A.2) samples seeds from topics, so that what is written is as diverse as the topics are
and not as the web is frequent. Of a topic those documents are chosen whose h = xxh3-64(id, salt) is smallest: a
function of the set of rows, however they lie in parts, and another draw for another salt. `turn` lets what follows
take its templates in rotation; where each kind of source has its own templates, they come evenly only if each kind is
counted by itself.

    quota of a topic = min(documents, per_topic)
    with `total`: min(quota, L) for the largest L that fits, and one more each for topics in the order of their hash

Exact in two passes over ids and topics alone. The first counts topics. Hashes are even, so the k smallest of n lie
with near certainty below b = (k + 6 sqrt(k) + 12) / n; the second pass brings the hashes below b to the driver, again
with a wider b where a topic got fewer than its quota. The driver holds 12 bytes a candidate, some 40 while it ranks
them, and the parts get back the ranks of their own. Rows with the same id are chosen together, on one turn.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from hare_ray.priors.prompts import Kind
from hare_ray.stage import Gather, Table
from hare_ray.synth.rotation import kinds_of

if TYPE_CHECKING:
    from hare_ray.gather import Desk

NO_TOPIC = -1
"""Topic of the documents that have none."""

SPARE_DEVIATIONS, SPARE_SEEDS = 6, 12
"""Candidates beyond the quota k: sqrt(k) is their standard deviation; the constant is for small k."""

HASHES = 2.0**64
LAST_HASH = 2**64 - 1


class Seeds(Gather):
    """An equal number of documents from every topic."""

    docs: Table
    per_topic: int
    """Seeds of a topic; all of its documents where it has fewer."""
    total: int | None
    """Seeds at most, over all topics; None: no further limit."""
    salt: str
    """Different salts draw differently: D2 and D3 then start from different documents."""
    topic: str = "cluster"
    """Column with a document's topic; synthetic text calls it `topic`."""
    kinds: tuple[Kind, ...] = ()
    """Of the templates that the seeds will go to, if turns are to be counted for each kind of source by itself."""

    writes: ClassVar[pa.Schema] = pa.schema(
        [pa.field("chosen", pa.bool_(), nullable=False), pa.field("turn", pa.int32())]
    )

    def __post_init__(self) -> None:
        """Refuse numbers that choose nothing, and documents without topics."""
        if self.per_topic < 1 or (self.total is not None and self.total < 1):
            raise ValueError(
                f"{self!r}: given per_topic={self.per_topic}, total={self.total}; expected at least 1 each"
            )
        if self.topic not in self.docs.schema().names:
            raise ValueError(
                f"{self!r}: {self.docs!r} has no column {self.topic!r}; carry the topics there, or name their "
                f"column among {self.docs.schema().names} as `topic`"
            )

    def gather(self, desk: Desk) -> None:
        """Count topics, collect candidates, rank them, write part by part."""
        parts = range(desk.parts(self.docs))
        topics, counts = _summed(desk.map(partial(_tally, desk, self), parts))
        quotas = quotas_of(topics, counts, self.per_topic, self.total, self.salt)
        widening = 1.0
        while True:
            bounds = bounds_of(counts, quotas, widening)
            found = desk.map(partial(_candidates, desk, self, topics, bounds), parts)
            places = np.concatenate([np.empty(0, np.int32), *(part[0] for part in found)])
            hashes = np.concatenate([np.empty(0, np.uint64), *(part[1] for part in found)])
            if np.all(np.bincount(places, minlength=len(topics)) >= quotas):
                break
            widening *= 2
        turns = turns_of(places, hashes, quotas)
        if self.kinds and found:
            turns = turns_apart(turns, places * len(self.kinds) + np.concatenate([part[2] for part in found]))
        own = np.split(turns, np.cumsum([len(part[0]) for part in found])[:-1]) if found else []
        desk.map(partial(_write, desk, self, topics, bounds), list(zip(parts, own, strict=True)))


def _topics_of(desk: Desk, stage: Seeds, part: int) -> NDArray[np.int32]:
    column = desk.read(stage.docs, part, (stage.topic,)).column(stage.topic)
    return np.asarray(column.fill_null(NO_TOPIC), np.int32)


def _tally(desk: Desk, stage: Seeds, part: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    topics, counts = np.unique(_topics_of(desk, stage, part), return_counts=True)
    return topics, counts


def _summed(
    tallies: list[tuple[NDArray[np.int32], NDArray[np.int64]]],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Topics in order and their documents, over all parts."""
    every = np.concatenate([np.empty(0, np.int32), *(topics for topics, _ in tallies)])
    counts = np.concatenate([np.empty(0, np.int64), *(counts for _, counts in tallies)])
    topics, place = np.unique(every, return_inverse=True)
    return topics, np.bincount(place, counts, len(topics)).astype(np.int64)


def hashes_of(keys: list[bytes], salt: str) -> NDArray[np.uint64]:
    """xxh3-64 of every key, salted."""
    seed = xxhash.xxh3_64_intdigest(salt.encode())
    return np.fromiter((xxhash.xxh3_64_intdigest(key, seed) for key in keys), np.uint64, len(keys))


def quotas_of(
    topics: NDArray[np.int32], counts: NDArray[np.int64], per_topic: int, total: int | None, salt: str
) -> NDArray[np.int64]:
    """Seeds that each topic gives."""
    quotas = np.minimum(counts, per_topic)
    if total is None or quotas.sum() <= total:
        return quotas
    low, high = 0, per_topic  # the largest level whose sum fits: it fits at low, and not at high
    while high - low > 1:
        middle = (low + high) // 2
        fits = np.minimum(quotas, middle).sum() <= total
        low, high = (middle, high) if fits else (low, middle)
    levelled = np.minimum(quotas, low)
    higher = np.flatnonzero(quotas > low)
    order = np.argsort(hashes_of([topic.tobytes() for topic in topics[higher]], salt), kind="stable")
    levelled[higher[order[: total - int(levelled.sum())]]] += 1
    return levelled


def bounds_of(counts: NDArray[np.int64], quotas: NDArray[np.int64], widening: float) -> NDArray[np.uint64]:
    """Per topic the hash up to which documents are candidates."""
    spare = SPARE_DEVIATIONS * np.sqrt(quotas) + SPARE_SEEDS
    share = np.where(quotas > 0, (quotas + widening * spare) / np.maximum(counts, 1), 0.0)
    inside = (np.minimum(share, 0.5) * HASHES).astype(np.uint64)  # beyond one half all are as good
    return np.where(share < 0.5, inside, np.uint64(LAST_HASH))


def _below(
    desk: Desk, stage: Seeds, topics: NDArray[np.int32], bounds: NDArray[np.uint64], part: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Rows of the candidates, the places of their topics, and their hashes."""
    places = np.searchsorted(topics, _topics_of(desk, stage, part))
    hashes = hashes_of(desk.read(stage.docs, part, ("id",)).column("id").to_pylist(), stage.salt)
    rows = np.flatnonzero(hashes <= bounds[places])
    return rows, places[rows], hashes[rows]


def _candidates(
    desk: Desk, stage: Seeds, topics: NDArray[np.int32], bounds: NDArray[np.uint64], part: int
) -> tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.int32]]:
    """Places of the candidates' topics, their hashes, and their kinds where these count."""
    rows, places, hashes = _below(desk, stage, topics, bounds, part)
    kinds = np.zeros(len(rows), np.int32)
    if stage.kinds:
        kinds = kinds_of(desk.read(stage.docs, part, ("url", "file")).take(pa.array(rows)), stage.kinds)
    return places.astype(np.int32), hashes, kinds


def turns_apart(turns: NDArray[np.int32], groups: NDArray[np.int32]) -> NDArray[np.int32]:
    """The turns of each group counted by themselves, in their order; -1 stays."""
    chosen = turns >= 0
    named, places = np.unique(groups[chosen], return_inverse=True)
    apart = turns.copy()
    apart[chosen] = turns_of(places, turns[chosen].astype(np.uint64), np.full(len(named), len(places)))
    return apart


def turns_of(places: NDArray[np.integer], hashes: NDArray[np.uint64], quotas: NDArray[np.int64]) -> NDArray[np.int32]:
    """Rank of each candidate in its topic, equal hashes on the rank of the first; -1 from the quota on."""
    order = np.lexsort((hashes, places))
    places, hashes = places[order], hashes[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(places) != 0) | (hashes[1:] != hashes[:-1])
    first = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
    rank = first - np.searchsorted(places, places)
    turns = np.empty(len(order), np.int32)
    turns[order] = np.where(rank < quotas[places], rank, -1)
    return turns


def _write(
    desk: Desk,
    stage: Seeds,
    topics: NDArray[np.int32],
    bounds: NDArray[np.uint64],
    item: tuple[int, NDArray[np.int32]],
) -> None:
    part, own = item
    rows, _, _ = _below(desk, stage, topics, bounds, part)
    turn = np.full(desk.rows(stage.docs)[part], -1, np.int32)
    turn[rows] = own
    chosen = turn >= 0
    desk.write(part, pa.table([pa.array(chosen), pa.array(turn, mask=~chosen)], schema=stage.writes))
