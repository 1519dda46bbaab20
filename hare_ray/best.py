"""The best n of every group, exactly, where no process sees all rows.

    part -> Contest (group, quality, hash of the id)    competing rows of one part
    best(...) -> Limits                                 per group, the least that a row must have to be among its best

A radix select. A row's key is 64 bits: its quality as an unsigned number of the same order, then half of the hash of
its id. Every pass has the parts count, for groups that are still open, how many rows have which next 12 bits of key
behind the bits that are known already. The sums say in which bin the n-th best row lies: where it takes that bin whole,
the group is done, otherwise the bits of the bin are known and only its rows are still in question. As soon as few rows
are, they are fetched and sorted. A billion rows take two passes and a fetch.

Sorting all rows, or ranking them in one process, gives the same result with memory for every row. Here the driver holds
a number per group and filled bin, and the rows that were fetched at last.

Of equal quality the larger hash is better, so that neither the order of the rows nor the cut of the parts decides. Rows
that are equal in the hash as well are copies of one record, and go together: none stays where not all can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.mixing import halves, mixed
from hare_ray.stage import Stage, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk, Mapper

DIGIT_BITS = 12
"""Of a key that a pass looks at. The first are sign, exponent and three bits, of whose 4,096 bins quality between 0 and
1 fills some dozens: even a hundred thousand groups make no more than some million counts."""

FETCHED_ROWS = 1 << 20
"""Rows in question that are fetched and sorted at once: 20 MB."""

ROUND_PARTS = 1024
"""Parts whose counts are in the driver at a time, before they are added up."""

NONE = np.uint64(2**64 - 1)
"""A key that no row reaches: its quality would be no number."""

Counts = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending codes and how often each was met."""


@dataclass(frozen=True)
class Contest:
    """Rows of one part as they compete."""

    group: NDArray[np.int64]
    """Below 0: does not compete."""
    quality: NDArray[np.float32]
    hashes: NDArray[np.uint64]

    @property
    def key(self) -> NDArray[np.uint64]:
        """Ascends with quality, then with the hash."""
        bits = (self.quality + np.float32(0)).view(np.uint32)  # adding 0 makes one zero of two
        ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
        return (ordered << np.uint64(32)) | (self.hashes >> np.uint64(32))


Contestants = Callable[[int], Contest]
"""Gives the rows of a part; travels to workers."""


@dataclass(frozen=True)
class Limits:
    """Per group, the key of the last row that is among the best, and its hash."""

    key: NDArray[np.uint64]
    hashes: NDArray[np.uint64]

    def admit(self, rows: Contest) -> NDArray[np.bool_]:
        """Which rows are among the best of their group."""
        admitted = rows.group >= 0
        group, key = rows.group[admitted], rows.key[admitted]
        equal = (key == self.key[group]) & (rows.hashes[admitted] >= self.hashes[group])
        admitted[admitted] = (key > self.key[group]) | equal
        return admitted


@dataclass(frozen=True)
class _Search:
    """What is known of the n-th best key of every group: its bits from `low` on."""

    open: NDArray[np.bool_]
    known: NDArray[np.uint64]
    low: int

    def rows(self, contest: Contest) -> NDArray[np.int64]:
        """Rows that may be the n-th best of an open group."""
        at = np.flatnonzero(contest.group >= 0)
        at = at[self.open[contest.group[at]]]
        return at[_from(contest.key[at], self.low) == self.known[contest.group[at]]]


