"""Words that name topics: of every topic those that stand in many of its documents and in few others'.

    topic_words(titles, texts, topic, wanted) -> topic -> its words, best first

Class-based TF-IDF: all documents of a topic count as one.

    score(term, topic) = share * log(1 + topics / (COMMON + sum of the term's shares over topics))
    share              = (documents with the term + documents with it in the title) / (2 * documents of the topic)

Counted is in how many documents a term stands, not how often: one book must not name its topic after its hero. A
title says what a document is about, so a term in it counts once more. Singular and plural are one term, shown as most
documents of the topic write it. Two neighbouring words ("world cup") are a term as well; since a pair is never more
frequent than its words, it is preferred to them from `PAIR_WORTH` of their score on. Function words, markup, and what
any page says of itself are no terms; words that say little alone (given names, "new") stand only in pairs
(`hare_ray.cluster.idle`). Of equal scores the first in the alphabet wins.

Texts are split by Arrow and counted as numbers; only the words that are shown become strings again. Memory is about 30
times the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.cluster.idle import FUNCTION_WORDS, MARKUP, WEAK_WORDS

CHARACTERS_READ = 2_000
"""Of a document's text: more says nothing new about its topic."""

TITLE_CHARACTERS = 200
"""Of a document's title: some pages put a whole text there."""

MIN_LETTERS = 3
"""Of a word that names a topic by itself; in a pair two are enough."""

MAX_LETTERS = 30
"""Longer runs of letters are no words of a language."""

MIN_DOCUMENTS = 2
"""A term of one document is not a topic's term, where more documents than that were read."""

PAIR_WORTH = 0.7
"""Share of the better word's score from which a pair of words says more than its words."""

COMMON = 0.3
"""Added to a term's shares over all topics: without it terms of two documents outdo those that many share."""

CANDIDATES = 8
"""Terms looked at for each one shown: some are left out since a pair has their words."""

NO_WORDS = r"https?://\S+|www\.\S+|\S+@\S+|<[^<>]{1,200}>|&#?[a-z0-9]{2,8};"
"""Addresses, tags and entities."""

ENDINGS = r"['\x{2019}](s|t|re|ve|ll|d|m)\b|['\x{2019}-]"
"""The s of possessives, the t of negations; and what parts words that stand together."""

BREAKS = r"[^\p{L}\p{M}\s]+|\n\s*\n"
"""What no pair of words reaches over: punctuation, digits, an empty line."""

BREAK = "|"

IDLE = (*FUNCTION_WORDS, *MARKUP)

FOLDS = (("([^sui])s$", r"\1"), ("(s|x|z|ch|sh)e$", r"\1"), ("(ie|y)$", "i"))
"""English plural to singular, in this order: cars, houses and boxes, cities and movies. Keys only, never shown."""


def topic_words(
    titles: pa.ChunkedArray, texts: pa.ChunkedArray, topic: NDArray[np.int32], wanted: int
) -> dict[int, list[str]]:
    """The `wanted` best words of the topics that these documents belong to."""
    title, body = (
        pc.utf8_slice_codeunits(pc.fill_null(column.cast(pa.large_string()), ""), 0, most)
        for column, most in ((titles, TITLE_CHARACTERS), (texts, CHARACTERS_READ))
    )
    whole = pc.binary_join_element_wise(title, body, pa.scalar("\n\n", pa.large_string()))
    words = _Words.of(pa.chunked_array([*title.chunks, *whole.chunks], pa.large_string()))
    names, at = np.unique(topic, return_inverse=True)
    terms = pa.concat_tables(
        [_best(words, at, found, wanted * CANDIDATES) for found in (words.singles(), words.pairs())]
    )
    order = np.lexsort((pc.rank(terms["key"]).to_numpy(), -terms["score"].to_numpy(), terms["topic"].to_numpy()))
    chosen: dict[int, list[str]] = {}
    taken: dict[int, set[str]] = {}
    for row in terms.take(pa.array(order)).to_pylist():
        name = int(names[row["topic"]])
        mine, parts = taken.setdefault(name, set()), set(row["key"].split())
        if len(chosen.setdefault(name, [])) < wanted and not mine & parts:
            chosen[name].append(row["shown"])
            mine |= parts
    return chosen


@dataclass(frozen=True)
class _Words:
    """Words of a column of texts, in order, as numbers of `known`."""

    document: NDArray[np.int64]
    code: NDArray[np.int64]
    known: pa.Array
    """The words there are, in order of the alphabet, so that numbers compare as words do."""
    key: NDArray[np.int64]
    """Number of the folded word, by number of the word."""
    keys: pa.Array
    """The folded words, in order too."""

    @classmethod
    def of(cls, texts: pa.ChunkedArray) -> _Words:
        """Split and folded."""
        plain = pc.replace_substring_regex(pc.utf8_lower(texts), NO_WORDS, f" {BREAK} ")
        plain = pc.replace_substring_regex(plain, ENDINGS, " ")
        plain = pc.replace_substring_regex(plain, BREAKS, f" {BREAK} ")
        lists = pc.utf8_split_whitespace(plain).combine_chunks()
        code, known = _numbered(pc.list_flatten(lists))
        folded, longer = known, pc.greater(pc.utf8_length(known), MIN_LETTERS)
        for ending, instead in FOLDS:
            folded = pc.if_else(longer, pc.replace_substring_regex(folded, ending, instead), folded)
        return cls(pc.list_parent_indices(lists).to_numpy(), code, known, *_numbered(folded))

    def singles(self) -> _Found:
        """Words that can stand alone."""
        number = np.flatnonzero(self._may(MIN_LETTERS, (*IDLE, *WEAK_WORDS))[self.code])
        return _Found(self.document[number], self.code[number], np.zeros(len(number), np.int64), 1)

    def pairs(self) -> _Found:
        """Two neighbouring words, neither of them a function word, and at least one that can stand alone."""
        may = self._may(MIN_LETTERS - 1, IDLE)[self.code]
        alone = self._may(MIN_LETTERS, (*IDLE, *WEAK_WORDS))[self.code]
        beside = may[:-1] & may[1:] & (alone[:-1] | alone[1:]) & (self.document[:-1] == self.document[1:])
        beside &= self.key[self.code[:-1]] != self.key[self.code[1:]]
        first = np.flatnonzero(beside)
        return _Found(self.document[first], self.code[first], self.code[first + 1], 2)

    def _may(self, letters: int, without: tuple[str, ...]) -> NDArray[np.bool_]:
        length = pc.utf8_length(self.known)
        fits = pc.and_(pc.greater_equal(length, letters), pc.less_equal(length, MAX_LETTERS))
        idle = pc.is_in(self.known, pa.array(without, pa.large_string()))
        return pc.and_(fits, pc.invert(idle)).to_numpy(zero_copy_only=False)


