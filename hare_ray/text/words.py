"""Folded words of an Arrow text column as 64-bit hashes, with their places, in one pass over the bytes.

    words_of(text) -> Words        offsets int64[documents + 1], hashes uint64[words], starts, ends int32[words]
    table_words(docs) -> Words     the same without places, made once for all stages that look at one table
    characters_of(text) -> Words   folded characters in place of words, for n-grams of characters

Word w of document d has index offsets[d] <= w < offsets[d + 1]; its characters lie at bytes [starts[w], ends[w]) of the
document's UTF-8. What a word is and how it is folded: `hare_ray.text.fold`. A null is an empty document.

The loops (`hare_ray.text.word_kernel`) read Arrow's buffers where they lie: no decoding, no Python string, no list of
words, which is what makes filters and deduplication slow elsewhere.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.text.fold import folds
from hare_ray.text.hashing import Int
from hare_ray.text.word_kernel import EXPANDED, Room, character_documents, word_documents

Text: TypeAlias = "pa.Array | pa.ChunkedArray"

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


def words_of(text: Text, places: bool = True) -> Words:
    """The folded words of every document of a string column; without `places`, starts and ends stay empty."""
    return _walked(text, word_documents, 1, _room(places))[0]


def characters_of(text: Text) -> Words:
    """The folded characters of every document, a space between words; no places."""
    return _walked(text, character_documents, EXPANDED, _room(False))[0]


def _room(places: bool) -> Room:
    """Next to nothing; starts and ends that are empty stay empty."""
    return Room(np.empty(1, np.uint64), np.empty(int(places), np.int32), np.empty(int(places), np.int32))


def _walked(text: Text, walk: Callable[..., Int], most: int, room: Room) -> tuple[Words, Room]:
    """Words by a kernel that writes at most `most` of them per byte, and the room they lie in."""
    fold = folds()
    offsets = np.zeros(len(text) + 1, np.int64)
    first = 0
    for data, begins, stops in text_buffers(text):
        spans = stops - begins
        if spans.max(initial=0) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"given a document of {spans.max()} bytes, expected at most {MAX_DOCUMENT_BYTES}")
        last = first + len(begins)
        done = 0
        while first + done < last:
            guess = most * int(spans[done:].sum()) // BYTES_PER_WORD
            room = _grown(room, int(offsets[first + done]), max(guess, most * int(spans[done])))
            done += int(walk(data, begins[done:], stops[done:], fold, room, offsets[first + done : last + 1]))
        first = last
    count = int(offsets[-1])
    return Words(offsets, room.hashes[:count], room.starts[:count], room.ends[:count]), room


def _grown(room: Room, count: int, more: int) -> Room:
    """`room` with its first `count` words and place for at least `more`."""
    if len(room.hashes) - count >= more:
        return room
    return Room(*(_longer(old, count, max(count + more, 2 * count)) for old in room))


def _longer(old: NDArray, count: int, size: int) -> NDArray:
    new = np.empty(size if len(old) else 0, old.dtype)
    new[:count] = old[:count]
    return new


class _Shared:
    """The words of the table that was asked for last, as long as that lives; their memory for the next one."""

    table: weakref.ref[pa.Table] | None = None
    words: Words | None = None
    room: Room | None = None

    @classmethod
    def forget(cls, table: weakref.ref[pa.Table]) -> None:
        """Let go of the words with their table."""
        if cls.table is table:
            cls.table = cls.words = None


def table_words(docs: pa.Table) -> Words:
    """Words of the column `text`, without places; stages that ask for the same table object share them.

    They are good until those of another table are asked for, which are written over them: fresh memory costs more than
    the words that are put there.
    """
    if _Shared.words is None or _Shared.table is None or _Shared.table() is not docs:
        _Shared.table = _Shared.words = None  # their memory is about to be written over
        words, _Shared.room = _walked(docs.column("text"), word_documents, 1, _Shared.room or _room(False))
        _Shared.table, _Shared.words = weakref.ref(docs, _Shared.forget), words
    return _Shared.words
