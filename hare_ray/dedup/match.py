"""Candidates: texts that share the key of a band, and what their sketches say of them.

    partition of keys   -> pairs of texts in one bucket, cut by the place of the second
    place               -> its pairs, each once, with the second's sketch, cut by the place of the first
    partition of texts  -> pairs whose sketches are similar: the edges

A bucket of up to WINDOW + 2 texts gives all its pairs. A larger one, as templates make, gives each text the bucket's
first and the WINDOW before it: a number of pairs in proportion to the texts, in which a stranger cannot cut the others
apart. Texts lie in the order of their hash, so which pairs these are does not depend on files. Two texts of earlier
crawls are no pair: they were compared then.

No step holds more than a place's sketches and a batch of pairs. A partition with too many keys, as one template on
every page makes, takes them in the order of their texts and carries on what later ones may meet: of every bucket the
first text and the last WINDOW. A place with too many pairs takes them in turns, chosen by the hash of the pair, so
that each is still met once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hare_ray.dedup.plan import BYTES_PER_KEY, Work
from hare_ray.dedup.runs import cut, pack, sorted_order, unique_pairs, unpack
from hare_ray.dedup.texts import sketches
from hare_ray.kernel import njit

WINDOW = 8
"""Texts before it in a crowded bucket that each is compared with."""

COMPARED_AT_ONCE = 1 << 16
"""Pairs whose sketches lie side by side: 15 MB at 112 bytes."""

_ODD = np.uint64(0x9E3779B97F4A7C15)
_S32 = np.uint64(32)


@njit
def bucket_pairs(
    keys: NDArray[np.uint64],
    numbers: NDArray,
    fresh: NDArray[np.bool_],
    ours: int,
    at: tuple[int, int],
    out: tuple[NDArray, NDArray],
) -> tuple[tuple[int, int], int]:
    """Pairs of texts whose sorted keys are equal, from `at` on, until `out` is full; where to go on, and how many.

    `fresh`: records that were not paired before; `at`: the next record and the first of its bucket.
    """
    record, head = at
    first, second = out
    count = 0
    while record < len(keys) and count + WINDOW + 1 <= len(first):
        if record == 0 or keys[record] != keys[record - 1]:
            head = record
        text = numbers[record]
        nearest = max(head, record - WINDOW)
        for other in range(nearest - 1 if fresh[record] else record, record):
            before = numbers[head] if other < nearest else numbers[other]
            if (other >= nearest or head < nearest) and before < ours and before != text:
                first[count], second[count] = before, text
                count += 1
        record += 1
    return (record, head), count


@njit
def buckets(keys: NDArray[np.uint64], weights: NDArray[np.int64]) -> tuple[int, int]:
    """Sorted keys that come more than once, and how often the most frequent one comes; a record counts its weight."""
    count, largest, size = 0, 0, 0
    for i in range(len(keys)):
        size = weights[i] + (size if i and keys[i] == keys[i - 1] else 0)
        count += size > 1 and (i + 1 == len(keys) or keys[i + 1] != keys[i])
        largest = max(largest, size)
    return count, largest


@njit
def carry(keys: NDArray[np.uint64], numbers: NDArray, weights: NDArray[np.int64]) -> int:
    """Move to the front what later pieces may meet, the first of a bucket weighing for those left out; how many."""
    held, start = 0, 0
    for end in range(1, len(keys) + 1):
        if end < len(keys) and keys[end] == keys[start]:
            continue
        tail = max(start + 1, end - WINDOW)
        weights[start] = weights[start:end].sum() - (end - tail)
        for record in range(start, end):
            if record == start or record >= tail:
                keys[held], numbers[held], weights[held] = keys[record], numbers[record], weights[record]
                held += 1
        start = end
    return held


def _keys(work: Work, partition: int) -> Iterator[tuple[NDArray[np.uint64], NDArray]]:
    """The keys of a partition with the numbers of their texts, ours before known ones, in order of texts per key."""
    plan = work.plan
    kind = np.dtype(plan.number).type
    for place in range(plan.partitions):
        key, rank = unpack(work.get(f"band-{place}-{partition}"), (("u8", 1), ("u4", 1)))
        yield key, rank.astype(plan.number) + kind(plan.starts[place])
    for number, index in enumerate(plan.known):
        key, rank = index.bands(work.desk, partition, plan.band_bits)
        yield key, rank.astype(plan.number) + kind(plan.known_start(number))


def _pieces(work: Work, partition: int) -> Iterator[tuple[NDArray[np.uint64], NDArray]]:
    """The same, as many at once as a task may hold."""
    limit = max(work.memory_bytes // BYTES_PER_KEY, 1)
    held: list[tuple[NDArray[np.uint64], NDArray]] = []
    count = 0
    for keys, numbers in _keys(work, partition):
        for start in range(0, len(keys), limit):
            some = keys[start : start + limit], numbers[start : start + limit]
            if count + len(some[0]) > limit:
                yield np.concatenate([key for key, _ in held]), np.concatenate([number for _, number in held])
                held, count = [], 0
            held.append(some)
            count += len(some[0])
    if held:
        yield np.concatenate([key for key, _ in held]), np.concatenate([number for _, number in held])


def match_bands(work: Work, partition: int) -> dict[str, object]:
    """Write the pairs of a partition of keys; batches written, pairs per place, and what the buckets were like."""
    plan = work.plan
    totals = np.zeros(len(plan.starts) - 1, np.int64)
    old = (np.empty(0, np.uint64), np.empty(0, plan.number), np.empty(0, np.int64))
    batch, count, largest = 0, 0, 0
    for new in _pieces(work, partition):
        joined = np.concatenate([old[0], new[0]])
        order, keys = sorted_order(joined, plan.band_bits)
        numbers = np.concatenate([old[1], new[1]])[order]
        weights = np.concatenate([old[2], np.ones(len(new[0]), np.int64)])[order]
        fresh = order >= len(old[0])
        del joined, order, new
        count, largest = buckets(keys, weights)  # of all so far: every key is carried on
        space = max(len(keys), 1 << 12)
        out = np.empty(space, numbers.dtype), np.empty(space, numbers.dtype)
        at = (0, 0)
        while at[0] < len(keys):
            at, held = bucket_pairs(keys, numbers, fresh, plan.ours, at, out)
            one, two = unique_pairs(out[0][:held], out[1][:held])
            for place, chosen in cut(plan.places(two), len(totals)):
                work.put(f"pair-{partition}-{batch}-{place}", pack(one[chosen], two[chosen]))
                totals[place] += len(chosen)
            batch += 1
        held = carry(keys, numbers, weights)
        old = keys[:held].copy(), numbers[:held].copy(), weights[:held].copy()
    return {"pieces": batch, "pairs": totals.tolist(), "buckets": int(count), "largest": int(largest)}


def _turns(pairs: int, work: Work) -> int:
    """In how many batches a place takes its pairs."""
    per_pair = 6 * np.dtype(work.plan.number).itemsize + 2 * work.signatures.sketch_bytes
    return max(-(-pairs * per_pair // work.memory_bytes), 1)


def attach_sketches(work: Work, place: int) -> int:
    """Write the pairs whose second text is of `place`, each once, with its sketch, cut by the first; how many turns."""
    matched = [work.result("match_bands", partition) for partition in range(1 << work.plan.band_bits)]
    turns = _turns(sum(result["pairs"][place] for result in matched), work)
    names = [f"pair-{partition}-{n}-{place}" for partition, r in enumerate(matched) for n in range(r["pieces"])]
    known = sketches(work, place)
    for turn in range(turns):
        first, second = _pairs(work, names, (turn, turns))
        ends = np.searchsorted(first, np.array(work.plan.starts[: work.plan.partitions + 1], np.uint64))
        for partition, (start, end) in enumerate(pairwise(ends)):
            texts, places = np.unique(second[start:end], return_inverse=True)
            head = np.array([end - start, len(texts)], np.uint64)
            pairs = pack(texts, first[start:end], places.astype(np.uint32))
            data = known[texts.astype(np.int64) - work.plan.starts[place]]
            work.put(f"candidate-{place}-{turn}-{partition}", pack(head) + pairs + pack(data))
    return turns


def _pairs(work: Work, names: list[str], turn: tuple[int, int]) -> tuple[NDArray, NDArray]:
    """The pairs of one turn, sorted, each once."""
    number = work.plan.number
    found = [(np.empty(0, number), np.empty(0, number))]
    for name in names:
        first, second = unpack(work.get(name), ((number, 1), (number, 1)))
        if turn[1] > 1:
            mixture = (first.astype(np.uint64) * _ODD + second) * _ODD
            mine = (mixture >> _S32) % np.uint64(turn[1]) == turn[0]
            first, second = first[mine], second[mine]
        found.append((first, second))
    first, second = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return unique_pairs(first, second)


def verify_pairs(work: Work, partition: int) -> dict[str, int]:
    """Write the pairs of a partition's texts whose sketches are similar; how many there were, and were refused."""
    from hare_ray.dedup.minhash import similarity

    plan = work.plan
    own, least = sketches(work, partition), np.float32(work.min_similarity)
    count = work.signatures.bands * work.signatures.rows
    edges, pairs = [], 0
    for place in range(len(plan.starts) - 1):
        for turn in range(work.result("attach_sketches", place)):
            first, second, where, theirs = _candidates(work, work.get(f"candidate-{place}-{turn}-{partition}"))
            pairs += len(first)
            for start in range(0, len(first), COMPARED_AT_ONCE):
                some = slice(start, start + COMPARED_AT_ONCE)
                mine = own[first[some].astype(np.int64) - plan.starts[partition]]
                alike = similarity(mine, theirs[where[some]], count) >= least
                edges.append((first[some][alike], second[some][alike]))
    if edges:
        first, second = (np.concatenate(columns) for columns in zip(*edges, strict=True))
        work.put(f"edge-{partition}", pack(first, second))
    else:
        first = np.empty(0)
        work.put(f"edge-{partition}", b"")
    return {"pairs": pairs, "verified": len(first), "refused": pairs - len(first)}


def _candidates(work: Work, data: bytes) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """First and second text of every pair, the place of the second's sketch, and the sketches."""
    number, width = np.dtype(work.plan.number), work.signatures.sketch_bytes
    pairs, texts = np.frombuffer(data, np.uint64, 2).tolist()
    at = 16
    text = np.frombuffer(data, number, texts, at)
    at += text.nbytes
    first = np.frombuffer(data, number, pairs, at)
    at += first.nbytes
    where = np.frombuffer(data, np.uint32, pairs, at)
    sketch = np.frombuffer(data, np.uint8, texts * width, at + where.nbytes).reshape(texts, width)
    return first, text[where], where, sketch
