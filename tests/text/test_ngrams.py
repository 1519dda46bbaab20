import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.text import document_hashes, ngram_hashes, words_of

DOCUMENTS = st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=6)


def words(documents):
    return words_of(pa.array([" ".join(document) for document in documents], pa.large_string()))


@settings(max_examples=80, deadline=None)
@given(DOCUMENTS, st.integers(1, 5))
def test_ngram_hashes_are_equal_exactly_where_ngrams_are(documents, n):
    offsets, hashes = ngram_hashes(words(documents), n)
    grams = [[tuple(d[i : i + n]) for i in range(len(d) - n + 1)] for d in documents]
    assert np.diff(offsets).tolist() == [len(g) for g in grams]
    flat = [gram for document in grams for gram in document]
    assert len(set(zip(flat, hashes.tolist(), strict=True))) == len(set(flat)) == len(set(hashes.tolist()))


@settings(max_examples=80, deadline=None)
@given(DOCUMENTS)
def test_document_hashes_are_equal_exactly_where_word_sequences_are(documents):
    halves = document_hashes(words(documents))
    keys = [tuple(d) for d in documents]
    for column in halves.T:
        assert len(set(zip(keys, column.tolist(), strict=True))) == len(set(keys)) == len(set(column.tolist()))


def test_ngrams_of_different_length_and_order_differ():
    document = words([list("abcabdbcadcb" * 40)])
    seen = [set(ngram_hashes(document, n)[1].tolist()) for n in range(1, 9)]
    assert len(set.union(*seen)) == sum(map(len, seen))


def test_many_ngrams_do_not_collide():
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 50, 200_000)
    _, hashes = ngram_hashes(words_of(pa.array([" ".join(map(str, numbers))])), 5)
    windows = np.lib.stride_tricks.sliding_window_view(numbers, 5) @ (50 ** np.arange(5))
    assert len(np.unique(hashes)) == len(np.unique(windows)) > 190_000


def test_an_ngram_of_no_words_is_refused():
    with pytest.raises(ValueError, match="n = 0"):
        ngram_hashes(words([["a"]]), 0)
