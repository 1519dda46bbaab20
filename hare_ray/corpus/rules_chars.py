"""What the rules ask of a code point, as one table of flags.

    SPACE     white space, as str.split and str.strip see it
    LETTER    str.isalpha
    LOWER     str.islower
    SOLID     not among the punctuation and control characters of which a symbol word consists
    STOP      ends a sentence: Unicode's property Sentence_Terminal
    CLOSER    quotes and brackets that may follow the end of a sentence
    PUNCT     a category P: what follows a full stop without beginning a sentence
    SIGN      what is looked at one by one: # { [ : and the ellipsis

Code points from LIMIT on are ideographs: letters, and solid.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

LIMIT = 0x20000
"""Code points with an entry."""

SPACE, LETTER, LOWER, SOLID, STOP, CLOSER, PUNCT, SIGN, BRACE, BRACKET, COLON = (1 << bit for bit in range(11))
BEYOND = LETTER | SOLID
"""Flags of a code point without an entry."""

CLOSERS = "\"')]}*_\u2019\u201d\u00bb\u203a\u300d\u300f\uff09\u3011\u300b"

SYMBOLS = (
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u00ab\u00b4\u00bb\u2013\u2014\u2019\u201c\u201d\u201e\u2026\u2236\u2501\u25ba"
    "\u3001\u3008\u3009\u300a\u300b\u300c\u300d\u3010\u3011\uff05\uff08\uff09\uff0c\uff11\uff1a\uff1b\uff5e"
)
"""Punctuation as CCNet (arXiv 1911.00359) normalises it and FineWeb counts it; with STOPS and controls."""

_STOPS = """
21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6
17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e
2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52
fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6
111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944
11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f
1da88
"""
"""Sentence_Terminal of Unicode 15, in hexadecimal; the standard library does not know the property."""


def stops() -> list[int]:
    """Code points that end a sentence."""
    spans = [[int(edge, 16) for edge in item.split("-")] for item in _STOPS.split()]
    return [code for span in spans for code in range(span[0], span[-1] + 1)]


@cache
def flag_table() -> NDArray[np.uint16]:
    """The flags of every code point below LIMIT, built once per process."""
    flags = np.full(LIMIT, SOLID, np.uint16)
    for code in range(LIMIT):
        char = chr(code)
        if char.isalpha():
            flags[code] |= LETTER | (LOWER if char.islower() else 0)
        elif char.isspace():
            flags[code] |= SPACE
        elif unicodedata.category(char)[0] == "P":
            flags[code] |= PUNCT
    marks = ((STOP, map(chr, stops())), (CLOSER, CLOSERS), (SIGN, "#.{[:\u2026"))
    for bit, chars in (*marks, (BRACE, "{"), (BRACKET, "["), (COLON, ":")):
        flags[[ord(char) for char in chars]] |= bit
    controls = [code for code in range(160) if unicodedata.category(chr(code)) == "Cc" and chr(code) not in "\t\n"]
    flags[[*map(ord, SYMBOLS), *stops(), *controls]] &= 0xFFFF ^ SOLID
    return flags
