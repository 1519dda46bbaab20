"""Phrases that a rule looks for in a line, all of them in one walk over its bytes.

Case does not matter in ASCII; other characters must be equal. The low five bits of three consecutive bytes, which are
the same for both cases, index a table that says which phrases begin so: almost all places are left after one look-up,
however many phrases there are. A bad phrase must stand between characters that are no part of a word (letters,
digits, the underscore, and whatever is not ASCII).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

LOREM, JAVASCRIPT, POLICY, BAD = (1 << bit for bit in range(4))
"""Kinds of phrases."""

HEAD_BYTES = 3
_BITS, _LOW, _MASK = 5, 31, 0x7FFF
_A, _Z, _CASE = ord("A"), ord("Z"), 32


class Phrases(NamedTuple):
    """Phrases in the order of their heads."""

    data: NDArray[np.uint8]
    edges: NDArray[np.int64]
    kinds: NDArray[np.int64]
    sieve: NDArray[np.bool_]
    """By head: whether any phrase has it."""
    buckets: NDArray[np.int32]
    """By head: number of its first phrase."""
    word_bytes: NDArray[np.bool_]
    """By byte: whether it is part of a word."""


def _head(phrase: bytes) -> int:
    head = 0
    for byte in phrase[:HEAD_BYTES]:
        head = head << _BITS | byte & _LOW
    return head


def phrases_of(policy: tuple[str, ...], bad: tuple[str, ...]) -> Phrases:
    """The phrases of the rules, and the recipe's."""
    kinds = ((LOREM, ("lorem ipsum",)), (JAVASCRIPT, ("javascript",)), (POLICY, policy), (BAD, bad))
    found = [(text.encode().lower(), kind) for kind, texts in kinds for text in texts]
    short = [text.decode() for text, _ in found if len(text) < HEAD_BYTES]
    if short:
        raise ValueError(f"given the phrases {short}, expected at least {HEAD_BYTES} bytes; leave them out")
    found.sort(key=lambda one: _head(one[0]))
    heads = np.array([_head(text) for text, _ in found])
    sieve = np.zeros(_MASK + 1, bool)
    sieve[heads] = True
    word = [chr(byte).isalnum() or byte == ord("_") or byte > 0x7F for byte in range(256)]
    return Phrases(
        np.frombuffer(b"".join(text for text, _ in found), np.uint8),
        np.cumsum([0, *(len(text) for text, _ in found)]),
        np.array([kind for _, kind in found]),
        sieve,
        np.searchsorted(heads, np.arange(_MASK + 2)).astype(np.int32),
        np.array(word),
    )


@njit
def _matches(line: NDArray[np.uint8], at: Int, phrases: Phrases, number: Int) -> bool | np.bool_:
    """Whether phrase `number` stands at `at` in the line."""
    phrase = phrases.data[phrases.edges[number] : phrases.edges[number + 1]]
    end = at + len(phrase)
    if end > len(line):
        return False
    for place in range(len(phrase)):
        byte = line[at + place]
        if (byte | _CASE if _A <= byte <= _Z else byte) != phrase[place]:
            return False
    if phrases.kinds[number] != BAD:
        return True
    opens = at == 0 or not phrases.word_bytes[line[at - 1]]
    return opens and (end == len(line) or not phrases.word_bytes[line[end]])


@njit
def phrases_in(data: NDArray[np.uint8], begin: Int, stop: Int, phrases: Phrases) -> Int:
    """Kinds of the phrases in the line [begin, stop)."""
    found = np.int64(0)
    head = np.int64(0)
    line = data[begin:stop]
    for last in range(len(line)):
        head = (head << _BITS | np.int64(line[last]) & _LOW) & _MASK
        if phrases.sieve[head] and last >= HEAD_BYTES - 1:
            for number in range(phrases.buckets[head], phrases.buckets[head + 1]):
                if _matches(line, last - HEAD_BYTES + 1, phrases, number):
                    found |= phrases.kinds[number]
    return found
