"""True Jaccard similarities of word 5-grams, by counting what documents share: no sketch, no sampling.

    Shingles    the distinct 5-grams of every document, sorted; a shorter document is one shingle, its words in order
    Index       for every shingle the documents that hold it
    best        per document the largest similarity to any of the allowed others
    close       all pairs from a similarity on

Words are folded as ours are (case, accents, punctuation); a document's shingles meet the index and every document that
holds one of them is counted, so the cost is the number of shared shingles, also of the commonest.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from hare_ray.text import document_hashes, ngram_hashes, words_of

NGRAM = 5


@dataclass(frozen=True)
class Shingles:
    """Distinct shingles, sorted within each document."""

    offsets: NDArray[np.int64]
    hashes: NDArray[np.uint64]


class Index(NamedTuple):
    """The documents of every shingle; `places` leads from a document's shingle to its documents."""

    sizes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    places: NDArray[np.int64]
    starts: NDArray[np.int64]
    documents: NDArray[np.int32]


@njit(cache=True)
def _distinct(offsets, hashes, out, out_offsets):
    count = 0
    for document in range(len(offsets) - 1):
        ordered = np.sort(hashes[offsets[document] : offsets[document + 1]])
        for i in range(len(ordered)):
            if i == 0 or ordered[i] != ordered[i - 1]:
                out[count] = ordered[i]
                count += 1
        out_offsets[document + 1] = count
    return count


def shingles_of(texts: list[str]) -> Shingles:
    """The shingles of all texts."""
    words = words_of(pa.array(texts, pa.large_string()))
    offsets, hashes = ngram_hashes(words, NGRAM)
    short = np.flatnonzero(np.diff(offsets) == 0)
    hashes = np.insert(hashes, offsets[short], document_hashes(words)[short, 0])
    offsets = np.concatenate([[0], np.cumsum(np.maximum(np.diff(offsets), 1))])
    out, out_offsets = np.empty_like(hashes), np.zeros_like(offsets)
    return Shingles(out_offsets, out[: _distinct(offsets, hashes, out, out_offsets)])


def index_of(shingles: Shingles) -> Index:
    """Invert."""
    sizes = np.diff(shingles.offsets)
    owners = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    order = np.argsort(shingles.hashes, kind="stable")
    ordered = shingles.hashes[order]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    places = np.empty(len(order), np.int64)
    places[order] = np.cumsum(begins) - 1
    return Index(sizes, shingles.offsets, places, np.append(np.flatnonzero(begins), len(order)), owners[order])


@njit(cache=True)
def _shared(index, query, counts, touched):
    found = 0
    for i in range(index.offsets[query], index.offsets[query + 1]):
        place = index.places[i]
        for j in range(index.starts[place], index.starts[place + 1]):
            other = index.documents[j]
            if counts[other] == 0:
                touched[found] = other
                found += 1
            counts[other] += 1
    return found


@njit(cache=True)
def _scan(index, queries, allowed, floor):
    sizes = index.sizes
    counts = np.zeros(len(sizes), np.int32)
    touched = np.empty(len(sizes), np.int32)
    most = np.zeros(len(queries), np.float64)
    first, second = [np.int64(0) for _ in range(0)], [np.int64(0) for _ in range(0)]
    for number in range(len(queries)):
        query = queries[number]
        for i in range(_shared(index, query, counts, touched)):
            other = touched[i]
            share = counts[other] / (sizes[query] + sizes[other] - counts[other])
            counts[other] = 0
            if other == query or not allowed[other]:
                continue
            if share > most[number]:
                most[number] = share
            if share >= floor and query < other:
                first.append(np.int64(query))
                second.append(np.int64(other))
    return most, first, second


def best(index: Index, queries: NDArray[np.int64], allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The largest similarity of each query to an allowed document other than itself."""
    return _scan(index, queries, allowed, 2.0)[0]


def close(index: Index, floor: float) -> NDArray[np.int64]:
    """All pairs [n, 2] with a similarity of at least `floor`."""
    everyone = np.arange(len(index.sizes))
    _, first, second = _scan(index, everyone, np.ones(len(everyone), bool), floor)
    return np.array([first, second], np.int64).reshape(2, -1).T


def jaccard(shingles: Shingles, first: int, second: int) -> float:
    """Of one pair."""
    one, two = (shingles.hashes[shingles.offsets[i] : shingles.offsets[i + 1]] for i in (first, second))
    both = len(np.intersect1d(one, two, assume_unique=True))
    return both / (len(one) + len(two) - both)
