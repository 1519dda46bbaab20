"""What members read in a text, against plain Python and by hand."""

import random
import string
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.quality.fluency import frequent_words
from hare_ray.quality.fluency_kernel import (
    BREAK,
    CAPITALS,
    END,
    FIRST_ENDING,
    FIRST_FREQUENT,
    MIXED,
    NUMBER,
    OTHER,
    class_ngrams,
)  # fmt: skip
from hare_ray.quality.members import BUCKETS, CHARACTERS_READ, WINDOW_WORDS, views
from hare_ray.text import words_of

THE = np.sort(words_of(pa.array(["the of"])).hashes)


def seen(*texts, frequent=THE):
    return views(pa.array(texts, pa.large_string()), frequent)


SHAPE = (
    "letters", "digits", "capitals", "spaces", "sentence_ends", "commas", "other_marks", "words_per_sentence",
    "characters_per_word", "long_words", "function_words", "different_words", "repeated_pairs",
)  # fmt: skip


def test_shape_by_hand():
    found = dict(zip(SHAPE, seen("The cat, and 2 of THE cats; sat!").shape[0].tolist(), strict=True))
    size = 32
    expected = {
        "letters": 17 / size,
        "digits": 1 / size,
        "capitals": 4 / size,
        "spaces": 7 / size,
        "sentence_ends": 1 / 8,
        "commas": 2 / 8,
        "other_marks": 0,
        "words_per_sentence": 8 / 60,
        "characters_per_word": (3 + 3 + 3 + 1 + 2 + 3 + 4 + 3) / 8 / 10,
        "long_words": 0,
        "function_words": 4 / 8,
        "different_words": 7 / 8,
        "repeated_pairs": 0,
    }
    for name in SHAPE:
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name


WORDS = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=2 * WINDOW_WORDS)


@settings(max_examples=40)
@given(st.lists(WORDS, min_size=1, max_size=4))
def test_repetition_is_counted_at_the_start(documents_words):
    found = seen(*(" ".join(words) for words in documents_words)).shape
    for row, words in enumerate(documents_words):
        start = words[:WINDOW_WORDS]
        pairs = list(pairwise(words))[:WINDOW_WORDS]
        assert found[row, SHAPE.index("different_words")] == pytest.approx(len(set(start)) / len(start) if start else 1)
        repeated = 1 - len(set(pairs)) / len(pairs) if pairs else 0
        assert found[row, SHAPE.index("repeated_pairs")] == pytest.approx(repeated, abs=1e-6)


def classes(text):
    found = seen(text).tokens
    assert found.offsets.tolist() == [0, len(found.values)]
    return found.values.tolist()


def ending(letter, capital=False):
    return FIRST_ENDING + 2 * (ord(letter) - ord("a")) + capital


def test_classes_by_hand():
    the = FIRST_FREQUENT + int(np.searchsorted(THE, words_of(pa.array(["the"])).hashes[0]))
    assert classes("The cat, a Dog. 42 B2B NATO caf\u00e9") == [
        END, the, ending("t"), BREAK, ending("a"), ending("g", capital=True), END, NUMBER, MIXED, CAPITALS, OTHER,
    ]  # fmt: skip
    assert classes("run\nover\t\r\nthe") == [END, ending("n"), ending("r"), the]
    assert classes("") == [END]


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), max_size=5), st.integers(1, 3))
def test_class_ngrams_are_those_of_plain_python(documents, n):
    values = np.array([one for document in documents for one in document], np.int16)
    offsets = np.cumsum([0, *map(len, documents)])
    edges, hashes = class_ngrams(values, offsets, n)
    expected = [tuple(document[at : at + n]) for document in documents for at in range(len(document) - n + 1)]
    assert np.diff(edges).tolist() == [max(len(document) - n + 1, 0) for document in documents]
    assert len(hashes) == len(expected)
    assert len(set(zip(expected, hashes.tolist(), strict=True))) == len(set(expected)) == len(set(hashes.tolist()))