def _numbered(words: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Every word as its place in the alphabet of those there are, and these."""
    coded = words.dictionary_encode()
    order = pc.sort_indices(coded.dictionary)
    place = np.empty(len(order), np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    return place[coded.indices.to_numpy()], coded.dictionary.take(order)


@dataclass(frozen=True)
class _Found:
    """Where terms of one word or of two stand: the document, and the numbers of the words."""

    document: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    length: int


@dataclass(frozen=True)
class _Counts:
    """Documents by topic and term, ascending."""

    topic: NDArray[np.int64]
    term: NDArray[np.int64]
    documents: NDArray[np.int64]
    terms: int
    """There are; larger than any number in `term`."""

    @classmethod
    def of(cls, document: NDArray[np.int64], term: NDArray[np.int64], topic: NDArray[np.int64], terms: int) -> _Counts:
        """Each document counts once for a term."""
        terms = max(terms, 1)
        document, term = np.divmod(np.unique(document * terms + term), terms)
        both, documents = np.unique(topic[document] * terms + term, return_counts=True)
        return cls(*np.divmod(both, terms), documents, terms)

    @cached_property
    def both(self) -> NDArray[np.int64]:
        """Topic and term as one number."""
        return self.topic * self.terms + self.term


def _best(words: _Words, topic: NDArray[np.int64], found: _Found, wanted: int) -> pa.Table:
    """Of every topic the terms of highest score. Documents below `len(topic)` are the titles, then title and text."""
    wide, rows = max(len(words.known), 1), max(len(topic), 1)
    surface, spelt = np.unique(found.first * wide + found.second, return_inverse=True)
    first, second = np.divmod(surface, wide)
    keys, key_of = np.unique(words.key[first] * wide + words.key[second] * (found.length == 2), return_inverse=True)
    title, at = found.document < len(topic), found.document % rows
    inside = _Counts.of(at[~title], key_of[spelt[~title]], topic, len(keys))
    titled = _Counts.of(at[title], key_of[spelt[title]], topic, len(keys))
    read = np.bincount(topic)
    share = (inside.documents + _looked_up(titled.both, titled.documents, inside.both)) / (2 * read[inside.topic])
    everywhere = np.bincount(inside.term, weights=share, minlength=1)[inside.term]
    score = share * np.log1p(len(read) / (COMMON + everywhere)) / (PAIR_WORTH if found.length == 2 else 1)
    enough = np.flatnonzero((inside.documents >= MIN_DOCUMENTS) | (read[inside.topic] <= MIN_DOCUMENTS))
    order = enough[np.lexsort((inside.term[enough], -score[enough], inside.topic[enough]))]
    order = order[ranks(inside.topic[order]) < wanted]
    written = _Counts.of(at[~title], spelt[~title], topic, len(surface))
    shown = _most_written(written, key_of, len(keys), inside.both[order])
    columns = {
        "topic": pa.array(inside.topic[order], pa.int64()),
        "score": pa.array(score[order], pa.float64()),
        "key": _together(words.keys, *np.divmod(keys[inside.term[order]], wide), found.length),
        "shown": _together(words.known, first[shown], second[shown], found.length),
    }
    return pa.table(columns)


def _looked_up(known: NDArray[np.int64], values: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Values of `known`, ascending, for `wanted`; 0 where it is unknown."""
    if not len(known):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, values[place], 0)


def _most_written(
    written: _Counts, key_of: NDArray[np.int64], keys: int, wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of every wanted topic and folded term, as one number, the spelling that most documents have."""
    group = written.topic * max(keys, 1) + key_of[written.term]
    order = np.lexsort((written.term, -written.documents, group))
    known, first = np.unique(group[order], return_index=True)
    return _looked_up(known, written.term[order][first], wanted)


def _together(words: pa.Array, first: NDArray[np.int64], second: NDArray[np.int64], length: int) -> pa.Array:
    left = words.take(pa.array(first))
    if length == 1:
        return left
    return pc.binary_join_element_wise(left, words.take(pa.array(second)), pa.scalar(" ", pa.large_string()))


def ranks(groups: NDArray[np.integer]) -> NDArray[np.int64]:
    """Place of every item among its neighbours of the same group, from 0; equal groups stand together."""
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1])[: len(groups)])
    return np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
