import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hare_ray.text import document_hashes, words_of
from hare_ray.text.fold import IGNORED, SEPARATOR, SINGLE, WORD, class_of, folded

ENGLISH = "Don't panic: the na\u00efve Caf\u00e9 -- in \u00c5rhus! -- opens at 10.30 (p. 7).\nIt's G\u00f6del's."


def hashes(text: str) -> list[int]:
    return words_of(pa.array([text], pa.large_string())).hashes.tolist()


def reference(text: str) -> list[tuple[str, int, int]]:
    """Folded words with byte places, one character at a time."""
    found, word, start, end, at = [], "", None, 0, 0

    def close():
        nonlocal word, start
        if start is not None:
            found.append((word, start, end))
        word, start = "", None

    for char in text:
        here, at = at, at + len(char.encode())
        kind = class_of(char)
        if kind == WORD:
            word += folded(char)
            start = here if start is None else start
            end = at
        elif kind != IGNORED:
            close()
            if kind == SINGLE:
                found.extend((single, here, at) for single in folded(char))
    close()
    return found


SCRIPTS = (
    "aB z09\n-_.,'\u2019\u00ad\u200b\u0301\u00e9\u00df\u0130\ufb01\uff21\u00bd\u00b2\U0001d400\U00010400"
    "\u4e2d\uf900\u304c\u30ac\uff76\u3099\u0e01\u0e33\u0e38\u1026\u1025\u102e\ud55c\uae00\u1100\u1161"
    "\u0929\u0928\u093c\u094d\u05d0\u05b0\u0627\u064e\u0645\ufdfa\U00020000\U0002f800\U0001f600\U000e0100\x00\u2028"
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.text(st.sampled_from(SCRIPTS) | st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5))
@example(["", "'", "a'", "'a", "\u0301a\u0301"])
def test_words_are_those_of_a_slow_reference(texts):
    words = words_of(pa.array(texts, pa.large_string()))
    hash_of: dict[str, int] = {}
    word_of: dict[int, str] = {}
    assert words.lengths.tolist() == [len(reference(text)) for text in texts]
    expected = [word for text in texts for word in reference(text)]
    for (word, start, end), hashed, *place in zip(
        expected, words.hashes.tolist(), words.starts, words.ends, strict=True
    ):
        assert [start, end] == place
        assert hash_of.setdefault(word, hashed) == hashed
        assert word_of.setdefault(hashed, word) == word


@pytest.mark.parametrize(
    "copy",
    [
        ENGLISH.upper(),
        ENGLISH.replace(" ", "\n  "),
        ENGLISH.replace("'", "\u2019"),
        ENGLISH.replace("'", ""),
        ENGLISH.replace("--", "\u2014").replace("(", "[").replace(")", "]").replace(":", ";"),
        unicodedata.normalize("NFD", ENGLISH),
        "".join(c for c in unicodedata.normalize("NFD", ENGLISH) if not unicodedata.combining(c)),
        "".join(chr(ord(c) + 0xFEE0) if c.isalnum() and c.isascii() else c for c in ENGLISH),
        ENGLISH.replace("panic", "pa\u00adn\u200bic"),
    ],
    ids=[
        "case",
        "wrapping",
        "apostrophe",
        "no_apostrophe",
        "punctuation",
        "nfd",
        "no_accents",
        "full_width",
        "soft_hyphen",
    ],
)
def test_a_reshaped_copy_has_the_same_words(copy):
    assert copy != ENGLISH
    assert hashes(copy) == hashes(ENGLISH)


def test_composed_and_decomposed_forms_have_equal_words_for_every_character():
    text = "\n".join(chr(c) for c in range(0x20000) if not 0xD800 <= c < 0xE000)
    nfc, nfd = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert hashes(nfc) == hashes(nfd)
    assert len(hashes(nfc)) > 60_000


