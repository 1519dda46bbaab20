"""The corpora of the deduplication benchmarks hold what they claim, and their truth is the truth."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench import dedup_truth as truth
from tests.bench.dedup_edits import EDITS, Document, mixed, planted, write
from tests.bench.scale_stages import CHANGES, COPY_EVERY, changes_of, origins, similarities, texts

WORDS = [first + second + "ing" for first in "bcdfghjklmnpqrstvwxz" for second in "aeiouybcdfghklmnprst"]


def document(seed, words=200):
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) + chance.choice(["", "", ",", "."]) for _ in range(words))


def folded(text):
    return text.lower().replace(",", "").replace(".", "").split()


def jaccard(first, second):
    one, two = (
        {tuple(words[i : i + 5]) for i in range(len(words) - 4)} or {tuple(words)}
        for words in (folded(first), folded(second))
    )
    return len(one & two) / len(one | two)


@pytest.mark.parametrize("kind", ["exact", "title case", "no punctuation", "re-wrapped"])
def test_edits_of_form_leave_the_words(kind):
    text = document(1)
    edited = EDITS[kind](text, random.Random(1), WORDS)
    assert folded(edited) == folded(text)
    assert (edited == text) == (kind == "exact")


def test_punctuation_goes_around_words_and_stays_inside():
    assert EDITS["no punctuation"]('He said: "well-known (3.5)".', random.Random(1), WORDS) == "He said well-known 3.5"


@pytest.mark.parametrize(("kind", "most"), [("1 % replaced", 2), ("3 % replaced", 6), ("5 % replaced", 10)])
def test_a_share_of_the_words_is_replaced(kind, most):
    text = document(1)
    edited = EDITS[kind](text, random.Random(1), ["other"]).split()
    assert len(edited) == 200
    assert edited.count("other") == most


def test_pairs_lead_to_originals_and_their_copies(tmp_path):
    documents = [Document(document(seed), "made") for seed in range(40)]
    copies = planted(documents, pairs=2)
    assert len(copies) == 2 * len(EDITS)
    assert len({place for _, place, _ in copies}) == len(copies)
    articles = [Document("first", "a"), Document("second", "a"), Document("third", "a")]
    origins_ = [(place, kind) for _, place, kind in copies]
    made = mixed([*documents, *(copy for copy, _, _ in copies), *articles], len(documents), origins_, [(0, 2)])
    for pair in made.planted:
        # 5 % of 200 words are in at most 50 of 196 shingles.
        assert jaccard(made.documents[pair.original].text, made.documents[pair.copy].text) > 0.55
        assert made.documents[pair.copy].source == "planted"
    (article,) = made.articles
    assert [made.documents[place].text for place in (article.original, article.copy)] == ["first", "third"]
    write(made.documents, tmp_path / "in", 3)
    assert sum(len(file.read_text().splitlines()) for file in (tmp_path / "in").iterdir()) == len(made.documents)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=14), min_size=2, max_size=8))
def test_counted_similarities_are_those_of_sets(lists):
    documents = [" ".join(words) for words in lists]
    shingles = truth.shingles_of(documents)
    index = truth.index_of(shingles)
    number = range(len(documents))
    exact = np.array([[jaccard(documents[a], documents[b]) for b in number] for a in number])
    counted = np.array([[truth.jaccard(shingles, a, b) for b in number] for a in number])
    assert np.allclose(counted, exact)
    allowed = np.arange(len(documents)) % 2 == 0
    others = np.where(allowed[None, :] & ~np.eye(len(documents), dtype=bool), exact, 0.0)
    assert np.allclose(truth.best(index, np.arange(len(documents)), allowed), others.max(axis=1))
    near = {(a, b) for a in number for b in number if a < b and exact[a, b] >= 0.5}
    assert {tuple(pair) for pair in truth.close(index, 0.5).tolist()} == near


def test_numbered_documents_do_not_depend_on_the_cut():
    whole = texts(np.arange(100)).to_pylist()
    assert whole == texts(np.arange(0, 37)).to_pylist() + texts(np.arange(37, 100)).to_pylist()
    assert len(set(whole)) > 95
    assert all(100 <= len(text.split()) <= 300 for text in whole)


def test_one_in_ten_numbered_documents_is_a_copy_of_an_earlier_original():
    numbers = np.arange(20_000)
    origin = origins(numbers)
    copies = numbers[origin != numbers]
    assert len(copies) == len(numbers) // COPY_EVERY - 1
    assert (origin[copies] < copies).all()
    assert (origins(origin[copies]) == origin[copies]).all()


def test_copies_differ_in_as_many_words_as_they_say():
    numbers = np.arange(4000)
    origin = origins(numbers)
    copies = numbers[origin != numbers]
    seen = set()
    for copy, original, told in zip(copies, origin[copies], similarities(copies), strict=True):
        one, two = texts(np.array([copy, original])).to_pylist()
        differ = sum(a != b for a, b in zip(one.split(), two.split(), strict=True))
        seen.add(int(changes_of(copy)))
        assert differ <= changes_of(copy)
        assert jaccard(one, two) >= told - 1e-9
    assert seen == set(CHANGES)
