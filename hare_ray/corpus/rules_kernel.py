"""What `rules` needs to know of every document, counted in one walk over its words and its lines.

    counts(text, stop_words) -> {name: int64[documents] for name in COUNTS}

Words come from `hare_ray.text`, so every room means the same by one. A line counts if it holds a word; a
paragraph is a run of lines without a blank one between. Complete are the characters of a line up to its
last end of a sentence, and the rest too if the next line goes on in lower case (wrapped text). Duplicates
(of lines, paragraphs, 5-grams) are those that repeat an earlier one in the document, compared by their
folded words; they live in one hash table that is cleared by a stamp, never by writing. Characters are
code points; those of words alone where said so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from hare_ray.corpus.rules_scan import (
    BULLET_LINES,
    COMPLETE_CHARS,
    COUNTS,
    DUPLICATE_5GRAM_CHARS,
    DUPLICATE_LINES,
    DUPLICATE_PARAGRAPH_CHARS,
    ELLIPSIS_LINES,
    JAVASCRIPT_LINES,
    LINE_BULLET,
    LINE_LOWER,
    LINE_TRAILS,
    LINES,
    LOREM_IPSUMS,
    STOP_WORDS,
    TOP_2GRAM_CHARS,
    WORD_CHARS,
    WORDS,
    flag_table,
    scan_line,
)
from hare_ray.text.ngrams import ngram_hashes
from hare_ray.text.words import SEED, Int, Text, Words, finish, mix, text_buffers, words_of

ENTRIES_PER_WORD = 3
"""Slots of the hash table: a document has at most two entries a word, of lines and paragraphs of one word."""

STAMPS = 3
"""Stamps a document uses up: lines and paragraphs, 2-grams, 5-grams."""

SIEVE_MASK = np.uint64(0xFFF)
"""Stop words are looked for among them only where a table of this size does not rule them out."""

MAX_STOP_WORDS = 64
"""Those seen are the bits of one integer."""

DUPLICATE_N = 5
"""Words of the n-grams whose repetition counts: the shortest that Gopher's rules look at."""

_NEWLINE = ord("\n")
_LINE_SALT, _PARAGRAPH_SALT = np.uint64(0x6C696E65), np.uint64(0x70617261)


