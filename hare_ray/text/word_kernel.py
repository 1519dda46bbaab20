"""The loops over bytes behind `hare_ray.text.words`: UTF-8 to folded words or characters, as 64-bit hashes.

A word's folded code points are gathered in a 64-bit register, one byte for an ASCII character and four for others, and
mixed into the hash when it is full or the word ends: one multiplication or two for most words, not one per letter. An
ASCII word (all but a few in most texts) is found, folded and hashed eight bytes at a time (`hare_ray.text.eight`);
whatever holds something else goes character by character, to the same hash.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.text.eight import LOADED, alphanumerics, load, lower
from hare_ray.text.fold import (
    CLASS_SHIFT,
    IDEOGRAPHIC_LIMIT,
    IGNORED,
    LENGTH_MASK,
    LIMIT,
    SEPARATOR,
    SINGLE,
    TAGS,
    VALUE_BITS,
    WORD,
)
from hare_ray.text.hashing import SEED, Int, bare, finish, mix

_FIRST_TAG, _LAST_TAG = TAGS
_VALUE_MASK = np.uint32((1 << VALUE_BITS) - 1)
_SINGLE_ENTRY = np.uint32(SINGLE << CLASS_SHIFT)
_IGNORED_ENTRY = np.uint32(IGNORED << CLASS_SHIFT)

_BYTE = np.uint64(0xFF)
_WIDE = np.uint64(0x80000000)
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_S3 = np.uint64(3)
_HALF, _FULL = np.uint64(4), np.uint64(8)

EXPANDED = 2
"""Folded characters per byte at most, rounded up: U+FDF8 has 4 in 3 bytes."""

SPACE = mix(SEED, np.uint64(0x20))
"""What stands between the words where characters are asked for."""

Bytes = NDArray[np.uint8]
Table = NDArray[np.uint32]


class Room(NamedTuple):
    """Where words are written; starts and ends are empty where nobody asks for places."""

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]


@bare
def decode(data: Bytes, at: Int, stop: Int) -> tuple[Int, Int]:
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


@bare
def entry_of(code: Int, table: Table) -> np.uint32:
    """The table's entry, also for a code point beyond it."""
    if code < LIMIT:
        return table[code]
    if code < IDEOGRAPHIC_LIMIT:
        return np.uint32(code) | _SINGLE_ENTRY
    if _FIRST_TAG <= code < _LAST_TAG:
        return _IGNORED_ENTRY
    return np.uint32(0)


class Open(NamedTuple):
    """A word that is being read; start -1: none."""

    state: np.uint64
    register: np.uint64
    held: np.uint64
    start: Int
    end: Int


NOTHING = Open(SEED, _NONE, _NONE, np.int64(-1), np.int64(-1))


@bare
def _take(word: Open, value: np.uint64) -> Open:
    """The word after one more folded code point."""
    state, register, held = word.state, word.register, word.held
    wide = value >= np.uint64(0x80)
    if wide and held > _HALF:
        state, register, held = mix(state, register), _NONE, _NONE
    register |= (value | _WIDE if wide else value) << (held << _S3)
    held += _HALF if wide else _ONE
    if held == _FULL:
        state, register, held = mix(state, register), _NONE, _NONE
    return Open(state, register, held, word.start, word.end)


@bare
def _absorb(word, entry, fold, start, end):  # noqa: ANN001, ANN202
    """The word after the fold of one WORD character at bytes [start, end)."""
    word = Open(word.state, word.register, word.held, start if word.start < 0 else word.start, end)
    value = np.int64(entry & _VALUE_MASK)
    length = np.int64(entry >> VALUE_BITS) & LENGTH_MASK
    if length == 0:
        return _take(word, np.uint64(value))
    for place in range(value, value + length):
        word = _take(word, np.uint64(fold.expansions[place]))
    return word


@bare
def _put(room: Room, count: Int, hashed: np.uint64, start: Int, end: Int) -> Int:
    room.hashes[count] = hashed
    if len(room.starts):
        room.starts[count] = start
        room.ends[count] = end
    return count + 1


@bare
def _put_single(room, count, entry, fold, start, end):  # noqa: ANN001, ANN202
    """One word per code point of the fold of one SINGLE character."""
    value = np.int64(entry & _VALUE_MASK)
    length = np.int64(entry >> VALUE_BITS) & LENGTH_MASK
    if length == 0:
        return _put(room, count, finish(mix(SEED, np.uint64(value) | _WIDE)), start, end)
    for place in range(value, value + length):
        hashed = finish(mix(SEED, np.uint64(fold.expansions[place]) | _WIDE))
        count = _put(room, count, hashed, start, end)
    return count