def best(
    mapper: Mapper, contest: Contestants, parts: int, wanted: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Limits:
    """Limits that admit the best `wanted[g]` of the `sizes[g]` rows of every group g."""
    key = np.where(wanted >= sizes, np.uint64(0), NONE)
    hashes = key.copy()
    needed = wanted.astype(np.int64)
    search = _Search((wanted > 0) & (wanted < sizes), np.zeros(len(wanted), np.uint64), 64)
    in_question = int(sizes[search.open].sum())
    while in_question > FETCHED_ROWS and search.low >= DIGIT_BITS:
        low = search.low - DIGIT_BITS
        group, digit, above, rows = _boundaries(summed(mapper, partial(_digits, contest, search), parts), needed)
        known, still = search.known.copy(), search.open.copy()
        known[group] = (known[group] << np.uint64(DIGIT_BITS)) | digit.astype(np.uint64)
        needed[group] -= above
        whole = rows == needed[group]
        done = group[whole]
        key[done], hashes[done], still[done] = known[done] << np.uint64(low), 0, False
        search, in_question = _Search(still, known, low), int(rows[~whole].sum())
    if in_question:
        fetched = mapper(partial(_fetch, contest, search), list(range(parts)))
        rows = (np.concatenate(column) for column in zip(*fetched, strict=True))
        group, last_key, last_hash = _last(*rows, needed=needed)
        key[group], hashes[group] = last_key, last_hash
    return Limits(key, hashes)


def counted(mapper: Mapper, contest: Contestants, parts: int) -> NDArray[np.int64]:
    """Number of competing rows of every group."""
    group, rows = summed(mapper, partial(_groups, contest), parts)
    sizes = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    sizes[group] = rows
    return sizes


def summed(mapper: Mapper, function: Callable[[int], Counts], parts: int) -> Counts:
    """Counts of all parts together."""
    codes, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for first in range(0, parts, ROUND_PARTS):
        found = mapper(function, list(range(first, min(parts, first + ROUND_PARTS))))
        codes, place = np.unique(np.concatenate([codes, *(one[0] for one in found)]), return_inverse=True)
        given = np.concatenate([counts, *(one[1] for one in found)])
        counts = np.zeros(len(codes), np.int64)
        np.add.at(counts, place, given)
    return codes, counts


def _groups(contest: Contestants, part: int) -> Counts:
    group = contest(part).group
    return np.unique(group[group >= 0], return_counts=True)


def _digits(contest: Contestants, search: _Search, part: int) -> Counts:
    """How many rows of each open group have which next digit: codes are group and digit."""
    rows = contest(part)
    at = search.rows(rows)
    digit = _from(rows.key[at], search.low - DIGIT_BITS) & np.uint64((1 << DIGIT_BITS) - 1)
    return np.unique((rows.group[at] << DIGIT_BITS) | digit.astype(np.int64), return_counts=True)


def _fetch(contest: Contestants, search: _Search, part: int) -> tuple[NDArray, NDArray, NDArray]:
    rows = contest(part)
    at = search.rows(rows)
    return rows.group[at], rows.key[at], rows.hashes[at]


def _boundaries(found: Counts, needed: NDArray[np.int64]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Per group, the digit of the row that is needed last, rows of larger digits, and rows of this one."""
    codes, counts = found[0][::-1], found[1][::-1]
    group, digit = codes >> DIGIT_BITS, codes & ((1 << DIGIT_BITS) - 1)
    before = np.cumsum(counts) - counts
    above = before - before[np.searchsorted(-group, -group)]
    at = np.flatnonzero((above < needed[group]) & (above + counts >= needed[group]))
    return group[at], digit[at], above[at], counts[at]


def _last(
    group: NDArray[np.int64], key: NDArray[np.uint64], hashes: NDArray[np.uint64], needed: NDArray[np.int64]
) -> tuple[NDArray, NDArray, NDArray]:
    """Per group of the fetched rows, key and hash of the row that is needed last; every group has one more."""
    order = np.lexsort((~hashes, ~key, group))
    group, key, hashes = group[order], key[order], hashes[order]
    names, first = np.unique(group, return_index=True)
    at = first + needed[names] - 1
    tied = (key[at] == key[at + 1]) & (hashes[at] == hashes[at + 1])
    return names, key[at], hashes[at] + tied.astype(np.uint64)


def _from(key: NDArray[np.uint64], low: int) -> NDArray[np.uint64]:
    """The bits from `low` on, which may be 64: none."""
    return key >> np.uint64(low - 1) >> np.uint64(1) if low else key


def id_hashes(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """63 well mixed bits of every document's id, so that one more than any of them is still a number."""
    wide = halves(ids.combine_chunks())
    return mixed(mixed(wide[:, 0]) ^ wide[:, 1]) >> np.uint64(1)


@dataclass(frozen=True)
class Documents:
    """The documents of a table as they compete within their topics; those that a verdict dropped do not."""

    desk: Desk
    docs: Table
    clusters: Table
    scores: Table | None
    """None: all are equally good."""
    without: tuple[Table, ...]

    def __call__(self, part: int) -> Contest:
        """Rows of a part."""
        topic = self.desk.read(self.clusters, part, ("cluster",)).column("cluster").to_numpy().astype(np.int64)
        if len(topic) and topic.min() < 0:
            raise ValueError(f"{self.clusters!r}: given cluster {topic.min()} in part {part}, expected 0 or more")
        for verdict in self.without:
            dropped = self.desk.read(verdict, part, ("reason",)).column("reason").is_valid()
            topic[dropped.to_numpy()] = -1
        quality = np.zeros(len(topic), np.float32)
        if self.scores is not None:
            scores = self.desk.read(self.scores, part, ("quality",)).column("quality")
            quality = scores.to_numpy().astype(np.float32)  # half of a key; what differs less is equal
        if missing := int(np.isnan(quality).sum()):
            raise ValueError(
                f"{self.scores!r}: given {missing} of {len(quality)} rows in part {part} whose quality is no number, "
                "expected a number in each; mend what scores them"
            )
        return Contest(topic, quality, id_hashes(self.desk.read(self.docs, part, ("id",)).column("id")))


def check_tables(stage: Stage, docs: Table, others: tuple[Table | None, ...], verdicts: tuple[Table, ...]) -> None:
    """Refuse tables whose rows are not the same documents, and those that lack what is read of them.

    `others` are the clusters and the scores, if any.
    """
    for other in (*others, *verdicts):
        if other is not None and other.base is not docs.base:
            raise ValueError(
                f"{stage!r} joins {docs!r} on base {docs.base!r} with {other!r} on base {other.base!r}; "
                "rows join by position, so all must speak of one and the same base object"
            )
    for other, name in zip(others, ("cluster", "quality"), strict=True):
        if other is None:
            continue
        kinds = {field.name: field.type for field in other.schema()}
        if name not in kinds or not (pa.types.is_integer(kinds[name]) or pa.types.is_floating(kinds[name])):
            raise ValueError(
                f"{stage!r}: given {other!r} with the columns {kinds}, expected a column of numbers {name!r}; "
                f"give the stage that writes {name!r}"
            )
    for verdict in verdicts:
        if "reason" not in verdict.schema().names:
            raise ValueError(f"{stage!r}: given {verdict!r} in `without`, expected a verdict: a table with `reason`")
