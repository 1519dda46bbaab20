"""What every code point is to a word, and what it is folded to, as one table of 32-bit entries.

Rules, duplicates and leaks compare words, so a re-cased, re-wrapped, re-punctuated or re-accented copy of
a text must have the same words. A code point is one of four classes:

    0 SEPARATOR   ends a word: spaces, punctuation (hyphen and underscore too), symbols, controls
    1 WORD        letters, numbers, vowel signs: part of the running word
    2 SINGLE      a word by itself, in scripts without spaces: ideographs, kana, Thai, Lao, Khmer, Burmese
    3 IGNORED     leaves no trace: accents, zero-width and format characters, soft hyphen, variation
                  selectors, and every apostrophe, so that don't, don<U+2019>t and dont are one word

fold(c) = casefold(NFKD(c) without IGNORED), once more NFKD and without IGNORED. Hence fold(c) equals the
folds of NFD(c) in sequence, and NFC and NFD copies have equal words. A fold of several code points (sharp
s, ligatures, Hangul syllables) is an expansion. The price: words that differ in accents only are one
word, and so are voiced and unvoiced kana.

Entry layout: bits 0-20 folded code point, or index of the expansion; bits 21-25 length of the expansion,
0 for none; bits 30-31 class.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SEPARATOR, WORD, SINGLE, IGNORED = 0, 1, 2, 3

LIMIT = 0x20000
"""Code points with an entry: the Basic and the Supplementary Multilingual Plane."""

IDEOGRAPHIC_LIMIT = 0x40000
"""From LIMIT to here there are ideographs only: SINGLE, folded to themselves."""

TAGS = (0xE0000, 0xE0200)
"""Tags and variation selectors: IGNORED. Whatever else lies beyond LIMIT is SEPARATOR."""

VALUE_BITS, LENGTH_MASK, CLASS_SHIFT = 21, 31, 30

APOSTROPHES = frozenset("'`\u00b4\u02b9\u02bb\u02bc\u02bd\u2018\u2019\u201b\uff07")

DOTLESS_I = "\u0131"
"""Turkish and its kin write it I in capitals, which is folded to i; without a fold of its own it would differ there."""

SPELLING_MARKS = frozenset({0, 9, 84, 91, 103, 107, 118, 122, 129, 130, 132})
"""Canonical combining classes of marks that spell: vowel signs and virama (0, 9), vowels and tones of Telugu
(84, 91), Thai (103, 107), Lao (118, 122) and Tibetan (129, 130, 132). All others are accents and points."""

SINGLE_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # ideographic iteration mark and zero
    (0x3021, 0x30FF),  # Hangzhou numerals, hiragana, katakana
    (0x3100, 0x312F),  # bopomofo
    (0x31A0, 0x31FF),  # bopomofo and katakana extensions
    (0x3400, 0x4DBF),  # ideographs, extension A
    (0x4E00, 0x9FFF),  # ideographs
    (0xA9E0, 0xA9FF),  # Burmese extension B
    (0xAA60, 0xAA7F),  # Burmese extension A
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0xFF66, 0xFF9D),  # half-width katakana
    (0x17000, 0x18DFF),  # Tangut
    (0x1AFF0, 0x1B2FF),  # kana extensions, Nushu
)
"""Scripts written without spaces between words."""

_PLAIN_SINGLES = (range(0x3400, 0x4DC0), range(0x4E00, 0x9FFD), range(0x17000, 0x187F8))
"""Ideographs and Tangut: SINGLE, fold to themselves; kept out of the slow loop."""

_HANGUL = range(0xAC00, 0xD7A4)
"""Syllables; they decompose by arithmetic: 19 leads from U+1100, 21 vowels from U+1161, 27 tails from
U+11A8."""

_PRIVATE = (0xD800, 0xF900)
"""Surrogates and private use: SEPARATOR."""


class Folds(NamedTuple):
    """The table and the code points its expansions consist of."""

    table: NDArray[np.uint32]
    expansions: NDArray[np.uint32]


def class_of(char: str) -> int:
    """SEPARATOR, WORD, SINGLE or IGNORED."""
    if ord(char) >= LIMIT:
        beyond = IGNORED if TAGS[0] <= ord(char) < TAGS[1] else SEPARATOR
        return SINGLE if ord(char) < IDEOGRAPHIC_LIMIT else beyond
    category = unicodedata.category(char)
    if char in APOSTROPHES or category in ("Cf", "Me") or 0xFE00 <= ord(char) <= 0xFE0F:
        return IGNORED
    if category == "Mn" and (
        unicodedata.combining(char) not in SPELLING_MARKS or 0x0300 <= ord(char) <= 0x036F or ord(char) >= LIMIT
    ):
        return IGNORED
    if category[0] not in "LMN":
        return SEPARATOR
    return SINGLE if _singles()[ord(char)] else WORD


@cache
def _singles() -> bytearray:
    """1 for every code point of SINGLE_RANGES."""
    found = bytearray(LIMIT)
    for first, last in SINGLE_RANGES:
        found[first : last + 1] = b"\1" * (last + 1 - first)
    return found


def folded(char: str) -> str:
    """The folded form of a WORD or SINGLE character; itself where its fold holds separators (one half)."""
    if char == DOTLESS_I:
        return "i"
    if ord(char) >= LIMIT or unicodedata.normalize("NFKD", char) == char == char.casefold():
        return char
    bare = "".join(c for c in unicodedata.normalize("NFKD", char) if class_of(c) != IGNORED)
    small = unicodedata.normalize("NFKD", bare.casefold())
    kept = "".join(c for c in small if class_of(c) != IGNORED)
    return kept if kept and all(class_of(c) == class_of(char) for c in kept) else char


def _syllables() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Entries of all Hangul syllables and the jamo they expand to, three places each, used or not."""
    number = np.arange(len(_HANGUL), dtype=np.uint32)
    tail = number % 28
    jamo = np.stack([0x1100 + number // 588, 0x1161 + number % 588 // 28, 0x11A7 + tail], axis=1)
    lengths = np.where(tail > 0, np.uint32(3), np.uint32(2))
    entries = 3 * number | lengths << VALUE_BITS | np.uint32(WORD << CLASS_SHIFT)
    return entries.astype(np.uint32), jamo.astype(np.uint32).ravel()


@cache
def folds() -> Folds:
    """The table, built once per process."""
    table = np.zeros(LIMIT, np.uint32)
    table[_HANGUL.start : _HANGUL.stop], jamo = _syllables()
    expansions = jamo.tolist()
    plain = np.ones(LIMIT, bool)
    for stretch in _PLAIN_SINGLES:
        table[stretch.start : stretch.stop] = np.arange(stretch.start, stretch.stop) | SINGLE << CLASS_SHIFT
        plain[stretch.start : stretch.stop] = False
    for start, stop in ((_HANGUL.start, _HANGUL.stop), _PRIVATE):
        plain[start:stop] = False
    for code in np.flatnonzero(plain).tolist():
        char = chr(code)
        kind = class_of(char)
        value = code
        if kind in (WORD, SINGLE):
            fold = folded(char)
            value = ord(fold) if len(fold) == 1 else len(expansions) | len(fold) << VALUE_BITS
            if len(fold) > 1:
                expansions.extend(map(ord, fold))
        table[code] = value | kind << CLASS_SHIFT
    return Folds(table, np.array(expansions, np.uint32))
