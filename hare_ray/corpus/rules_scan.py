"""One line of text, scanned once: its tokens, symbols and links counted, and how it begins and ends.

A token is a run of anything but white space, a link a token with "://" in it or "www." before it, a
symbol a number sign or an ellipsis (one character or three full stops). A line ends a sentence if
terminal punctuation of any common script is the last character of a token, closing quotes and brackets
apart.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hare_ray.text.fold import CLASS_SHIFT, LENGTH_MASK, LIMIT, SINGLE, VALUE_BITS, WORD, folds
from hare_ray.text.words import Int, decode

COUNTS = (
    "chars",  # white space apart
    "words",
    "word_chars",
    "stop_words",  # different ones
    "lorem_ipsums",
    "tokens",  # runs of anything but white space
    "letter_tokens",
    "link_chars",
    "symbols",  # number signs and ellipses
    "lines",
    "bullet_lines",
    "ellipsis_lines",
    "javascript_lines",
    "duplicate_lines",
    "complete_chars",
    "duplicate_paragraph_chars",
    "top_2gram_chars",
    "duplicate_5gram_chars",
)
(
    CHARS,
    WORDS,
    WORD_CHARS,
    STOP_WORDS,
    LOREM_IPSUMS,
    TOKENS,
    LETTER_TOKENS,
    LINK_CHARS,
    SYMBOLS,
    LINES,
    BULLET_LINES,
    ELLIPSIS_LINES,
    JAVASCRIPT_LINES,
    DUPLICATE_LINES,
    COMPLETE_CHARS,
    DUPLICATE_PARAGRAPH_CHARS,
    TOP_2GRAM_CHARS,
    DUPLICATE_5GRAM_CHARS,
) = range(len(COUNTS))

SPACE, LETTER, LOWER, TERMINAL, CLOSER, BULLET, COLON = (1 << bit for bit in range(7))

TERMINALS = ".!?\u2026\u3002\uff01\uff1f\uff0e\u061f\u06d4\u0964\u0965\u1362\u203c\u203d\u2047\u2048\u2049"
CLOSERS = "\"')]}*_\u2019\u201d\u00bb\u203a\u300d\u300f\uff09\u3011\u300b"
BULLETS = "-*+\u2013\u2014\u2022\u2023\u25aa\u25ab\u25cf\u25cb\u25e6\u2219\u00b7\u25a0\u25a1\u25b6\u27a4\u2713\u2714"
SPACES = (
    *range(9, 14),
    32,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
)

LINE_LOWER, LINE_BULLET, LINE_ENDS, LINE_TRAILS = (1 << bit for bit in range(4))
"""A line begins in lower case; begins with a bullet; ends a sentence; ends in an ellipsis."""

_HASH, _DOT, _COLON, _SLASH, _W = (ord(char) for char in "#.:/w")
_ELLIPSIS = 0x2026
_DOTS = 3


@cache
def flag_table() -> NDArray[np.uint8]:
    """The flags of every code point of the table of folds."""
    table = folds().table
    kind = table >> CLASS_SHIFT
    code = np.arange(LIMIT)
    value = table & ((1 << VALUE_BITS) - 1)
    plain = (table >> VALUE_BITS) & LENGTH_MASK == 0
    digit = (value >= ord("0")) & (value <= ord("9")) & plain
    letter = ((kind == WORD) | (kind == SINGLE)) & ~digit
    flags = np.where(letter, LETTER, 0) | np.where(letter & plain & (value == code), LOWER, 0)
    for bit, chars in ((TERMINAL, TERMINALS), (CLOSER, CLOSERS), (BULLET, BULLETS), (COLON, ":")):
        flags[[ord(char) for char in chars]] |= bit
    flags[list(SPACES)] |= SPACE
    return flags.astype(np.uint8)


@njit(cache=True, nogil=True)
def _is_link(data: NDArray[np.uint8], start: Int, stop: Int, seen: Int) -> bool | np.bool_:
    """Whether a token names a scheme or begins with www."""
    if seen & COLON:
        for at in range(start + 1, stop - 2):
            if data[at] == _COLON and data[at + 1] == _SLASH and data[at + 2] == _SLASH:
                return True
    if stop - start < len("www.x") or data[start + 3] != _DOT:
        return False
    return data[start] | 32 == _W and data[start + 1] | 32 == _W and data[start + 2] | 32 == _W


@njit(cache=True, nogil=True)
def _token(data: NDArray[np.uint8], start: Int, stop: Int, chars: Int, seen: Int, row: NDArray[np.int64]) -> None:
    """Count the token [start, stop) of `chars` characters, which have the flags `seen`."""
    row[TOKENS] += 1
    row[CHARS] += chars
    row[LETTER_TOKENS] += seen & LETTER != 0
    if _is_link(data, start, stop, seen):
        row[LINK_CHARS] += chars


@njit(cache=True, nogil=True)
def _is_bullet(data: NDArray[np.uint8], at: Int, stop: Int, code: Int) -> bool | np.bool_:
    """Whether the bullet character before `at` is one: ASCII bullets need a space after them."""
    return code > 0x7F or (at < stop and data[at] == ord(" "))


@njit(cache=True, nogil=True)
def _past_letters(data: NDArray[np.uint8], at: Int, stop: Int, flags: NDArray[np.uint8]) -> Int:
    """Where the run of ASCII letters ends: four in five bytes need no closer look."""
    while at < stop and data[at] < 0x80 and flags[data[at]] & LETTER:
        at += 1
    return at


@njit(cache=True, nogil=True)
def scan_line(
    data: NDArray[np.uint8], begin: Int, stop: Int, flags: NDArray[np.uint8], row: NDArray[np.int64]
) -> tuple[Int, Int, Int]:
    """Count what lies in one line.

    Returns its characters, those up to the last end of a sentence, and the LINE_ bits that hold of it.
    """
    chars = ended = token_chars = dots = np.int64(0)
    token = begin
    seen = found = np.int64(0)
    at = begin
    while at < stop:
        here = at
        code, at = decode(data, at, stop)
        flag = np.int64(flags[code]) if code < LIMIT else LETTER
        count = np.int64(1)
        if code < 0x80 and flag & LETTER:
            at = _past_letters(data, at, stop, flags)
            count = at - here
        dots = dots + 1 if code == _DOT else 0
        row[SYMBOLS] += code in (_HASH, _ELLIPSIS) or dots == _DOTS
        if flag & SPACE:
            if token_chars:
                _token(data, token, here, token_chars, seen, row)
                ended = chars if found & LINE_ENDS else ended
            token_chars = seen = np.int64(0)
            continue
        if not token_chars:
            token = here
        if not chars:
            found |= LINE_LOWER * (flag & LOWER != 0)
            found |= LINE_BULLET * (flag & BULLET != 0 and _is_bullet(data, at, stop, code))
        token_chars += count
        chars += count
        seen |= flag
        ends = flag & TERMINAL != 0 or (found & LINE_ENDS != 0 and flag & CLOSER != 0)
        found = found & ~(LINE_ENDS | LINE_TRAILS) | LINE_ENDS * ends
        found |= LINE_TRAILS * (code == _ELLIPSIS or dots >= _DOTS)
    if token_chars:
        _token(data, token, stop, token_chars, seen, row)
        ended = chars if found & LINE_ENDS else ended
    return chars, ended, found
