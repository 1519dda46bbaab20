"""What the kernel of the rules looks for, made once per worker from the rules' fields."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.rules_chars import flag_table
from hare_ray.corpus.rules_counts import Wanted
from hare_ray.corpus.rules_phrases import Phrases, phrases_of
from hare_ray.text.hashing import Int

SIEVE_MASK = np.uint64(0xFFF)
"""Last bits of a hash, by which stop words are found."""

MAX_STOP_WORDS = 64
"""Those seen are the bits of one integer."""


class Marks(NamedTuple):
    """In the form that compiled code takes."""

    flags: NDArray[np.uint16]
    """Per code point."""
    stop_words: NDArray[np.uint64]
    """Their hashes, by their last bits."""
    buckets: NDArray[np.int32]
    """By last bits: number of the first stop word."""
    phrases: Phrases
    families: Int
    """Families of rules that are wanted, as bits."""
    short_chars: Int
    max_word_chars: Int
    min_line_words: Int
    bad: bool
    """Whether there are bad phrases."""
    punctuated: bool
    """Whether punctuation marks are words, as tokenizers have it: then they tell where sentences end."""


def marks_of(wanted: Wanted, stop_words: NDArray[np.uint64], punctuated: bool) -> Marks:
    """The marks, with the hashes of the stop words in the way the words are hashed."""
    hashes = np.unique(stop_words)
    if len(hashes) > MAX_STOP_WORDS:
        raise ValueError(f"given {len(hashes)} stop words, expected at most {MAX_STOP_WORDS}; leave out the rarer")
    hashes = hashes[np.argsort(hashes & SIEVE_MASK)]
    buckets = np.searchsorted(hashes & SIEVE_MASK, np.arange(int(SIEVE_MASK) + 2, dtype=np.uint64)).astype(np.int32)
    return Marks(
        flag_table(), hashes, buckets, phrases_of(wanted.policy_phrases, wanted.bad_phrases), wanted.families,
        wanted.short_line_chars, wanted.max_word_chars, wanted.min_words_per_line, bool(wanted.bad_phrases), punctuated,
    )  # fmt: skip
