"""What `rules` needs to know of every document, counted in one walk over its bytes and its words.

    counts(text, wanted, words=None) -> {name: int64[documents] for name in COUNTS}

Words come from `hare_ray.text`, so every room means the same by one, or from another tokenizer by way of
`hare_ray.text.spans`: then punctuation marks are words, and words are compared as they stand. What is counted how:
`rules_counts`, `rules_scan` and `rules_lines` (lines), `rules_repeats` (repetition), `rules_phrases`. Nothing is
allocated per document, and what no wanted family of rules asks for is not looked at.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.corpus.rules_chars import LETTER, SOLID
from hare_ray.corpus.rules_counts import (
    C4,
    CHARS,
    COUNTS,
    DUPLICATE_PIECES,
    FINEWEB,
    GOPHER,
    HARE,
    KEPT_CURLY_BRACKETS,
    KEPT_LINES,
    KEPT_LOREM_IPSUMS,
    KEPT_SENTENCES,
    LETTER_WORDS,
    LINE_FEEDS,
    LINES,
    PIECES,
    REPETITION,
    SOLID_CHARS,
    SOLID_WORDS,
    STOP_WORDS,
    WORD_CHARS,
    WORDS,
    Wanted,
)
from hare_ray.corpus.rules_lines import Page, content, count_line, count_phrases, sentences, shape
from hare_ray.corpus.rules_marks import SIEVE_MASK, Marks, marks_of
from hare_ray.corpus.rules_phrases import phrases_in
from hare_ray.corpus.rules_repeats import STAMPS, Book, n_grams, new_book, paragraphs, piece, slots_of
from hare_ray.corpus.rules_scan import chars_of, flags_at, line_break, scan_line
from hare_ray.kernel import njit
from hare_ray.text.hashing import Int
from hare_ray.text.spans import words_at
from hare_ray.text.words import Text, Words, text_buffers, words_of

_FEED = ord("\n")
_BY_LINE = GOPHER | C4 | HARE


@njit
def _kinds(data: NDArray[np.uint8], at: Int, stop: Int, flags: NDArray[np.uint16]) -> Int:
    """LETTER and SOLID, as they hold of any character of a word."""
    seen = np.int64(0)
    while at < stop and seen != LETTER | SOLID:
        _, flag, at = flags_at(data, at, stop, flags)
        seen |= flag & (LETTER | SOLID)
    return seen


@njit
def _words(page: Page, marks: Marks, row: NDArray[np.int64], edges: NDArray[np.int32]) -> None:
    """Count words by what they consist of; edges[w] become the characters of the words before w."""
    ascii_only = row[CHARS] == page.stop - page.begin
    seen_stops = np.uint64(0)
    total = solid = solid_chars = letters = np.int64(0)
    for word in range(len(page.hashes)):
        at, stop = page.begin + page.starts[word], page.begin + page.ends[word]
        chars = stop - at if ascii_only else chars_of(page.data, at, stop)
        seen = _kinds(page.data, at, stop, marks.flags)
        edges[word] = total
        total += chars
        if seen & SOLID:
            solid += 1
            solid_chars += chars
        letters += seen & LETTER != 0
        head = np.int64(page.hashes[word] & SIEVE_MASK)
        for place in range(marks.buckets[head], marks.buckets[head + 1]):
            if marks.stop_words[place] == page.hashes[word]:
                seen_stops |= np.uint64(1) << np.uint64(place)
    edges[len(page.hashes)] = total
    row[WORDS] = len(page.hashes)
    row[WORD_CHARS], row[SOLID_WORDS], row[SOLID_CHARS], row[LETTER_WORDS] = total, solid, solid_chars, letters
    while seen_stops:
        row[STOP_WORDS] += np.int64(seen_stops & np.uint64(1))
        seen_stops >>= np.uint64(1)


@njit
def _lines(page: Page, marks: Marks, row: NDArray[np.int64]) -> None:
    """Count over the lines."""
    data = page.data
    begin = page.begin
    word = open_chars = np.int64(0)
    of_c4 = marks.families & C4 != 0
    anywhere = marks.families & HARE != 0 or (of_c4 and marks.bad)
    while begin < page.stop:
        end, after = line_break(data, begin, page.stop)
        scan = scan_line(data, begin, end, marks.flags, row)
        open_chars = count_line(scan, open_chars, row)
        booked = np.int64(LINES)
        if of_c4 and scan.tokens and not row[KEPT_LOREM_IPSUMS] + row[KEPT_CURLY_BRACKETS]:
            booked = shape(data, scan, marks.max_word_chars, marks.min_line_words)
        if anywhere or booked == KEPT_LINES:
            phrases = phrases_in(data, scan.first, scan.last, marks.phrases)
            count_phrases(phrases, row)
            booked = content(phrases, scan.seen) if booked == KEPT_LINES else booked
        if booked == KEPT_LINES and marks.punctuated:
            while word < len(page.starts) and page.begin + page.starts[word] < begin:
                word += 1
            row[KEPT_SENTENCES] += sentences(page, scan, word, marks.flags)
        elif booked == KEPT_LINES:
            row[KEPT_SENTENCES] += scan.ends + (scan.ended < scan.chars)
        row[booked] += booked != LINES
        begin = after


@njit
def _pieces(page: Page, marks: Marks, book: Book, row: NDArray[np.int64]) -> None:
    """Count over what lies between line feeds; Gopher's split leaves an empty piece where one is at either end."""
    text = page.data[page.begin : page.stop]
    begin = chars = np.int64(0)
    for at in range(len(text)):
        byte = text[at]
        if byte != _FEED:
            chars += byte & 0xC0 != 0x80
            continue
        if begin < at:
            piece(text[begin:at], chars, marks, book, row)
        begin = at + 1
        chars = np.int64(0)
    if begin < len(text):
        piece(text[begin:], chars, marks, book, row)
    if page.begin < page.stop:
        empty = (page.data[page.begin] == _FEED) + (page.data[page.stop - 1] == _FEED)
        row[PIECES] += empty
        row[DUPLICATE_PIECES] += empty > 1


