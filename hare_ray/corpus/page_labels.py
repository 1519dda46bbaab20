"""Which blocks of a page belong to its main text, when people have written that text down.

The words of all blocks, in order, are aligned with the words of the gold text: the common subsequence of most
words, where words in a row count half as much again, so that a "share" of the navigation is not taken for one of
the article. Long blocks count besides where their 5-grams are found in the gold text in another order.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit

WORD = re.compile(r"\w+")
ROW_BONUS = 0.6
MAX_CELLS = 120_000_000
"""Of the alignment's table, one byte each; larger pages are left out."""
NGRAM = 5
LONG_BLOCK_WORDS = 8

_SKIP_BLOCK, _SKIP_GOLD, _MATCH, _IN_ROW = 1, 2, 3, 8


def bag(text: str) -> Counter[str]:
    """Words of a text and how often they occur."""
    return Counter(WORD.findall(text.lower()))


def f1(found: Counter[str], gold: Counter[str]) -> float:
    """F1 of words; 1 where both have none."""
    every = found.total() + gold.total()
    return 2 * (found & gold).total() / every if every else 1.0


@njit
def _filled(words: NDArray[np.int32], gold: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The way to the best score of every pair of beginnings."""
    ways = np.zeros((len(words) + 1, len(gold) + 1), np.uint8)
    best = np.zeros(len(gold) + 1, np.float32)
    match = np.full(len(gold) + 1, -np.inf, np.float32)
    for row in range(1, len(words) + 1):
        best_before, match_before = best[0], match[0]
        for place in range(1, len(gold) + 1):
            way, score, matched = _SKIP_BLOCK, best[place], np.float32(-np.inf)
            if best[place - 1] > score:
                way, score = _SKIP_GOLD, best[place - 1]
            if words[row - 1] == gold[place - 1]:
                matched = max(best_before + 1, match_before + np.float32(1 + ROW_BONUS))
                way |= _IN_ROW if match_before + ROW_BONUS >= best_before else 0
                if matched > score:
                    way, score = way & _IN_ROW | _MATCH, matched
            best_before, match_before = best[place], match[place]
            best[place], match[place] = score, matched
            ways[row, place] = way
    return ways


@njit
def aligned(words: NDArray[np.int32], gold: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which words are in the common subsequence."""
    ways = _filled(words, gold)
    hit = np.zeros(len(words), np.bool_)
    row, place, in_row = len(words), len(gold), False
    while row > 0 and place > 0:
        way = ways[row, place]
        if in_row or way & _MATCH == _MATCH:
            hit[row - 1] = True
            in_row = way & _IN_ROW != 0
            row -= 1
            place -= 1
        elif way & _MATCH == _SKIP_BLOCK:
            row -= 1
        else:
            place -= 1
    return hit


def shares(blocks: list[str], gold: str) -> NDArray[np.float64]:
    """Share of every block's words that belong to the gold text."""
    found = [WORD.findall(block.lower()) for block in blocks]
    wanted = WORD.findall(gold.lower())
    numbers: dict[str, int] = {}
    target = np.array([numbers.setdefault(word, len(numbers)) for word in wanted], np.int32)
    flat = np.array([numbers.get(word, -1) for words in found for word in words], np.int32)
    out = np.zeros(len(blocks))
    if not len(flat) or not len(target) or len(flat) * len(target) > MAX_CELLS:
        return out
    hit = aligned(flat, target)
    ngrams = {tuple(wanted[at : at + NGRAM]) for at in range(len(wanted) - NGRAM + 1)}
    first = 0
    for number, words in enumerate(found):
        if words:
            out[number] = hit[first : first + len(words)].mean()
        if len(words) >= LONG_BLOCK_WORDS:
            covered = np.zeros(len(words), bool)
            for at in range(len(words) - NGRAM + 1):
                covered[at : at + NGRAM] |= tuple(words[at : at + NGRAM]) in ngrams
            out[number] = max(out[number], covered.mean())
        first += len(words)
    return out
