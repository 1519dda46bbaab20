"""What a byte can be part of, as flags in a table of 256, and the small questions that every matcher asks.

Bytes of 0x80 and above belong to letters outside ASCII: they are no part of anything that is looked for and
count as a boundary, as they do for the word boundary of a byte-wise regular expression.
"""

from __future__ import annotations

from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

DIGIT, UPPER, LOWER, LOCAL, KEY, HEX, ANCHOR, WORD = (1 << bit for bit in range(8))

CHARACTERS = (
    (DIGIT, digits),
    (UPPER, ascii_uppercase),
    (LOWER, ascii_lowercase),
    (LOCAL, ascii_letters + digits + "._%+-"),  # before the @ of an e-mail address
    (KEY, ascii_letters + digits + "_-"),  # base64 for URLs, and every token
    (HEX, digits + "abcdefABCDEF"),
    (ANCHOR, digits + "@+(_-IJ"),  # where a hit can show itself
    (WORD, ascii_letters + digits + "_"),
)


def _classes() -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for flag, characters in CHARACTERS:
        table[[ord(c) for c in characters]] |= flag
    return table


CLASSES = _classes()

NONE = 0
"""What a matcher returns for no hit: no hit ends before the first byte."""


@njit
def is_a(data: NDArray[np.uint8], at: Int, stop: Int, flags: Int) -> bool | np.bool_:
    """Whether there is a byte at `at`, and one of a class in `flags`."""
    return at < stop and CLASSES[data[at]] & flags != 0


@njit
def starts_word(data: NDArray[np.uint8], at: Int, begin: Int) -> bool | np.bool_:
    """Whether no letter, digit or underscore stands before `at`."""
    return at <= begin or CLASSES[data[at - 1]] & WORD == 0


@njit
def run_end(data: NDArray[np.uint8], at: Int, stop: Int, flags: Int) -> Int:
    """Where the run of bytes of a class in `flags` ends."""
    while at < stop and CLASSES[data[at]] & flags:
        at += 1
    return at


@njit
def matches(data: NDArray[np.uint8], at: Int, stop: Int, word: NDArray[np.uint8]) -> bool | np.bool_:
    """Whether `word` lies at `at`."""
    if at + len(word) > stop:
        return False
    for place in range(len(word)):  # noqa: SIM110 - numba knows no generators
        if data[at + place] != word[place]:
            return False
    return True