def test_bags_are_shares():
    found = seen("a b a b c", "", "one").ngrams
    matrix = found.matrix().toarray()
    words = matrix[:, :BUCKETS]
    assert sorted(words[0][words[0] > 0]) == pytest.approx([0.2, 0.4, 0.4])
    for kind in range(found.kinds):
        sums = matrix[:, kind * BUCKETS : (kind + 1) * BUCKETS].sum(axis=1)
        assert sums[0] == pytest.approx(1, abs=1e-6)
        assert sums[1] == 0
    weighted = np.random.default_rng(0).normal(size=found.width).astype(np.float32)
    np.testing.assert_allclose(found.scores(weighted), matrix @ weighted, atol=1e-5)


def test_words_are_counted_by_logarithm():
    found = seen("the, sea. the. The ship sea", "", "one").words
    assert found.kinds == 3
    matrix = found.matrix().toarray()
    single = matrix[0, :BUCKETS]
    counts = 1 + np.log([3, 2, 1])
    expected = sorted(counts / np.linalg.norm(counts))
    assert sorted(single[single > 0].tolist()) == pytest.approx(expected, rel=1e-5)
    for kind in range(found.kinds):
        lengths = np.linalg.norm(matrix[:, kind * BUCKETS : (kind + 1) * BUCKETS], axis=1)
        assert lengths[0] == pytest.approx(1, abs=1e-6)
        assert lengths[1] == 0 or kind


def test_every_mark_is_a_word_of_its_own():
    def once(text):
        return np.flatnonzero(seen(text).ngrams.matrix().toarray()[0, :BUCKETS]).tolist()

    words, comma, bracket = once("one two"), once(","), once("(")
    assert len(words) == 2 and len(comma) == len(bracket) == 1 and comma != bracket
    assert once("(one,\ttwo,\n") == sorted(words + comma + bracket)
    pair = slice(BUCKETS, 2 * BUCKETS)
    pairs = [np.flatnonzero(seen(text).ngrams.matrix().toarray()[0, pair]).tolist() for text in ("one, two", ", two,")]
    assert [len(some) for some in pairs] == [2, 2] and len(set(pairs[0]) & set(pairs[1])) == 1


@settings(max_examples=40)
@given(st.lists(st.text(string.printable + "\u00e9\u4e2d", max_size=60), max_size=5))
def test_a_text_looks_the_same_among_others(texts):
    together = seen(*texts)
    weighted = np.random.default_rng(0).normal(size=together.ngrams.width).astype(np.float32)
    scores = together.ngrams.scores(weighted)
    assert np.isfinite(together.shape).all()
    for row, text in enumerate(texts):
        alone = seen(text)
        np.testing.assert_allclose(together.shape[row], alone.shape[0], atol=1e-6)
        assert scores[row] == pytest.approx(alone.ngrams.scores(weighted)[0], abs=1e-9)


def test_chunks_and_what_lies_behind_the_first_page_change_nothing():
    texts = ["The first text. It is short.", None, "word " * CHARACTERS_READ, ""]
    whole = seen(*texts)
    cut = views(pa.chunked_array([texts[:1], texts[1:2], texts[2:]], pa.large_string()), THE)
    assert whole.tokens.values.tolist() == cut.tokens.values.tolist()
    assert whole.tokens.offsets.tolist() == cut.tokens.offsets.tolist()
    np.testing.assert_array_equal(whole.shape, cut.shape)
    assert (whole.ngrams.matrix() != cut.ngrams.matrix()).nnz == 0
    assert (whole.words.matrix() != cut.words.matrix()).nnz == 0
    assert whole.lengths[2] == CHARACTERS_READ // len("word ")


def test_frequent_words_are_those_of_most_texts():
    draw = random.Random(0)
    rare = [" ".join("".join(draw.choices(string.ascii_lowercase, k=8)) for _ in range(20)) for _ in range(40)]
    found = frequent_words(pa.array([f"the {text} of" for text in rare], pa.large_string()))
    assert set(THE.tolist()) <= set(found.tolist())
    assert (np.diff(found.astype(object)) > 0).all()
