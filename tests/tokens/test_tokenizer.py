"""The trained vocabulary: exact round trips through the files as others load them, equal bytes, what it learns from."""

import gzip
import itertools
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from hare_ray.tokens import Tokenizer
from hare_ray.tokens.tokenizer import SPECIALS, Reading, sample, trained

VOCABULARY = 400


class Docs(Table):
    writes = DOCUMENT


@dataclass
class Desk:
    """The interface of a Make's desk, over parts in memory."""

    folder: Path
    parts: list[list[str | None]]

    def rows(self, stage):
        return [len(part) for part in self.parts]

    def read(self, stage, part, columns=None):
        assert tuple(columns) == ("text",)
        return pa.table({"text": pa.array(self.parts[part], pa.large_string())})


DOCS = Docs()


def words(count, seed=0):
    """Text of 200 made-up words by Zipf's law, with numbers in between."""
    rng = np.random.default_rng(seed)
    lexicon = ["".join(rng.choice(list("abcdeilnorst"), rng.integers(2, 9))) for _ in range(200)]
    drawn = np.minimum(rng.zipf(1.3, count), 200) - 1
    return " ".join(lexicon[n] if n else f"{lexicon[n]}, {rng.integers(1990, 2030)}." for n in drawn)


def made(folder, parts, vocabulary=VOCABULARY, max_bytes=10**9):
    folder.mkdir(exist_ok=True)
    stage = Tokenizer(docs=DOCS, vocabulary=vocabulary, max_bytes=max_bytes)
    return stage.make(Desk(folder, parts))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tokenizer")
    made(place, [[words(2000), None], [], [words(2000, 1), ""]])
    return place


@pytest.fixture(scope="module")
def loaded(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_transformers_loads_it_with_the_agreed_specials(loaded):
    ids = (loaded.unk_token_id, loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id)
    assert ids == (0, 1, 2, 3)
    assert len(loaded) == VOCABULARY
    assert loaded.clean_up_tokenization_spaces is False


@settings(max_examples=150, deadline=None)
@given(st.text())
@example("</s><s><pad><unk>")
@example("isn 't it , or \r\n\t is it ?  \u00e9e\u0301 \u200b \U0001f600 \x00 \ufeff")
@example("")
def test_any_text_comes_back_and_none_is_unknown(loaded, text):
    ids = loaded(text)["input_ids"]
    assert ids[0] == 1
    assert not set(ids[1:]) & set(range(len(SPECIALS)))
    assert loaded.decode(ids[1:]) == text
    assert loaded.decode(ids, skip_special_tokens=True) == text
    assert loaded.encode(text, add_special_tokens=False) == ids[1:]


def test_all_bytes_have_a_token_of_their_own(folder):
    from tokenizers import pre_tokenizers

    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert set(pre_tokenizers.ByteLevel.alphabet()) < set(vocabulary)
    assert sorted(vocabulary.values()) == list(range(VOCABULARY))


def test_frequent_words_are_one_token_and_digits_stand_alone(loaded):
    frequent, _ = Counter(word for word in words(2000).split() if word.isalpha()).most_common(1)[0]
    assert len(loaded.tokenize(f" {frequent}")) == 1
    assert [loaded.decode([one]) for one in loaded.encode("2024", add_special_tokens=False)] == list("2024")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
@example(bytes(range(256)))
def test_any_bytes_come_back_as_the_text_they_are(loaded, stored):
    for text in (stored.decode("latin-1"), stored.decode("utf-8", "replace"), stored.decode("utf-16-le", "ignore")):
        assert loaded.decode(loaded.encode(text, add_special_tokens=False)) == text


CODE = ["def f(x):\n    if x == 10:\n        return [x, 2024]\n\n\n\tend = {'a': x}\r\n    # done\n"] * 40


@pytest.mark.parametrize(
    "cuts",
    [
        ["born", " in", " ", "2", "0", "2", "4", ",", " aged", " ", "1", "9"],
        ["\u0663", "\u00bd", "\u2167", "x", "9", "y"],
        ["a", " ", " b", "  ", " c"],
        ["it", "'s", " ", " the", " END", "'S", " end", " "],
        ["f", "(x", "):\n", "       ", " y"],
        ["a", "\n\n \n", "\tb", "\r\n"],
        ["\t\t", "\tx", " ->", " ..."],
    ],
)
def test_texts_are_cut_by_the_rules_that_are_stated(folder, cuts):
    from tokenizers import Tokenizer as Loaded

    text = "".join(cuts)
    got = Loaded.from_file(str(folder / "tokenizer.json")).pre_tokenizer.pre_tokenize_str(text)
    assert [text[start:end] for _, (start, end) in got] == cuts


def test_an_indentation_and_a_line_end_are_one_token_where_they_are_frequent():
    tokenizer = trained(iter([CODE]), 400)
    tokens = [tokenizer.decode([one]) for one in tokenizer.encode(CODE[0], add_special_tokens=False).ids]
    assert "".join(tokens) == CODE[0]
    assert "       " in tokens
    assert "):\n" in tokens
    assert [token for token in tokens if token.strip().isdigit()] == list("102024")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("HARE_DATA"), reason="needs text/flores200_dev and peps under HARE_DATA")
