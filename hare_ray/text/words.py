"""Folded words of an Arrow text column as 64-bit hashes, with their places, in one pass over the bytes.

    words_of(text) -> Words   offsets int64[documents + 1], hashes uint64[words], starts, ends int32[words]

Word w of document d has index offsets[d] <= w < offsets[d + 1]; its characters lie at bytes [starts[w],
ends[w]) of the document's UTF-8. What a word is and how it is folded: `hare_ray.text.fold`. A null is an
empty document.

The loop reads Arrow's buffers where they lie: no decoding, no Python string, no list of words, which is
what makes filters and deduplication slow elsewhere. Per folded code point h = (h ^ c) * K and h ^= h >>
32, one more multiplication and shift at the end of the word: a multiply-xorshift hash, in which two
different words collide with a probability of about 2^-64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from hare_ray.text.fold import (
    CLASS_SHIFT,
    IDEOGRAPHIC_LIMIT,
    IGNORED,
    LENGTH_MASK,
    LIMIT,
    SINGLE,
    TAGS,
    VALUE_BITS,
    WORD,
    Folds,
    folds,
)

Text: TypeAlias = "pa.Array | pa.ChunkedArray"
Int: TypeAlias = "int | np.int64"

SEED = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: an arbitrary start that is not zero."""

MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
"""An odd 64-bit number with well mixed bits."""

FINISHER = np.uint64(0xBF58476D1CE4E5B9)
"""The first multiplier of splitmix64."""

_FIRST_TAG, _LAST_TAG = TAGS
_S32 = np.uint64(32)
_VALUE_MASK = np.uint32((1 << VALUE_BITS) - 1)
_SINGLE_ENTRY = np.uint32(SINGLE << CLASS_SHIFT)
_IGNORED_ENTRY = np.uint32(IGNORED << CLASS_SHIFT)

BYTES_PER_WORD = 5
"""First guess of the room needed: English has about 6 bytes a word. Where it is too little, room grows."""

MAX_DOCUMENT_BYTES = 2**31 - 1
"""Places in a document are 32-bit numbers."""


@dataclass(frozen=True)
class Words:
    """Words of a column of documents; the word's number indexes `hashes`, `starts` and `ends`."""

    offsets: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Words per document."""
        return np.diff(self.offsets)


def text_buffers(
    text: Text,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]:
    """Per chunk: its bytes, and where each document begins and stops in them; nulls stop where they begin."""
    for chunk in text.chunks if isinstance(text, pa.ChunkedArray) else [text]:
        if pa.types.is_large_string(chunk.type) or pa.types.is_large_binary(chunk.type):
            width = np.int64
        elif pa.types.is_string(chunk.type) or pa.types.is_binary(chunk.type):
            width = np.int32
        else:
            raise ValueError(f"given a column of {chunk.type}, expected large_string or string; cast it")
        _, places, data = chunk.buffers()
        if len(chunk) == 0 or places is None:
            empty = np.zeros(len(chunk), np.int64)
            yield np.empty(0, np.uint8), empty, empty
            continue
        edges = np.frombuffer(memoryview(places), width, len(chunk) + 1, chunk.offset * width().itemsize)
        edges = edges.astype(np.int64, copy=False)
        begins, stops = edges[:-1], edges[1:]
        if chunk.null_count:
            stops = np.where(np.asarray(chunk.is_valid()), stops, begins)
        yield (
            (np.empty(0, np.uint8) if data is None else np.frombuffer(memoryview(data), np.uint8)),
            begins,
            stops,
        )


@njit(cache=True, nogil=True)
def decode(data: NDArray[np.uint8], at: Int, stop: Int) -> tuple[Int, Int]:
    """Code point at byte `at` and the byte after it; broken UTF-8 gives U+FFFD for one byte."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, at + 1
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4 or at + length > stop:
        return 0xFFFD, at + 1
    code = first & (0x7F >> length)
    for place in range(at + 1, at + length):
        byte = np.int64(data[place])
        if byte & 0xC0 != 0x80:
            return 0xFFFD, at + 1
        code = code << 6 | byte & 0x3F
    return code, at + length


@njit(cache=True, nogil=True)
def entry_of(code: Int, table: NDArray[np.uint32]) -> np.uint32:
    """The table's entry, also for a code point beyond it."""
    if code < LIMIT:
        return table[code]
    if code < IDEOGRAPHIC_LIMIT:
        return np.uint32(code) | _SINGLE_ENTRY
    if _FIRST_TAG <= code < _LAST_TAG:
        return _IGNORED_ENTRY
    return np.uint32(0)


@njit(cache=True, nogil=True)
def mix(state: np.uint64, value: np.uint64) -> np.uint64:
    """One step of the running hash."""
    state = (state ^ value) * MULTIPLIER
    return state ^ (state >> _S32)


