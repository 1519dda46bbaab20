"""One line of text, scanned once: its tokens, symbols and links counted, and how it begins and ends.

A token is a run of anything but white space, a link a token with "://" in it or "www." before it. A line ends a
sentence if a Sentence_Terminal or an ellipsis is the last character of a token, closing quotes and brackets apart.
Lines end where str.splitlines ends them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.rules_chars import (
    BEYOND,
    CLOSER,
    COLON,
    LETTER,
    LIMIT,
    LOWER,
    PUNCT,
    SIGN,
    SPACE,
    STOP,
)
from hare_ray.corpus.rules_counts import ELLIPSES, LINK_CHARS, NUMBER_SIGNS
from hare_ray.kernel import njit
from hare_ray.text.hashing import Int
from hare_ray.text.word_kernel import decode

LINE_LOWER, LINE_BULLET, LINE_TRAILS = (1 << bit for bit in range(3))
"""A line begins in lower case; begins with - or a bullet; ends in an ellipsis."""

_HASH, _DOT, _COLON, _SLASH, _W, _HYPHEN, _FEED, _RETURN = (ord(char) for char in "#.:/w-\n\r")
_ELLIPSIS, _BULLET = 0x2026, 0x2022
_DOTS = 3
_LAST_CONTROL, _ESCAPE = 0x1E, 0x1B
_HIGH = 0xC2
_EDIT, _NEEDED = (np.frombuffer(words, np.uint8) for words in (b"edit]", b"citation needed]"))
_ELLIPSIS_BYTES = np.frombuffer(chr(_ELLIPSIS).encode(), np.uint8)


class Scan(NamedTuple):
    """What `scan_line` found."""

    first: Int
    """Byte where the line begins without white space before it."""
    last: Int
    """Byte where it ends without white space after it."""
    tokens: Int
    longest: Int
    """Characters of the longest token."""
    chars: Int
    """But white space."""
    ended: Int
    """Of these up to the last end of a sentence."""
    ends: Int
    """Tokens that end a sentence."""
    seen: Int
    """Flags of any of its characters."""
    found: Int
    """LINE_ bits."""


@njit
def _break_bytes(text: NDArray[np.uint8], at: Int) -> Int:
    """Bytes of the line boundary at `at`, 0 where there is none."""
    byte = text[at]
    if byte == _RETURN:
        return 2 if at + 1 < len(text) and text[at + 1] == _FEED else 1
    if byte <= _LAST_CONTROL:
        return 1 if _FEED <= byte < _RETURN or byte > _ESCAPE else 0
    if byte == _HIGH and at + 1 < len(text) and text[at + 1] == 0x85:
        return 2
    if byte == 0xE2 and at + 2 < len(text) and text[at + 1] == 0x80 and text[at + 2] | 1 == 0xA9:
        return 3
    return 0


@njit
def line_break(data: NDArray[np.uint8], at: Int, stop: Int) -> tuple[Int, Int]:
    """Where the line that holds `at` ends, and where the next begins."""
    text = data[at:stop]
    for place in range(len(text)):
        if _LAST_CONTROL < text[place] < _HIGH:
            continue
        width = _break_bytes(text, place)
        if width:
            return at + place, at + place + width
    return stop, stop


@njit
def flags_at(data: NDArray[np.uint8], at: Int, stop: Int, flags: NDArray[np.uint16]) -> tuple[Int, Int, Int]:
    """Code point at `at`, its flags, and the byte after it."""
    code, after = decode(data, at, stop)
    return code, (np.int64(flags[code]) if code < LIMIT else np.int64(BEYOND)), after


@njit
def chars_of(data: NDArray[np.uint8], begin: Int, stop: Int) -> Int:
    """Code points of the bytes [begin, stop)."""
    chars = np.int64(0)
    for byte in data[begin:stop]:
        chars += byte & 0xC0 != 0x80
    return chars


@njit
def _is_link(data: NDArray[np.uint8], start: Int, stop: Int, seen: Int) -> bool | np.bool_:
    """Whether a token names a scheme or begins with www."""
    if seen & COLON:
        for at in range(start + 1, stop - 2):
            if data[at] == _COLON and data[at + 1] == _SLASH and data[at + 2] == _SLASH:
                return True
    if data[start] | 32 != _W or stop - start < len("www.x"):
        return False
    return data[start + 1] | 32 == _W and data[start + 2] | 32 == _W and data[start + 3] == _DOT


@njit
def _past_letters(data: NDArray[np.uint8], at: Int, stop: Int, flags: NDArray[np.uint16]) -> Int:
    """Where the run of ASCII letters ends: four in five bytes need no closer look."""
    while at < stop and data[at] < 0x80 and flags[data[at]] & LETTER:
        at += 1
    return at


@njit
def _sign(data: NDArray[np.uint8], at: Int, code: Int, dots: Int, row: NDArray[np.int64]) -> Int:
    """Count number signs and ellipses; full stops of an unfinished ellipsis, the character before `at` included."""
    row[NUMBER_SIGNS] += code == _HASH
    row[ELLIPSES] += code == _ELLIPSIS
    if code != _DOT:
        return np.int64(0)
    dots += 1
    if dots == _DOTS:
        row[ELLIPSES] += 1
        return np.int64(0)
    return dots if data[at] == _DOT else np.int64(0)


@njit
def _end_of(words: NDArray[np.uint8], data: NDArray[np.uint8], at: Int, stop: Int) -> Int:
    """Where `words` end that stand at `at`; 0 where they do not."""
    if at + len(words) > stop:
        return np.int64(0)
    for place in range(len(words)):
        if data[at + place] != words[place]:
            return np.int64(0)
    return at + len(words)


@njit
def _trails(data: NDArray[np.uint8], first: Int, last: Int) -> bool | np.bool_:
    """Whether the bytes [first, last) end in an ellipsis."""
    if last - first < len(_ELLIPSIS_BYTES):
        return False
    if data[last - 1] == _DOT:
        return data[last - 2] == _DOT and data[last - 3] == _DOT
    return _end_of(_ELLIPSIS_BYTES, data, last - len(_ELLIPSIS_BYTES), last) == last


@njit
def _next(data: NDArray[np.uint8], at: Int, stop: Int, flags: NDArray[np.uint16]) -> tuple[Int, Int, Int]:
    """As `flags_at`; white space at the end of the line."""
    return flags_at(data, at, stop, flags) if at < stop else (np.int64(0), np.int64(SPACE), at + 1)


@njit
def _begins(code: Int, flag: Int) -> Int:
    """LINE_ bits of a line by its first character."""
    return LINE_LOWER * (flag & LOWER != 0) | LINE_BULLET * (code in (_HYPHEN, _BULLET))


@njit
def scan_line(
    data: NDArray[np.uint8], begin: Int, stop: Int, flags: NDArray[np.uint16], row: NDArray[np.int64]
) -> Scan:
    """Count number signs, ellipses and characters of links in the line [begin, stop), and describe it."""
    chars = ended = ends = tokens = longest = before = dots = np.int64(0)
    first = last = token = np.int64(begin)
    all_seen = seen = found = np.int64(0)
    closed = False
    at = np.int64(begin)
    while at <= stop:
        here = at
        code, flag, at = _next(data, at, stop, flags)
        if flag & SPACE:
            if chars > before:
                tokens += 1
                longest = max(longest, chars - before)
                if _is_link(data, token, here, seen):
                    row[LINK_CHARS] += chars - before
                if closed:
                    ends, ended = ends + 1, chars
                all_seen |= seen
                last, before = here, chars
            seen = np.int64(0)
            continue
        if chars == before:
            token = here
            if not chars:
                first = here
                found = _begins(code, flag)
        seen |= flag
        chars += 1
        if flag & LETTER:
            letters = at
            at = _past_letters(data, at, stop, flags)
            chars += at - letters
            closed = False
            continue
        if flag & SIGN:
            dots = _sign(data, min(at, stop - 1), code, dots, row)
        closed = flag & STOP != 0 or code == _ELLIPSIS or (closed and flag & CLOSER != 0)
    found |= LINE_TRAILS * _trails(data, token, last)
    return Scan(first, last, tokens, longest, chars, ended, ends, all_seen, found)


@njit
def citation_end(data: NDArray[np.uint8], at: Int, stop: Int) -> Int:
    """Where a citation that begins at `at` ends: [12], [], [edit], [citation needed]; `at` where none begins."""
    if data[at] != ord("["):
        return at
    place = at + 1
    while place < stop and ord("0") <= data[place] <= ord("9"):
        place += 1
    if place < stop and data[place] == ord("]"):
        return place + 1
    edit = _end_of(_EDIT, data, at + 1, stop)
    needed = edit if edit else _end_of(_NEEDED, data, at + 1, stop)
    return needed if needed else at


@njit
def last_bytes(data: NDArray[np.uint8], first: Int, last: Int, cited: bool | np.bool_) -> tuple[Int, Int]:
    """The last three bytes of a line as one number, citations apart if `cited`, and the byte after them."""
    code = np.int64(0)
    end = at = first if cited else max(first, last - _DOTS)
    while at < last:
        after = citation_end(data, at, last)
        if after == at:
            code = (code << 8 | np.int64(data[at])) & 0xFFFFFF
            at += 1
            end = at
        else:
            at = after
    return code, end


@njit
def is_mark(data: NDArray[np.uint8], start: Int, stop: Int, flags: NDArray[np.uint16]) -> tuple[bool, bool]:
    """Whether a word is one character that ends a sentence, and whether it is punctuation alone."""
    _, flag, at = flags_at(data, start, stop, flags)
    if at == stop and flag & STOP:
        return True, True
    punct = flag & PUNCT
    while at < stop and punct:
        _, flag, at = flags_at(data, at, stop, flags)
        punct &= flag
    return False, punct != 0
