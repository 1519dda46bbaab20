"""Where the passages of documents lie, their hashes, and texts without some of them.

A line ends at a newline; a paragraph is what stands between lines that are blank. Blank is what holds no byte above
the space, so places are found without looking at words, and a line of dots is a passage of no words.

All loops run over Arrow's bytes; places are 32-bit and count from the beginning of the document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import SEED, finish, mix
from hare_ray.text.words import Text, Words, text_buffers

NEWLINE = 10
SPACE = 32
"""Bytes up to the space are blank: controls, tab, carriage return, newline."""


class Places(NamedTuple):
    """Passages of a column of documents: passage p of document d has offsets[d] <= p < offsets[d + 1]."""

    offsets: NDArray[np.int64]
    starts: NDArray[np.int32]
    """First byte of its first line."""
    ends: NDArray[np.int32]
    """Byte after its last line, without the newline."""


@njit
def _split(data, begins, stops, by_paragraph, first, places):  # noqa: ANN001, ANN202
    """Write the places of documents from number `first` on."""
    count = places.offsets[first]
    for document in range(len(begins)):
        begin, stop = begins[document], stops[document]
        running = False
        line = at = begin
        while at < stop:
            blank = True
            while at < stop and data[at] != NEWLINE:
                blank &= data[at] <= SPACE
                at += 1
            if blank:
                running = False
            elif running:
                places.ends[count - 1] = at - begin
            else:
                places.starts[count] = line - begin
                places.ends[count] = at - begin
                count += 1
                running = by_paragraph
            at += 1
            line = at
        places.offsets[first + document + 1] = count


def places_of(text: Text, by_paragraph: bool) -> Places:
    """Passages of every document; a null is an empty document."""
    chunks = list(text_buffers(text))
    room = len(text)
    for data, begins, stops in chunks:
        if len(begins):
            room += np.count_nonzero(data[begins[0] : max(stops[-1], begins[0])] == NEWLINE)
    places = Places(np.zeros(len(text) + 1, np.int64), np.empty(room, np.int32), np.empty(room, np.int32))
    first = 0
    for data, begins, stops in chunks:
        _split(data, begins, stops, by_paragraph, first, places)
        first += len(begins)
    count = int(places.offsets[-1])
    return Places(places.offsets, places.starts[:count], places.ends[:count])


@njit
def _hash(words, places, min_words, hashes, counts):  # noqa: ANN001, ANN202
    word_offsets, word_hashes, word_starts = words
    for document in range(len(places.offsets) - 1):
        word, last = word_offsets[document], word_offsets[document + 1]
        for passage in range(places.offsets[document], places.offsets[document + 1]):
            state, begin = SEED, word
            while word < last and word_starts[word] < places.ends[passage]:
                state = mix(state, word_hashes[word])
                word += 1
            counts[passage] = word - begin
            if word - begin >= min_words:
                value = finish(state ^ np.uint64(word - begin))
                hashes[passage] = value if value != 0 else np.uint64(1)


def hashes_of(words: Words, places: Places, min_words: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Hash of the words of every passage, 0 where they are fewer than `min_words`; and their number."""
    hashes = np.zeros(len(places.starts), np.uint64)
    counts = np.zeros(len(places.starts), np.int32)
    _hash((words.offsets, words.hashes, words.starts), places, min_words, hashes, counts)
    return hashes, counts


@njit
def _without(buffers, places, gone, out, edges):  # noqa: ANN001, ANN202
    """Copy what stays; a passage takes along what follows it up to the next one."""
    data, begins, stops = buffers
    filled = np.int64(0)
    for document in range(len(begins)):
        begin, stop = begins[document], stops[document]
        first, last = places.offsets[document], places.offsets[document + 1]
        at = begin
        for passage in range(first, last):
            if gone[passage]:
                here = begin + places.starts[passage]
                out[filled : filled + here - at] = data[at:here]
                filled += here - at
                at = begin + places.starts[passage + 1] if passage + 1 < last else stop
        out[filled : filled + stop - at] = data[at:stop]
        filled += stop - at
        if last > first and gone[last - 1]:
            while filled > edges[document] and out[filled - 1] <= SPACE:
                filled -= 1
        edges[document + 1] = filled


def texts_without(text: Text, places: Places, gone: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets and bytes of the texts without the passages that are `gone`; `text` is one chunk."""
    (buffers,) = text_buffers(text)
    _, begins, stops = buffers
    edges = np.zeros(len(begins) + 1, np.int64)
    out = np.empty(int((stops - begins).sum()), np.uint8)
    _without(buffers, places, gone, out, edges)
    return edges, out[: edges[-1]]
