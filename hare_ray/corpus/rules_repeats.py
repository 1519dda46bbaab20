"""What a document says twice: pieces between line feeds, paragraphs and n-grams, in one hash table.

The table is cleared by a stamp, never by writing. n-grams come in rising order of n, and those of n + 1 words are only
looked at where both of their parts occur more than once, which leaves few: most of the work is done for n = 2.

    top n-gram chars        those of the most frequent n-gram (the earliest of equals), spaces included, times its count
    duplicate n-gram chars  those of the words of n-grams seen before, from left to right without overlap; what lies
                            inside of one is not noted
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.rules_chars import SPACE, STOP
from hare_ray.corpus.rules_counts import (
    DUPLICATE_5GRAM_CHARS,
    DUPLICATE_NS,
    DUPLICATE_PARAGRAPH_CHARS,
    DUPLICATE_PARAGRAPHS,
    DUPLICATE_PIECE_CHARS,
    DUPLICATE_PIECES,
    DUPLICATE_ROW_CHARS,
    ENDED_ROWS,
    PARAGRAPHS,
    PIECES,
    ROWS,
    SHORT_ROWS,
    TOP_2GRAM_CHARS,
    TOP_NS,
)
from hare_ray.corpus.rules_marks import Marks
from hare_ray.corpus.rules_scan import chars_of, flags_at
from hare_ray.kernel import njit
from hare_ray.text.hashing import SEED, Int, finish, mix
from hare_ray.text.spans import hash_bytes

STAMPS = 2 + len(TOP_NS) + len(DUPLICATE_NS)
"""Stamps a document uses up, one a kind of things: pieces, paragraphs, and n-grams, whose kind is n."""

_PIECE, _PARAGRAPH = 0, 1
_FEED = ord("\n")
_FIRST_DUPLICATE_N, _LAST_DUPLICATE_N = DUPLICATE_NS[0], DUPLICATE_NS[-1]
_LAST_TOP_N = TOP_NS[-1]


class Book(NamedTuple):
    """An open hash table; an entry is there if its stamp is that of today's kind of things."""

    keys: NDArray[np.uint64]
    stamps: NDArray[np.int32]
    firsts: NDArray[np.int32]
    tallies: NDArray[np.int32]
    stamp: Int
    """Of the first kind of things of this document."""
    mask: Int


def new_book(entries: int) -> Book:
    """A table for documents of that many entries at most."""
    slots = slots_of(entries)
    none = np.zeros(slots, np.int32)
    return Book(np.zeros(slots, np.uint64), none.copy(), none.copy(), none, np.int64(1), slots - 1)


@njit
def slots_of(entries: Int) -> Int:
    """A power of two that leaves at least half of the slots free."""
    slots = np.int64(2)
    while slots < 2 * entries:
        slots *= 2
    return slots


@njit
def note(book: Book, kind: Int, key: np.uint64, place: Int) -> Int:
    """Slot of `key`, whose tally goes up by one; `place` is remembered where it is new."""
    stamp = book.stamp + kind
    slot = np.int64(key) & book.mask
    while book.stamps[slot] == stamp and book.keys[slot] != key:
        slot = (slot + 1) & book.mask
    if book.stamps[slot] != stamp:
        book.stamps[slot] = stamp
        book.keys[slot] = key
        book.firsts[slot] = place
        book.tallies[slot] = 0
    book.tallies[slot] += 1
    return slot


@njit
def _last_flags(data: NDArray[np.uint8], begin: Int, stop: Int, flags: NDArray[np.uint16]) -> Int:
    at = stop - 1
    while at > begin and data[at] & 0xC0 == 0x80:
        at -= 1
    return flags_at(data, at, stop, flags)[1]


@njit
def stripped(data: NDArray[np.uint8], begin: Int, stop: Int, flags: NDArray[np.uint16]) -> tuple[Int, Int]:
    """The range without the white space at its ends; empty at `stop` where there is nothing else."""
    while begin < stop:
        _, flag, after = flags_at(data, begin, stop, flags)
        if not flag & SPACE:
            break
        begin = after
    while stop > begin and _last_flags(data, begin, stop, flags) & SPACE:
        stop -= 1
        while data[stop] & 0xC0 == 0x80:
            stop -= 1
    return begin, stop