def test_languages_of_the_world_and_code_come_back():
    """Learnt from English alone: sentences in 204 language-scripts, documents with code in them."""
    texts = {}
    for name, every in (("flores200_dev", 100), ("peps", 20), ("enwiki_2014_dev", 200)):
        with gzip.open(Path(os.environ["HARE_DATA"]) / "text" / f"{name}.jsonl.gz", "rt") as file:
            texts[name] = [json.loads(line)["text"] for line in itertools.islice(file, 0, None, every)]
    tokenizer = trained(iter([texts["enwiki_2014_dev"][:200]]), 4096)
    tokenizer.encode_special_tokens = True
    for text in itertools.chain(*texts.values()):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert min(ids) >= len(SPECIALS)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_equal_text_gives_equal_files_in_any_order(tmp_path):
    texts = [words(300, seed) for seed in range(8)]
    made(tmp_path / "one", [texts[:3], texts[3:]])
    made(tmp_path / "two", [texts[5:], [], texts[:5][::-1]])
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_too_little_text_for_the_vocabulary_is_refused_with_what_it_gives(tmp_path):
    with pytest.raises(ValueError, match="a vocabulary of at most") as refused:
        made(tmp_path, [[words(60)]], vocabulary=5000)
    most = int(str(refused.value).rsplit(" ", 1)[1])
    assert made(tmp_path, [[words(60)]], vocabulary=most)["documents"] == 1
    with pytest.raises(ValueError, match="only 260 tokens"):
        made(tmp_path, [[None], []], vocabulary=300)


@pytest.mark.parametrize("numbers", [{"vocabulary": 259, "max_bytes": 1}, {"vocabulary": 260, "max_bytes": 0}])
def test_numbers_that_mean_nothing_are_refused(numbers):
    with pytest.raises(ValueError, match="expected at least"):
        Tokenizer(docs=DOCS, **numbers)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=12)), max_size=12), st.integers(0, 80))
def test_a_sample_is_within_its_bytes_and_as_large_as_can_be(column, most):
    texts, taken = sample(pa.chunked_array([column], pa.large_string()), most)
    there = sum(len((text or "").encode()) for text in column)
    assert taken == sum(len(text.encode()) for text in texts) <= most
    assert taken > min(most, there) - 4  # A character that is cut goes: 4 bytes at most.
    assert all(any(whole and whole.startswith(text) for whole in column) for text in texts)


def test_a_sample_is_spread_over_the_column():
    texts, _ = sample(pa.chunked_array([[f"{n:04d}" for n in range(1000)]], pa.large_string()), 400)
    numbers = np.sort([int(text) for text in texts])
    assert len(numbers) == 100
    assert np.diff(numbers).max() <= 16  # Multiples of the golden ratio leave gaps of at most 1.62 times the mean.


def test_every_part_gives_in_proportion_and_hands_on_what_it_lacks():
    parts = [["ab"] * 10, ["x" * 100] * 10, [], ["y" * 100] * 20]
    reading = Reading(Desk(Path(), parts), DOCS, 1220)  # pyright: ignore[reportArgumentType]
    got = ["".join(texts) for texts in reading.texts()]
    assert [len(text) for text in got] == [20, 400, 800]
    assert (reading.bytes, reading.documents) == (1220, 10 + 4 + 8)
