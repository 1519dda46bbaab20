"""Words that several stages share, characters, and eight bytes at a time."""

import gc
import weakref

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from hare_ray.text import characters_of, table_words, words_of
from hare_ray.text.eight import alphanumerics, lower, trailing_zeros


def table(*texts):
    return pa.table({"text": pa.array(texts, pa.large_string())})


def characters(text):
    return characters_of(pa.array([text], pa.large_string())).hashes.tolist()


def test_words_without_places_are_the_same_words():
    texts = ["One, two; three.", None, "", "caf\u00e9 \u4e2d\u6587 internationalisation", "x" * 100]
    whole, shared = words_of(pa.array(texts, pa.large_string())), table_words(table(*texts))
    assert (whole.hashes == shared.hashes).all() and (whole.offsets == shared.offsets).all()
    assert len(shared.starts) == len(shared.ends) == 0 < len(whole.starts)


def test_one_table_is_read_once_and_another_one_anew():
    first, second = table("a b c"), table("d e")
    words = table_words(first)
    assert table_words(first) is words
    assert table_words(second).hashes.tolist() == words_of(second.column("text")).hashes.tolist()
    assert table_words(first).hashes.tolist() == words_of(first.column("text")).hashes.tolist()


def test_a_shared_table_can_go():
    docs = table("a b c")
    table_words(docs)
    gone = weakref.ref(docs)
    del docs
    gc.collect()
    assert gone() is None
    again = table("q r s t")
    assert table_words(again).lengths.tolist() == [4]


def test_a_table_is_read_anew_after_another_one_failed_half_way(monkeypatch):
    first, second = table("a b c"), table("x y z", "too long for this test")
    expected = table_words(first).hashes.tolist()
    monkeypatch.setattr("hare_ray.text.words.MAX_DOCUMENT_BYTES", 10)
    chunks = pa.chunked_array([second["text"].chunk(0).slice(0, 1), second["text"].chunk(0).slice(1)])
    with pytest.raises(ValueError, match="given a document of 22 bytes, expected at most 10"):
        table_words(pa.table({"text": chunks}))
    assert table_words(first).hashes.tolist() == expected


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("Hello, wide world", "hello\n wide...WORLD"),
        ("na\u00efve caf\u00e9", "nai\u0308ve cafe"),
        ("\u4e2d\u6587\u5b57", "\u4e2d\n\u6587 \u5b57"),
        ("don't", "dont"),
    ],
)
def test_characters_are_folded_and_parted_by_one_space(text, copy):
    assert characters(text) == characters(copy)


def test_characters_differ_where_words_are_parted_elsewhere():
    assert characters("ab c") != characters("a bc")
    assert len(characters("ab c")) == 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=4))
def test_characters_never_outgrow_their_room(texts):
    whole = characters_of(pa.array(texts, pa.large_string()))
    assert whole.lengths.tolist() == [len(characters(text)) for text in texts]


def test_long_expansions_have_room():
    assert len(characters("\ufdf8" * 50)) == 4 * 50


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=8, max_size=8))
def test_letters_and_digits_are_counted_as_one_by_one(eight):
    value = np.frombuffer(eight, np.uint64)[0]
    expected = next((i for i, byte in enumerate(eight) if not (byte < 128 and chr(byte).isalnum())), 8)
    assert alphanumerics(value) == expected
    assert int(lower(value)).to_bytes(8, "little")[:expected] == eight[:expected].lower()


@pytest.mark.parametrize("value", [0, 1, 8, 1 << 63])
def test_trailing_zeros(value):
    count = njit(lambda number: trailing_zeros(number))
    assert count(np.uint64(value)) == (64 if value == 0 else (value & -value).bit_length() - 1)
