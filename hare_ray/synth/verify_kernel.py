"""What `verify` compares with its limits, measured over a table of texts at once.

Word and n-gram hashes come from `hare_ray.text`; the n-grams of a document are sorted on their own, so that runs of
equal ones give distinct and repeated counts, and a binary search tells which of them the seed holds. Phrases are
looked for as n-grams of their own length, behind a table by 12 bits of the hash that rules out nearly all words.
Tokens are counted over UTF-8 bytes with a table of all code points; a regular expression with Unicode classes took
more time than all the rest.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.priors.prompts import Refusals
from hare_ray.synth.sentences import ends_sentence, tails
from hare_ray.text import Words, ngram_hashes, text_buffers, words_of
from hare_ray.text.words import Text

COPY_N = 5
"""Words of the n-grams that tell a copy from a shared topic; HARE's leakage experiment (App. B) uses 5 as well."""

REPEAT_N = 4
"""Words of the n-grams whose repetition counts: set phrases of English have three."""

SIEVE_MASK = np.uint64(0xFFF)

OPENING_WORDS = 12
"""From the beginning, in which a set phrase opens a text: a title may stand before it."""

CLOSING_WORDS = 30
"""From the end, in which a set phrase closes a text: one sentence."""

SPACES = "\t\n\f\r "
"""Of ASCII; beyond it what Unicode calls a separator."""

SPACE, LETTER = 1, 2

Kind = Literal["anywhere", "opening", "boilerplate"]


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
    boilerplate: NDArray[np.int64]
    """Set phrases."""
    framing: NDArray[np.object_]
    """The set phrase that opens or closes the text, empty where there is none."""
    set_phrase: NDArray[np.object_]
    """One of them, empty where there is none."""


class Found(NamedTuple):
    """What phrases a table of texts holds, one value per document each; phrases are empty where there is none."""

    refusal: NDArray[np.object_]
    boilerplate: NDArray[np.int64]
    framing: NDArray[np.object_]
    set_phrase: NDArray[np.object_]


@dataclass(frozen=True)
class Phrases:
    """Phrases by the hash of their words, the same for all of one length."""

    lengths: tuple[int, ...]
    keys: dict[int, dict[int, tuple[str, Kind]]]
    """By length and hash."""
    sieves: dict[int, NDArray[np.bool_]]

    @classmethod
    def of(cls, refusals: Refusals) -> Phrases:
        """Hash them; of equal ones, that which refuses is taken, and of these that which counts anywhere."""
        lists: tuple[tuple[tuple[str, ...], Kind], ...] = (
            (refusals.boilerplate, "boilerplate"),
            (refusals.openings, "opening"),
            (refusals.anywhere, "anywhere"),
        )
        listed = [(text, kind) for texts, kind in lists for text in texts]
        words = words_of(pa.array([text for text, _ in listed], pa.large_string()))
        empty = [text for (text, _), length in zip(listed, words.lengths, strict=True) if not length]
        if empty:
            raise ValueError(f"given phrases {empty}, expected words in each")
        keys: dict[int, dict[int, tuple[str, Kind]]] = {}
        for length in np.unique(words.lengths).tolist():
            rows = np.flatnonzero(words.lengths == length)
            offsets, hashes = ngram_hashes(words, length)
            keys[length] = {int(hashes[offsets[row]]): listed[row] for row in rows}
        sieves = {length: np.zeros(int(SIEVE_MASK) + 1, bool) for length in keys}
        for length, own in keys.items():
            sieves[length][np.array(list(own), np.uint64) & SIEVE_MASK] = True
        return cls(tuple(keys), keys, sieves)

    def _hits(self, words: Words) -> Iterator[tuple[int, int, int, str, Kind]]:
        """Document, first word and length of every phrase found, with it and its kind; longer ones come later."""
        for length in self.lengths:
            offsets, hashes = ngram_hashes(words, length)
            own = self.keys[length]
            hits = np.flatnonzero(self.sieves[length][hashes & SIEVE_MASK])
            hits = hits[np.isin(hashes[hits], np.array(list(own), np.uint64))]
            documents = np.searchsorted(offsets, hits, side="right") - 1
            for place, document in zip(hits[::-1].tolist(), documents[::-1].tolist(), strict=True):
                yield document, place - int(offsets[document]), length, *own[int(hashes[place])]

    def found(self, words: Words) -> Found:
        """Of several phrases of one kind the longest is named, the first of those; two that overlap are one."""
        refusal, framing, set_phrase = (np.full(len(words), "", object) for _ in range(3))
        taken: dict[int, list[tuple[int, int]]] = {}
        for document, first, length, phrase, kind in self._hits(words):
            if kind == "boilerplate":
                taken.setdefault(document, []).append((first, first + length))
                set_phrase[document] = phrase
                if first < OPENING_WORDS or first + length > words.lengths[document] - CLOSING_WORDS:
                    framing[document] = phrase
            elif kind == "anywhere" or first == 0:
                refusal[document] = phrase
        count = np.zeros(len(words), np.int64)
        for document, spans in taken.items():
            end = 0
            for start, stop in sorted(spans):
                count[document] += start >= end
                end = max(end, stop)
        return Found(refusal, count, framing, set_phrase)


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


@njit
def _tokens(
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    kinds: NDArray[np.uint8],
    out: NDArray[np.int64],
) -> None:
    """Per document: tokens, which are what stands between white space, and those of them without a letter."""
    for document in range(len(begins)):
        at, end = begins[document], ends[document]
        inside, letter = False, False
        while at < end:
            first = np.int64(data[at])
            size = 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)
            code = first if size == 1 else first & (0x7F >> size)
            for more in range(at + 1, min(at + size, end)):
                code = code << 6 | (data[more] & 0x3F)
            at += size
            kind = kinds[code]
            if kind == SPACE:
                out[document, 0] += inside
                out[document, 1] += inside and not letter
                inside, letter = False, False
            else:
                inside = True
                letter |= kind == LETTER
        out[document, 0] += inside
        out[document, 1] += inside and not letter


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """SPACE, LETTER or 0 for every code point that UTF-8 can spell, valid or not."""
    kinds = np.zeros(1 << 21, np.uint8)
    first = np.array([unicodedata.category(chr(code))[0] for code in range(0x110000)])
    kinds[: len(first)][first == "L"] = LETTER
    kinds[: len(first)][first == "Z"] = SPACE
    kinds[[ord(space) for space in SPACES]] = SPACE
    return kinds


def tokens(text: Text) -> NDArray[np.int64]:
    """Per document the tokens and those without a letter."""
    found = [np.zeros((0, 2), np.int64)]
    for data, begins, ends in text_buffers(text):
        found.append(np.zeros((len(begins), 2), np.int64))
        _tokens(data, begins, ends, _kinds(), found[-1])
    return np.concatenate(found)


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
    counted, letterless = tokens(text).T
    some = np.maximum(words.lengths, 1)
    return Measures(
        words=words.lengths,
        seed_overlap=shared / np.maximum(np.diff(long_grams[0]), 1),
        repetition=(gram_count - distinct_grams) / np.maximum(gram_count, 1),
        word_share=most_frequent / some,
        variety=distinct_words / some,
        letterless_share=letterless / np.maximum(counted, 1),
        ends=ends_sentence(text),
        tail=tails(text),
        **phrases.found(words)._asdict(),
    )