def test_the_table_agrees_with_the_rules_for_every_character():
    singles = [chr(c) for c in range(0x20000) if not 0xD800 <= c < 0xE000]
    counts = words_of(pa.array(singles, pa.large_string())).lengths
    kinds = [class_of(c) for c in singles]
    expected = [{SEPARATOR: 0, IGNORED: 0, WORD: 1}.get(k, len(folded(c))) for k, c in zip(kinds, singles, strict=True)]
    assert counts.tolist() == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("stra\u00dfe", "STRASSE"),
        ("\ufb01n", "fin"),
        ("\u0130stanbul", "istanbul"),
        ("\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "\u03a3\u0399\u03a3\u03a5\u03a6\u039f\u03a3"),
        ("x\u00b2", "x2"),
        ("\U0001d400\U0001d401", "ab"),
        ("\ud55c\uae00", unicodedata.normalize("NFD", "\ud55c\uae00")),
    ],
)
def test_folding_reaches_beyond_ascii(one, other):
    assert hashes(one) == hashes(other) != []


def test_scripts_without_spaces_give_a_word_per_character():
    assert len(hashes("\u4e2d\u6587\u5b57")) == 3
    assert len(hashes("abc\u4e2ddef")) == 3
    assert len(hashes("\ud55c\uad6d\uc5b4 \ubb38\uc7a5")) == 2


def test_places_cut_the_words_out_of_the_text():
    raw = ENGLISH.encode()
    words = words_of(pa.array([ENGLISH]))
    cut = [raw[a:b].decode() for a, b in zip(words.starts, words.ends, strict=True)]
    assert cut[:6] == ["Don't", "panic", "the", "na\u00efve", "Caf\u00e9", "in"]


def test_a_hundred_thousand_words_do_not_collide():
    count = 100_000
    rng = np.random.default_rng(0)
    letters = rng.integers(97, 123, (count, 6), dtype=np.uint8)
    distinct = (
        {bytes(row).decode() for row in letters} | {f"{i:x}" for i in range(count)} | {f"w{i}" for i in range(count)}
    )
    words = words_of(pa.array([" ".join(sorted(distinct))], pa.large_string()))
    assert len(np.unique(words.hashes)) == len(words.hashes) == len(distinct) > 2 * count
    bits = np.unpackbits(words.hashes.view(np.uint8)).reshape(-1, 64).mean(0)
    assert np.abs(bits - 0.5).max() < 0.01


def test_layout_of_the_column_does_not_matter():
    texts = ["one two", None, "", "three", "\u4e2d\u6587 four", "five six seven"] * 50
    plain = words_of(pa.array([t or "" for t in texts], pa.large_string()))
    large = pa.array(["x y z", *texts, "tail"], pa.large_string())
    chunks = pa.chunked_array([large[1:100], large[100:100], large[100:-1]])
    for column in (large[1:-1], chunks, pa.array(texts, pa.string()), pa.chunked_array([pa.array(texts)])):
        words = words_of(column)
        for name in ("offsets", "hashes", "starts", "ends"):
            assert np.array_equal(getattr(words, name), getattr(plain, name)), name


def test_empty_columns_and_all_nulls():
    for column in (
        pa.array([], pa.string()),
        pa.chunked_array([], pa.large_string()),
        pa.array([None, None], pa.large_string()),
    ):
        words = words_of(column)
        assert words.offsets.tolist() == [0] * (len(column) + 1)
        assert len(words.hashes) == 0
        assert document_hashes(words).shape == (len(column), 2)


def test_text_of_one_letter_words_outgrows_the_first_guess():
    assert words_of(pa.array(["a b " * 10_000, "c " * 10_000])).lengths.tolist() == [20_000, 10_000]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=4))
def test_broken_utf8_is_survived(blobs):
    words = words_of(pa.array(blobs, pa.binary()))
    assert (words.starts < words.ends).all()
    assert words.ends.max(initial=0) <= max(map(len, blobs), default=0)


def test_a_column_of_numbers_is_refused():
    with pytest.raises(ValueError, match="int64"):
        words_of(pa.array([1]))