@njit
def _sizes(data, begins, stops, out):  # noqa: ANN001, ANN202
    """Characters and line feeds of all documents."""
    for row in range(len(begins)):
        chars = feeds = 0
        for byte in data[begins[row] : stops[row]]:
            chars += byte & 0xC0 != 0x80
            feeds += byte == _FEED
        out[row, CHARS] = chars
        out[row, LINE_FEEDS] = feeds


@njit
def _count_all(texts, words, marks, book, out):  # noqa: ANN001, ANN202
    data, begins, stops = texts
    offsets, hashes, starts, ends = words
    edges = np.empty(len(book.keys) + 1, np.int32)
    often = np.empty(len(book.keys) + 1, np.int32)
    for number in range(len(begins)):
        this = slice(offsets[number], offsets[number + 1])
        page = Page(data, begins[number], stops[number], hashes[this], starts[this], ends[this])
        row = out[number]
        mask = slots_of(max(len(page.hashes), row[LINE_FEEDS] + 1)) - 1
        own = Book(book.keys, book.stamps, book.firsts, book.tallies, book.stamp + STAMPS * number, mask)
        _words(page, marks, row, edges)
        if marks.families & _BY_LINE:
            _lines(page, marks, row)
        if marks.families & (REPETITION | FINEWEB):
            _pieces(page, marks, own, row)
        if marks.families & REPETITION:
            paragraphs(data, page.begin, page.stop, marks.flags, own, row)
            n_grams(page.hashes, edges, often, own, row)


def _stop_words(wanted: Wanted, folded: bool) -> NDArray[np.uint64]:
    """Hashes of the stop words, as the words of a text are hashed."""
    text = pa.array(wanted.stop_words, pa.string())
    if not folded:
        ends = np.array([len(word.encode()) for word in wanted.stop_words], np.int32)
        return words_at(text, np.arange(len(text) + 1), np.zeros(len(text), np.int32), ends).hashes
    words = words_of(text)
    odd = [word for word, count in zip(wanted.stop_words, words.lengths, strict=True) if count != 1]
    if odd:
        raise ValueError(f"given the stop words {odd}, expected single words; split them")
    return words.hashes


def counts(text: Text, wanted: Wanted, words: Words | None = None) -> dict[str, NDArray[np.int64]]:
    """Every count of COUNTS, by name, for every document; 0 where no wanted family asks for it.

    `words` are those of `text` from another tokenizer, punctuation marks included; None: the folded ones of `text`.
    """
    marks = marks_of(wanted, _stop_words(wanted, words is None), words is not None)
    out = np.zeros((len(text), len(COUNTS)), np.int64)
    first = 0
    for chunk in text.chunks if isinstance(text, pa.ChunkedArray) else [text]:
        here = slice(first, first + len(chunk))
        first += len(chunk)
        if not len(chunk):
            continue
        own = words_of(chunk) if words is None else _part(words, here)
        (texts,) = text_buffers(chunk)
        _sizes(*texts, out[here])
        entries = max(int(own.lengths.max()), int(out[here, LINE_FEEDS].max()) + 1)
        _count_all(texts, (own.offsets, own.hashes, own.starts, own.ends), marks, new_book(entries), out[here])
    return dict(zip(COUNTS, out.T, strict=True))


def _part(words: Words, rows: slice) -> Words:
    """The words of some documents."""
    offsets = words.offsets[rows.start : rows.stop + 1]
    here = slice(offsets[0], offsets[-1])
    return Words(offsets - offsets[0], words.hashes[here], words.starts[here], words.ends[here])
