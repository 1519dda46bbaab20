"""Documents made of their numbers, for tests/bench/dedup_scale.py: any of them at any time, none ever stored.

A document has 100 to 300 words of a vocabulary of 2^16 made-up words whose frequencies fall by Zipf's law. One in ten
is a copy of an earlier one that is none, with 0, 1, 2 or 4 of its words replaced. Words come from a hash of (document,
place), a counter-based generator, so workers need no state and any cut into parts gives the same documents.
"""

from functools import cache
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from hare_ray.dedup.signature import Signature
from hare_ray.gather import Desk
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Files, Make, Map, PartFunction

MIN_WORDS, MAX_WORDS = 100, 300
COPY_EVERY = 10
CHANGES = (0, 1, 2, 4)
VOCABULARY = 1 << 16
QUANTILES = 1 << 20
"""Equally likely places in the vocabulary's distribution."""
MAX_LETTERS = 12

_ORIGIN, _LENGTH, _CHANGE, _PLACE, _OTHER = (np.uint64(n) for n in (1, 2, 3, 4, 5))
_S32 = np.uint64(32)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_CHANGES = np.array(CHANGES, np.int64)


class Vocabulary(NamedTuple):
    """Words one behind another, each with a space after it, and which of them every quantile is."""

    letters: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    quantiles: NDArray[np.int32]


@cache
def vocabulary() -> Vocabulary:
    """Words of 2 to 12 letters; the r-th most frequent has a share proportional to 1 / r."""
    raw = np.random.PCG64(1).random_raw(VOCABULARY * (MAX_LETTERS + 1)).reshape(VOCABULARY, MAX_LETTERS + 1)
    lengths = 2 + (raw[:, 0] % np.uint64(MAX_LETTERS - 1)).astype(np.int64)
    letters = (np.uint64(ord("a")) + raw[:, 1:] % np.uint64(26)).astype(np.uint8)
    rows = np.concatenate([letters, np.full((VOCABULARY, 1), ord(" "), np.uint8)], axis=1)
    rows[np.arange(VOCABULARY), lengths] = ord(" ")
    used = np.arange(MAX_LETTERS + 1) <= lengths[:, None]
    shares = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    middles = (np.arange(QUANTILES) + 0.5) / QUANTILES * shares[-1]
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
    return Vocabulary(rows[used], offsets, np.searchsorted(shares, middles).astype(np.int32))


@njit(cache=True, nogil=True)
def _hash(document: np.uint64, what: np.uint64) -> np.uint64:
    """A well mixed number of a document (splitmix64 of two)."""
    state = document * _GOLDEN + what * _MIX_2
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


@njit(cache=True, nogil=True)
def origin_of(document: np.int64) -> np.int64:
    """The document it is a copy of; itself where it is none."""
    block = document // COPY_EVERY
    if document % COPY_EVERY != COPY_EVERY - 1 or block == 0:
        return document
    draw = _hash(np.uint64(document), _ORIGIN)
    return np.int64(draw % np.uint64(block)) * COPY_EVERY + np.int64((draw >> _S32) % np.uint64(COPY_EVERY - 1))


@njit(cache=True, nogil=True)
def changes_of(document: np.int64) -> np.int64:
    """Words in which a copy differs from its original."""
    return _CHANGES[np.int64(_hash(np.uint64(document), _CHANGE) % np.uint64(len(_CHANGES)))]


@njit(cache=True, nogil=True)
def words_in(document: np.int64) -> np.int64:
    """Words of a document; a copy has those of its original."""
    spread = np.uint64(MAX_WORDS - MIN_WORDS + 1)
    return MIN_WORDS + np.int64(_hash(np.uint64(origin_of(document)), _LENGTH) % spread)


@njit(cache=True, nogil=True)
def _draw(document: np.int64, words: NDArray[np.int32], quantiles: NDArray[np.int32]) -> np.int64:
    """Write a document's words; how many."""
    origin, count = origin_of(document), words_in(document)
    seed, mask = _hash(np.uint64(origin), _PLACE), np.uint64(len(quantiles) - 1)
    for place in range(count):
        words[place] = quantiles[np.int64(_hash(seed, np.uint64(place)) & mask)]
    if origin != document:
        seed = _hash(np.uint64(document), _OTHER)
        for change in range(changes_of(document)):
            draw = _hash(seed, np.uint64(change))
            words[np.int64((draw >> _S32) % np.uint64(count))] = quantiles[np.int64(draw & mask)]
    return count


