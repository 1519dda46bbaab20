"""What the lines of a document are: bulleted, kept or removed by C4, complete, and what phrases are in them.

C4 keeps a line if, in this order, none of its tokens is too long, it ends in . ! ? or a quote but not in an ellipsis
(citations apart), it has enough tokens, and it neither names javascript nor has a phrase of a policy notice. A line
that would stay but for "lorem ipsum" or a curly bracket ends the document. Sentences are counted in the lines that
stay: by the marks among the words where there are any (a mark that ends sentences, and then a word that is no
punctuation), else by the tokens that end in such a mark.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.rules_chars import BRACE, BRACKET
from hare_ray.corpus.rules_counts import (
    BAD_PHRASE_LINES,
    BULLET_LINES,
    COMPLETE_CHARS,
    DENSE_CHARS,
    ELLIPSIS_LINES,
    FEW_WORD_LINES,
    FULL_LINES,
    JAVASCRIPT_LINES,
    KEPT_CURLY_BRACKETS,
    KEPT_LINES,
    KEPT_LOREM_IPSUMS,
    LINES,
    LONG_WORD_LINES,
    LOREM_IPSUM_LINES,
    OPEN_LINES,
    POLICY_LINES,
    SCRIPT_LINES,
)
from hare_ray.corpus.rules_phrases import BAD, JAVASCRIPT, LOREM, POLICY
from hare_ray.corpus.rules_scan import LINE_BULLET, LINE_LOWER, LINE_TRAILS, Scan, is_mark, last_bytes
from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

_ELLIPSIS = 0x2E2E2E
_ENDS = tuple(ord(char) for char in ".?!\"'")


class Page(NamedTuple):
    """One document: its bytes and its words."""

    data: NDArray[np.uint8]
    begin: Int
    stop: Int
    hashes: NDArray[np.uint64]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]


@njit
def shape(data: NDArray[np.uint8], scan: Scan, max_word_chars: Int, min_words: Int) -> Int:
    """The number in COUNTS under which C4 books a line that has the wrong shape; KEPT_LINES for the right one."""
    if scan.longest > max_word_chars:
        return LONG_WORD_LINES
    code, _ = last_bytes(data, scan.first, scan.last, scan.seen & BRACKET != 0)
    if code & 0xFF not in _ENDS or code == _ELLIPSIS:
        return OPEN_LINES
    return FEW_WORD_LINES if scan.tokens < min_words else KEPT_LINES


@njit
def content(phrases: Int, seen: Int) -> Int:
    """The same for a line of the right shape, by its phrases and its characters."""
    if phrases & LOREM:
        return KEPT_LOREM_IPSUMS
    if phrases & JAVASCRIPT:
        return JAVASCRIPT_LINES
    if seen & BRACE:
        return KEPT_CURLY_BRACKETS
    return POLICY_LINES if phrases & POLICY else KEPT_LINES


@njit
def sentences(page: Page, scan: Scan, word: Int, flags: NDArray[np.uint16]) -> Int:
    """Sentences of a line whose first word has the number `word`, by the marks among the words."""
    _, last = last_bytes(page.data, scan.first, scan.last, True)
    count = np.int64(0)
    ended = True
    while word < len(page.starts) and page.begin + page.starts[word] < last:
        stops, punct = is_mark(page.data, page.begin + page.starts[word], page.begin + page.ends[word], flags)
        if ended and (not punct or count == 0):
            count += 1
            ended = False
        ended = ended or stops
        word += 1
    return count


@njit
def count_phrases(phrases: Int, row: NDArray[np.int64]) -> None:
    """Count the kinds of phrases in a line for the rules that ask for them anywhere."""
    row[BAD_PHRASE_LINES] += phrases & BAD != 0
    row[LOREM_IPSUM_LINES] += phrases & LOREM != 0
    row[SCRIPT_LINES] += phrases & JAVASCRIPT != 0


@njit
def count_line(scan: Scan, open_chars: Int, row: NDArray[np.int64]) -> Int:
    """Count what its scan says of a line; `open_chars` follow the last end of a sentence before it, and after it."""
    row[LINES] += 1
    row[BULLET_LINES] += scan.found & LINE_BULLET != 0
    row[ELLIPSIS_LINES] += scan.found & LINE_TRAILS != 0
    row[FULL_LINES] += scan.chars > 0
    row[DENSE_CHARS] += scan.chars
    row[COMPLETE_CHARS] += scan.ended + (open_chars if scan.found & LINE_LOWER else 0)
    return scan.chars - scan.ended
