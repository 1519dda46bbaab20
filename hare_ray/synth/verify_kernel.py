"""What `verify` compares with its limits, measured over a table of texts at once.

Word and n-gram hashes come from `hare_ray.text`; the n-grams of a document are sorted on their own, so that runs of
equal ones give distinct and repeated counts, and a binary search tells which of them the seed holds. Phrases are
looked for as n-grams of their own length, behind a table by 12 bits of the hash that rules out nearly all words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.priors.prompts import Refusals
from hare_ray.synth.sentences import ends_sentence, tails
from hare_ray.text import Words, ngram_hashes, words_of
from hare_ray.text.words import Text

COPY_N = 5
"""Words of the n-grams that tell a copy from a shared topic; HARE's leakage experiment (App. B) uses 5 as well."""

REPEAT_N = 4
"""Words of the n-grams whose repetition counts: set phrases of English have three."""

SIEVE_MASK = np.uint64(0xFFF)

TOKEN = r"[^\s\pZ]+"
LETTER_TOKEN = r"[^\s\pZ]*\pL[^\s\pZ]*"


class Measures(NamedTuple):
    """One value per document each."""

    words: NDArray[np.int64]
    seed_overlap: NDArray[np.float64]
    repetition: NDArray[np.float64]
    word_share: NDArray[np.float64]
    variety: NDArray[np.float64]
    letterless_share: NDArray[np.float64]
    ends: NDArray[np.bool_]
    tail: Text
    refusal: NDArray[np.object_]
    """The phrase, empty where there is none."""


@dataclass(frozen=True)
class Phrases:
    """Phrases by the hash of their words, the same for all of one length."""

    lengths: tuple[int, ...]
    keys: dict[int, dict[int, tuple[str, bool]]]
    """By length and hash: the phrase, and whether it counts only at the beginning."""
    sieves: dict[int, NDArray[np.bool_]]

    @classmethod
    def of(cls, refusals: Refusals) -> Phrases:
        """Hash them; of equal ones, that which counts anywhere is taken."""
        listed = [(text, True) for text in refusals.openings] + [(text, False) for text in refusals.anywhere]
        words = words_of(pa.array([text for text, _ in listed], pa.large_string()))
        empty = [text for (text, _), length in zip(listed, words.lengths, strict=True) if not length]
        if empty:
            raise ValueError(f"given phrases {empty}, expected words in each")
        keys: dict[int, dict[int, tuple[str, bool]]] = {}
        for length in np.unique(words.lengths).tolist():
            rows = np.flatnonzero(words.lengths == length)
            offsets, hashes = ngram_hashes(words, length)
            keys[length] = {int(hashes[offsets[row]]): listed[row] for row in rows}
        sieves = {length: np.zeros(int(SIEVE_MASK) + 1, bool) for length in keys}
        for length, own in keys.items():
            sieves[length][np.array(list(own), np.uint64) & SIEVE_MASK] = True
        return cls(tuple(keys), keys, sieves)

    def first(self, words: Words) -> NDArray[np.object_]:
        """Per document the phrase found: the longest, the first of those; empty where there is none."""
        found = np.full(len(words), "", object)
        for length in self.lengths:  # longer ones come later and overwrite
            offsets, hashes = ngram_hashes(words, length)
            own = self.keys[length]
            hits = np.flatnonzero(self.sieves[length][hashes & SIEVE_MASK])
            hits = hits[np.isin(hashes[hits], np.array(list(own), np.uint64))]
            documents = np.searchsorted(offsets, hits, side="right") - 1
            for place, document in zip(hits[::-1].tolist(), documents[::-1].tolist(), strict=True):
                phrase, only_opening = own[int(hashes[place])]
                if not only_opening or place == offsets[document]:
                    found[document] = phrase
        return found


@njit
def _runs(
    offsets: NDArray[np.int64], hashes: NDArray[np.uint64], distinct: NDArray[np.int64], most: NDArray[np.int64]
) -> None:
    """Distinct hashes of every document, and how often the most frequent one occurs."""
    for document in range(len(offsets) - 1):
        own = np.sort(hashes[offsets[document] : offsets[document + 1]])
        run = 0
        for place in range(len(own)):
            run = run + 1 if place and own[place] == own[place - 1] else 1
            distinct[document] += run == 1
            most[document] = max(most[document], run)


@njit
def _shared(
    offsets: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    seed_offsets: NDArray[np.int64],
    seed_hashes: NDArray[np.uint64],
    out: NDArray[np.int64],
) -> None:
    """Hashes of every document that its seed has too."""
    for document in range(len(offsets) - 1):
        seed = np.sort(seed_hashes[seed_offsets[document] : seed_offsets[document + 1]])
        for place in range(offsets[document], offsets[document + 1]):
            at = np.searchsorted(seed, hashes[place])
            out[document] += at < len(seed) and seed[at] == hashes[place]


def _repeats(offsets: NDArray[np.int64], hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distinct, most = np.zeros((2, len(offsets) - 1), np.int64)
    _runs(offsets, hashes, distinct, most)
    return distinct, most


def _count(text: Text, pattern: str) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(pc.count_substring_regex(text, pattern), 0), np.int64)


def measured(text: Text, seed: Text, phrases: Phrases) -> Measures:
    """Everything; shares are 0 where there is nothing to count."""
    words = words_of(text)
    grams = ngram_hashes(words, REPEAT_N)
    long_grams = ngram_hashes(words, COPY_N)
    shared = np.zeros(len(words), np.int64)
    _shared(*long_grams, *ngram_hashes(words_of(seed), COPY_N), shared)
    distinct_words, most_frequent = _repeats(words.offsets, words.hashes)
    distinct_grams, _ = _repeats(*grams)
    gram_count = np.diff(grams[0])
    tokens = _count(text, TOKEN)
    some = np.maximum(words.lengths, 1)
    return Measures(
        words=words.lengths,
        seed_overlap=shared / np.maximum(np.diff(long_grams[0]), 1),
        repetition=(gram_count - distinct_grams) / np.maximum(gram_count, 1),
        word_share=most_frequent / some,
        variety=distinct_words / some,
        letterless_share=(tokens - _count(text, LETTER_TOKEN)) / np.maximum(tokens, 1),
        ends=ends_sentence(text),
        tail=tails(text),
        refusal=phrases.first(words),
    )