@bare
def _separates(byte: np.uint64, table: Table) -> bool | np.bool_:
    """Whether it is an ASCII character that ends a word."""
    return byte < 0x80 and table[byte] >> CLASS_SHIFT == SEPARATOR


@bare
def _eight(address: Int, at: Int, word: Open, table: Table) -> tuple[Int, Open, bool | np.bool_]:
    """The byte after the ASCII letters and digits at `at`, the word with them, and whether it ends there.

    The same `at`: what comes wants a closer look. `word` has an empty register.
    """
    eight = load(address, at)
    length = alphanumerics(eight)
    start = at if word.start < 0 and length > 0 else word.start
    if length == _FULL:
        return at + LOADED, Open(mix(word.state, lower(eight)), _NONE, _NONE, start, at + LOADED), False
    bits = length << _S3
    if not _separates(eight >> bits & _BYTE, table):
        return at, word, False
    if length > 0:
        end = at + np.int64(length)
        word = Open(mix(word.state, lower(eight) & ((_ONE << bits) - _ONE)), _NONE, _NONE, start, end)
    return at + np.int64(length) + 1, word, word.start >= 0


@bare
def _put_word(room: Room, count: Int, word: Open, begin: Int) -> Int:
    state = mix(word.state, word.register) if word.held else word.state
    return _put(room, count, finish(state), word.start - begin, word.end - begin)


@bare
def _word_document(data, begin, stop, fold, room, count):  # noqa: ANN001, ANN202
    """Write the words of one document from number `count` on; return the number after them."""
    address = data.ctypes.data
    word = NOTHING
    at = begin
    while at < stop:
        here = at
        if word.held == 0 and at + LOADED <= stop:
            at, word, ended = _eight(address, at, word, fold.table)
            if ended:
                count = _put_word(room, count, word, begin)
                word = NOTHING
            if at > here:
                continue
        code, at = decode(data, at, stop)
        entry = entry_of(code, fold.table)
        kind = entry >> CLASS_SHIFT
        if kind == WORD:
            word = _absorb(word, entry, fold, here, at)
        elif kind != IGNORED:
            if word.start >= 0:
                count = _put_word(room, count, word, begin)
                word = NOTHING
            if kind == SINGLE:
                count = _put_single(room, count, entry, fold, here - begin, at - begin)
    return _put_word(room, count, word, begin) if word.start >= 0 else count


@bare
def _character_document(data, begin, stop, fold, room, count):  # noqa: ANN001, ANN202
    """Write the folded characters of one document; a SPACE between two words, none around a SINGLE."""
    before = IGNORED
    parted = False
    at = begin
    while at < stop:
        code, at = decode(data, at, stop)
        entry = entry_of(code, fold.table)
        kind = entry >> CLASS_SHIFT
        if kind == SEPARATOR:
            parted = True
        elif kind != IGNORED:
            if parted and kind == WORD and before == WORD:
                room.hashes[count] = SPACE
                count += 1
            value = np.int64(entry & _VALUE_MASK)
            length = np.int64(entry >> VALUE_BITS) & LENGTH_MASK
            for place in range(max(length, 1)):
                folded = np.uint64(fold.expansions[value + place] if length else value)
                room.hashes[count] = finish(mix(SEED, folded | _WIDE))
                count += 1
            before, parted = kind, False
    return count


@bare
def word_documents(data, begins, stops, fold, room, offsets) -> Int:  # noqa: ANN001
    """Write documents as long as the next one surely fits, having at most as many words as bytes.

    Sets offsets[1:] of those from offsets[0] on; returns how many.
    """
    for document in range(len(begins)):
        begin, stop, count = begins[document], stops[document], offsets[document]
        if stop - begin > len(room.hashes) - count:
            return document
        offsets[document + 1] = _word_document(data, begin, stop, fold, room, count)
    return len(begins)


@bare
def character_documents(data, begins, stops, fold, room, offsets) -> Int:  # noqa: ANN001
    """The same for characters; one of several bytes may fold to as many as EXPANDED per byte."""
    for document in range(len(begins)):
        begin, stop, count = begins[document], stops[document], offsets[document]
        if EXPANDED * (stop - begin) > len(room.hashes) - count:
            return document
        offsets[document + 1] = _character_document(data, begin, stop, fold, room, count)
    return len(begins)