@njit
def piece(text: NDArray[np.uint8], chars: Int, marks: Marks, book: Book, row: NDArray[np.int64]) -> None:
    """Count the text between two line feeds, of which there is at least a byte."""
    stop = len(text)
    repeated = book.tallies[note(book, _PIECE, hash_bytes(text, 0, stop), 0)] > 1
    row[PIECES] += 1
    row[DUPLICATE_PIECES] += repeated
    row[DUPLICATE_PIECE_CHARS] += chars if repeated else 0
    first, last = stripped(text, 0, stop, marks.flags)
    if first < last:
        row[ROWS] += 1
        row[SHORT_ROWS] += chars <= marks.short_chars
        row[ENDED_ROWS] += _last_flags(text, 0, stop, marks.flags) & STOP != 0
        row[DUPLICATE_ROW_CHARS] += chars if repeated else 0


@njit
def paragraphs(
    data: NDArray[np.uint8], begin: Int, stop: Int, flags: NDArray[np.uint16], book: Book, row: NDArray[np.int64]
) -> None:
    """Count the paragraphs of a document, which lie between two line feeds or more."""
    begin, stop = stripped(data, begin, stop, flags)
    first = begin
    while True:
        at = first
        while at < stop and not (data[at] == _FEED and data[at + 1] == _FEED):
            at += 1
        row[PARAGRAPHS] += 1
        if first == begin and at == stop:
            return
        if book.tallies[note(book, _PARAGRAPH, hash_bytes(data, first, at), 0)] > 1:
            row[DUPLICATE_PARAGRAPHS] += 1
            row[DUPLICATE_PARAGRAPH_CHARS] += chars_of(data, first, at)
        if at >= stop:
            return
        while data[at] == _FEED:
            at += 1
        first = at


@njit
def _gram(words: NDArray[np.uint64], first: Int, n: Int) -> np.uint64:
    state = SEED
    for word in range(first, first + n):
        state = mix(state, words[word])
    return finish(state)


@njit
def _most_frequent(
    words: NDArray[np.uint64], n: Int, often: NDArray[np.int32], edges: NDArray[np.int32], book: Book
) -> Int:
    """Characters of the most frequent n-gram, times its count; sets often[w] to n where that of word w is repeated."""
    best, best_first = np.int64(1), np.int64(0)
    last = len(words) - n
    for word in range(last + 1):
        if n > TOP_NS[0] and (often[word] < n - 1 or often[word + 1] < n - 1):
            continue
        slot = note(book, n, _gram(words, word, n), word)
        tally, first = np.int64(book.tallies[slot]), np.int64(book.firsts[slot])
        if tally > 1:
            often[first] = often[word] = n
            if tally > best or (tally == best and first < best_first):
                best, best_first = tally, first
    return best * (edges[best_first + n] - edges[best_first] + n - 1)


@njit
def _repeated(words: NDArray[np.uint64], n: Int, runs: NDArray[np.int32], edges: NDArray[np.int32], book: Book) -> Int:
    """Characters of the n-grams seen before; runs[w] repeated 4-grams begin at word w and after it, without a gap."""
    chars = np.int64(0)
    word = np.int64(0)
    while word + n <= len(words):
        step = np.int64(1)
        if runs[word] > n - _LAST_TOP_N:
            slot = note(book, n, _gram(words, word, n), word)
            if book.tallies[slot] > 1:
                chars += edges[word + n] - edges[word]
                step = np.int64(n)
        word += step
    return chars


@njit
def n_grams(
    words: NDArray[np.uint64], edges: NDArray[np.int32], often: NDArray[np.int32], book: Book, row: NDArray[np.int64]
) -> None:
    """Count n-grams; edges[w] are the characters of the words before w, `often` is scratch for a word more."""
    count = len(words)
    often[: count + 1] = 0
    for n in range(TOP_NS[0], _LAST_TOP_N + 1):
        if count >= n:
            row[TOP_2GRAM_CHARS + n - TOP_NS[0]] = _most_frequent(words, n, often, edges, book)
    longest = run = np.int64(0)
    for word in range(count - 1, -1, -1):
        run = run + 1 if often[word] == _LAST_TOP_N else np.int64(0)
        often[word] = run
        longest = max(longest, run)
    for n in range(_FIRST_DUPLICATE_N, _LAST_DUPLICATE_N + 1):
        if longest > n - _LAST_TOP_N:
            chars = _repeated(words, n, often, edges, book)
            row[DUPLICATE_5GRAM_CHARS + n - _FIRST_DUPLICATE_N] = chars