@njit(cache=True, nogil=True)
def finish(state: np.uint64) -> np.uint64:
    """The hash of what was mixed in so far."""
    state = (state ^ (state >> _S32)) * FINISHER
    return state ^ (state >> _S32)


class _Room(NamedTuple):
    """Where words are written."""

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]


def _room(words: int) -> _Room:
    return _Room(np.empty(words, np.uint64), np.empty(words, np.int32), np.empty(words, np.int32))


@njit(cache=True, nogil=True)
def _put(room: _Room, count: Int, state: np.uint64, start: Int, end: Int) -> Int:
    room.hashes[count] = finish(state)
    room.starts[count] = start
    room.ends[count] = end
    return count + 1


@njit(cache=True, nogil=True)
def _absorb(state: np.uint64, entry: np.uint32, fold: Folds) -> np.uint64:
    """`state` after the fold of one WORD character."""
    value = np.int64(entry & _VALUE_MASK)
    length = np.int64(entry >> VALUE_BITS) & LENGTH_MASK
    if length == 0:
        return mix(state, np.uint64(value))
    for place in range(value, value + length):
        state = mix(state, np.uint64(fold.expansions[place]))
    return state


@njit(cache=True, nogil=True)
def _put_single(room: _Room, count: Int, entry: np.uint32, fold: Folds, start: Int, end: Int) -> Int:
    """One word per code point of the fold of one SINGLE character."""
    value = np.int64(entry & _VALUE_MASK)
    length = np.int64(entry >> VALUE_BITS) & LENGTH_MASK
    if length == 0:
        return _put(room, count, mix(SEED, np.uint64(value)), start, end)
    for place in range(value, value + length):
        count = _put(room, count, mix(SEED, np.uint64(fold.expansions[place])), start, end)
    return count


@njit(cache=True, nogil=True)
def _document(data: NDArray[np.uint8], begin: Int, stop: Int, fold: Folds, room: _Room, count: Int) -> Int:
    """Write the words of one document from number `count` on; return the number after them."""
    state = SEED
    start = end = np.int64(-1)
    at = begin
    while at < stop:
        here = at
        code = np.int64(data[at])
        if code < 0x80:
            at += 1
            entry = fold.table[code]
        else:
            code, at = decode(data, at, stop)
            entry = entry_of(code, fold.table)
        kind = entry >> CLASS_SHIFT
        if kind == WORD:
            state = _absorb(state, entry, fold)
            start = here if start < 0 else start
            end = at
        elif kind != IGNORED:
            if start >= 0:
                count = _put(room, count, state, start - begin, end - begin)
                state = SEED
                start = -1
            if kind == SINGLE:
                count = _put_single(room, count, entry, fold, here - begin, at - begin)
    if start >= 0:
        count = _put(room, count, state, start - begin, end - begin)
    return count


@njit(cache=True, nogil=True)
def _documents(data, begins, stops, fold, room, offsets):  # noqa: ANN001, ANN202
    """Write documents as long as the next one surely fits, having at most as many words as bytes.

    Sets offsets[1:] of those from offsets[0] on; returns how many.
    """
    for document in range(len(begins)):
        if stops[document] - begins[document] > len(room.hashes) - offsets[document]:
            return document
        offsets[document + 1] = _document(data, begins[document], stops[document], fold, room, offsets[document])
    return len(begins)


def words_of(text: Text) -> Words:
    """The folded words of every document of a string column."""
    fold = folds()
    offsets = np.zeros(len(text) + 1, np.int64)
    room = _room(0)
    first = 0
    for data, begins, stops in text_buffers(text):
        spans = stops - begins
        if len(spans) and spans.max() > MAX_DOCUMENT_BYTES:
            raise ValueError(f"given a document of {spans.max()} bytes, expected at most {MAX_DOCUMENT_BYTES}")
        last = first + len(begins)
        done = 0
        while first + done < last:
            guess = int(spans[done:].sum()) // BYTES_PER_WORD
            room = _grown(room, int(offsets[first + done]), max(guess, int(spans[done])))
            done += _documents(data, begins[done:], stops[done:], fold, room, offsets[first + done : last + 1])
        first = last
    count = int(offsets[-1])
    return Words(offsets, room.hashes[:count], room.starts[:count], room.ends[:count])


def _grown(room: _Room, count: int, more: int) -> _Room:
    """`room` with its first `count` words and place for at least `more`."""
    if len(room.hashes) - count >= more:
        return room
    larger = _room(max(count + more, 2 * count))
    for new, old in zip(larger, room, strict=True):
        new[:count] = old[:count]
    return larger