class Page(NamedTuple):
    """One document: its bytes and its words, with their n-grams."""

    data: NDArray[np.uint8]
    begin: Int
    stop: Int
    hashes: NDArray[np.uint64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    twos: NDArray[np.uint64]
    fives: NDArray[np.uint64]


class Marks(NamedTuple):
    """What to look for: flags per code point, and words by their hashes."""

    flags: NDArray[np.uint8]
    stop_words: NDArray[np.uint64]
    sieve: NDArray[np.bool_]
    """Whether the last bits of a hash are those of a stop word."""
    lorem: np.uint64
    ipsum: np.uint64
    javascript: np.uint64


class Book(NamedTuple):
    """An open hash table; an entry is there if its stamp is the one of today."""

    keys: NDArray[np.uint64]
    stamps: NDArray[np.int32]
    tallies: NDArray[np.int32]


@njit(cache=True, nogil=True)
def _add(book: Book, stamp: Int, mask: Int, key: np.uint64) -> Int:
    """Note `key`; how often it was noted before under this stamp."""
    slot = np.int64(key) & mask
    while book.stamps[slot] == stamp and book.keys[slot] != key:
        slot = (slot + 1) & mask
    if book.stamps[slot] != stamp:
        book.stamps[slot] = stamp
        book.keys[slot] = key
        book.tallies[slot] = 0
    book.tallies[slot] += 1
    return book.tallies[slot] - 1


@njit(cache=True, nogil=True)
def _words(page: Page, marks: Marks, row: NDArray[np.int64], lengths: NDArray[np.int32]) -> None:
    """Count words and their characters, and the words that are looked for."""
    seen = np.uint64(0)
    before = np.uint64(0)
    for word in range(len(page.hashes)):
        key = page.hashes[word]
        length = 0
        for at in range(page.begin + page.starts[word], page.begin + page.ends[word]):
            length += page.data[at] & 0xC0 != 0x80
        lengths[word] = length
        row[WORD_CHARS] += length
        if marks.sieve[key & SIEVE_MASK]:
            place = np.searchsorted(marks.stop_words, key)
            if place < len(marks.stop_words) and marks.stop_words[place] == key:
                seen |= np.uint64(1) << np.uint64(place)
        row[LOREM_IPSUMS] += key == marks.ipsum and before == marks.lorem
        before = key
    row[WORDS] = len(page.hashes)
    while seen:
        row[STOP_WORDS] += np.int64(seen & np.uint64(1))
        seen >>= np.uint64(1)


@njit(cache=True, nogil=True)
def _line_hash(page: Page, first: Int, last: Int, javascript: np.uint64) -> tuple[np.uint64, bool]:
    """Hash of the words [first, last) of a line, and whether the word javascript is one of them."""
    state = SEED
    found = False
    for word in range(first, last):
        state = mix(state, page.hashes[word])
        found |= page.hashes[word] == javascript
    return state, found


@njit(cache=True, nogil=True)
def _lines(page: Page, marks: Marks, book: Book, stamp: Int, mask: Int, row: NDArray[np.int64]) -> None:
    """Count over lines and paragraphs."""
    word = open_chars = paragraph_chars = np.int64(0)
    paragraph = SEED
    begin = page.begin
    while begin < page.stop:
        stop = begin
        while stop < page.stop and page.data[stop] != _NEWLINE:
            stop += 1
        chars, ended, found = scan_line(page.data, begin, stop, marks.flags, row)
        first = word
        while word < len(page.hashes) and page.starts[word] < stop - page.begin:
            word += 1
        if word > first:
            line, javascript = _line_hash(page, first, word, marks.javascript)
            row[LINES] += 1
            row[BULLET_LINES] += found & LINE_BULLET != 0
            row[ELLIPSIS_LINES] += found & LINE_TRAILS != 0
            row[JAVASCRIPT_LINES] += javascript
            row[DUPLICATE_LINES] += _add(book, stamp, mask, finish(line ^ _LINE_SALT)) > 0
            row[COMPLETE_CHARS] += open_chars if found & LINE_LOWER else 0
            row[COMPLETE_CHARS] += ended
            open_chars = chars - ended
            paragraph = mix(paragraph, line)
            paragraph_chars += chars
        begin = stop + 1
        if paragraph_chars and (chars == 0 or begin >= page.stop):
            repeated = _add(book, stamp, mask, finish(paragraph ^ _PARAGRAPH_SALT)) > 0
            row[DUPLICATE_PARAGRAPH_CHARS] += paragraph_chars if repeated else 0
            paragraph, paragraph_chars, open_chars = SEED, np.int64(0), np.int64(0)


@njit(cache=True, nogil=True)
def _repetition(
    page: Page, lengths: NDArray[np.int32], book: Book, stamp: Int, mask: Int, row: NDArray[np.int64]
) -> None:
    """Characters in the most frequent 2-gram (the longest of equals), and in 5-grams seen before."""
    best = best_chars = np.int64(0)
    for place in range(len(page.twos)):
        tally = _add(book, stamp, mask, page.twos[place])
        chars = np.int64(lengths[place] + lengths[place + 1])
        if tally > best or (tally == best and chars > best_chars):
            best, best_chars = tally, chars
    row[TOP_2GRAM_CHARS] = (best + 1) * best_chars if best else 0
    covered = np.int64(0)
    for place in range(len(page.fives)):
        if _add(book, stamp + 1, mask, page.fives[place]):
            for word in range(max(covered, place), place + DUPLICATE_N):
                row[DUPLICATE_5GRAM_CHARS] += lengths[word]
            covered = np.int64(place + DUPLICATE_N)


@njit(cache=True, nogil=True)
def _count(
    page: Page, marks: Marks, book: Book, stamp: Int, lengths: NDArray[np.int32], row: NDArray[np.int64]
) -> None:
    mask = np.int64(1)
    while mask < ENTRIES_PER_WORD * (len(page.hashes) + 1):
        mask *= 2
    mask -= 1
    _words(page, marks, row, lengths)
    _lines(page, marks, book, stamp, mask, row)
    _repetition(page, lengths, book, stamp + 1, mask, row)


@njit(cache=True, nogil=True)
def _count_all(texts, words, grams, marks, book, out):  # noqa: ANN001, ANN202
    data, begins, stops = texts
    offsets, hashes, starts, ends = words
    two_offsets, twos, five_offsets, fives = grams
    lengths = np.empty(np.diff(offsets).max(), np.int32)
    for row in range(len(begins)):
        this = slice(offsets[row], offsets[row + 1])
        page = Page(
            data,
            begins[row],
            stops[row],
            hashes[this],
            starts[this],
            ends[this],
            twos[two_offsets[row] : two_offsets[row + 1]],
            fives[five_offsets[row] : five_offsets[row + 1]],
        )
        _count(page, marks, book, 1 + STAMPS * row, lengths, out[row])


def _marks(stop_words: tuple[str, ...]) -> Marks:
    special = words_of(pa.array(["lorem ipsum javascript", *stop_words]))
    odd = [word for word, count in zip(stop_words, special.lengths[1:], strict=True) if count != 1]
    if odd or len(stop_words) > MAX_STOP_WORDS:
        raise ValueError(
            f"given {len(stop_words)} stop words, of which {odd} are not one word each; expected at most "
            f"{MAX_STOP_WORDS} single words"
        )
    lorem, ipsum, javascript = special.hashes[:3]
    hashes = np.unique(special.hashes[3:])
    sieve = np.zeros(SIEVE_MASK + np.uint64(1), bool)
    sieve[hashes & SIEVE_MASK] = True
    return Marks(flag_table(), hashes, sieve, lorem, ipsum, javascript)


def _book(words: Words) -> Book:
    slots = 2 * ENTRIES_PER_WORD * (int(words.lengths.max()) + 1)
    return Book(np.zeros(slots, np.uint64), np.zeros(slots, np.int32), np.zeros(slots, np.int32))


def counts(text: Text, stop_words: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """Every count of COUNTS, by name, for every document."""
    marks = _marks(stop_words)
    out = np.zeros((len(text), len(COUNTS)), np.int64)
    first = 0
    for chunk in text.chunks if isinstance(text, pa.ChunkedArray) else [text]:
        if len(chunk):
            words = words_of(chunk)
            grams = (*ngram_hashes(words, 2), *ngram_hashes(words, DUPLICATE_N))
            (texts,) = text_buffers(chunk)
            own = (words.offsets, words.hashes, words.starts, words.ends)
            _count_all(texts, own, grams, marks, _book(words), out[first : first + len(chunk)])
        first += len(chunk)
    return dict(zip(COUNTS, out.T, strict=True))
