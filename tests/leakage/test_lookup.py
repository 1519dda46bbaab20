"""KeySet and the keys of runs of words, against sets and sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.leakage.lookup import BASE, BLOCK_WORDS, find_grams, grams, key_set, load, run_key, run_keys, save

KEYS = st.lists(st.integers(0, 2**64 - 1))


@settings(max_examples=40, deadline=None)
@given(KEYS, KEYS)
def test_key_set_is_a_set(keys, others):
    unique = np.unique(np.array(keys, np.uint64))
    asked = np.array(keys + others, np.uint64)
    at, places = find_grams(asked, 1, key_set(unique))
    assert at.tolist() == [i for i, key in enumerate(asked.tolist()) if key in set(keys)]
    assert unique[places].tolist() == asked[at].tolist()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_grams_are_found_over_the_ends_of_blocks(n):
    words = np.random.default_rng(n).integers(0, 2**64, 3 * BLOCK_WORDS + 7, np.uint64)
    keys = np.empty(len(words) - n + 1, np.uint64)
    grams(words, 0, len(keys), n, keys)
    assert len(set(keys.tolist())) == len(keys)
    chosen = np.array([0, 5, BLOCK_WORDS - 1, BLOCK_WORDS, 2 * BLOCK_WORDS - n + 1, len(keys) - 1])
    at, _ = find_grams(words, n, key_set(np.unique(keys[chosen])))
    assert at.tolist() == sorted(chosen.tolist())
    assert len(find_grams(words[: n - 1], n, key_set(keys[:1]))[0]) == 0


def test_grams_depend_on_order():
    words = np.array([3, 5, 5, 3], np.uint64)
    out = np.empty(3, np.uint64)
    grams(words, 0, 3, 2, out)
    assert len(set(out.tolist())) == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=9), max_size=6), st.integers(1, 5))
def test_run_keys_are_polynomials_and_stay_within_documents(documents, n):
    words = np.array([word for document in documents for word in document], np.uint64)
    offsets = np.cumsum([0, *map(len, documents)])
    keys, owners = run_keys(words, offsets, n)
    expected = [
        (sum(word * int(BASE) ** (n - 1 - i) for i, word in enumerate(document[at : at + n])) % 2**64, number)
        for number, document in enumerate(documents)
        for at in range(len(document) - n + 1)
    ]
    assert list(zip(keys.tolist(), owners.tolist(), strict=True)) == expected
    if expected:
        first = int(offsets[owners[0]])
        assert run_key(words, first, n) == keys[0]


def test_a_mapped_set_answers_like_the_one_that_was_saved(tmp_path):
    words = np.random.default_rng(0).integers(0, 2**64, 5000, np.uint64)
    kept = key_set(np.unique(words[::7]))
    save(kept, tmp_path, "some")
    for one, two in zip(find_grams(words, 1, kept), find_grams(words, 1, load(tmp_path, "some")), strict=True):
        assert one.tolist() == two.tolist()