@njit(cache=True, nogil=True)
def _write(documents: NDArray[np.int64], vocabulary: Vocabulary, out: NDArray[np.uint8], ends: NDArray[np.int64]):
    words = np.empty(MAX_WORDS, np.int32)
    at = 0
    for row in range(len(documents)):
        for place in range(_draw(documents[row], words, vocabulary.quantiles)):
            word = words[place]
            for letter in range(vocabulary.offsets[word], vocabulary.offsets[word + 1]):
                out[at] = vocabulary.letters[letter]
                at += 1
        ends[row + 1] = at


@njit(cache=True, nogil=True)
def origins(documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The origin of each."""
    out = np.empty_like(documents)
    for row in range(len(documents)):
        out[row] = origin_of(documents[row])
    return out


@njit(cache=True, nogil=True)
def similarities(documents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Least Jaccard similarity of 5-grams of each copy and its original: a change takes at most five of them away."""
    out = np.empty(len(documents), np.float64)
    for row in range(len(documents)):
        grams, gone = words_in(documents[row]) - 4, 5 * changes_of(documents[row])
        out[row] = (grams - gone) / (grams + gone)
    return out


def texts(documents: NDArray[np.int64]) -> pa.Array:
    """The texts of documents with these numbers."""
    known = vocabulary()
    out = np.empty(len(documents) * MAX_WORDS * (MAX_LETTERS + 1), np.uint8)
    ends = np.zeros(len(documents) + 1, np.int64)
    _write(documents, known, out, ends)
    return pa.Array.from_buffers(pa.large_string(), len(documents), [None, pa.py_buffer(ends), pa.py_buffer(out)])


class Ranges(Make):
    """One file for each part, whose name says which documents are in it."""

    documents: int
    part_documents: int

    def make(self, desk: Desk) -> dict[str, int]:
        for first in range(0, self.documents, self.part_documents):
            (desk.folder / f"{first:012d}-{min(self.documents, first + self.part_documents):012d}").touch()
        return {"rows": 0}


class Numbered(Map):
    """Documents without their text: id, url, and the number as offset."""

    ranges: Ranges
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        return self._number

    def _number(self, splits: pa.Table) -> pa.Table:
        ranges = [tuple(map(int, name.split("-"))) for name in splits.column("file").to_pylist()]
        numbers = np.concatenate([np.arange(first, last) for first, last in ranges])
        halves = np.stack([_ids(numbers, _PLACE), numbers.astype(np.uint64)], axis=1)
        none = pa.nulls(len(numbers), pa.string())
        columns = {
            "id": pa.Array.from_buffers(pa.binary(16), len(numbers), [None, pa.py_buffer(halves.tobytes())]),
            "url": pc.binary_join_element_wise("doc:", pc.cast(pa.array(numbers), pa.string()), ""),
            "file": pa.repeat("made", len(numbers)),
            "offset": pa.array(numbers),
            "title": none,
            "text": none.cast(pa.large_string()),
        }
        return pa.table(columns, schema=DOCUMENT).append_column(REASON, none)


@njit(cache=True, nogil=True)
def _ids(documents: NDArray[np.int64], what: np.uint64) -> NDArray[np.uint64]:
    out = np.empty(len(documents), np.uint64)
    for row in range(len(documents)):
        out[row] = _hash(np.uint64(documents[row]), what)
    return out


class NumberedSignature(Signature):
    """The signature of the text that a document's number stands for; the text is gone when it is signed."""

    reads: ClassVar[tuple[str, ...] | None] = ("offset",)

    def prepare(self, files: Files) -> PartFunction:
        sign = super().prepare(files)

        def of_numbers(documents: pa.Table) -> pa.Table:
            return sign(pa.table({"text": texts(documents.column("offset").to_numpy())}))

        return of_numbers
