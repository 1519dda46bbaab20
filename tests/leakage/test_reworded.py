"""The alignment of reworded questions: against a plain dynamic program, and how much rewording is found."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.leakage.leaks import Rule
from hare_ray.leakage.reworded import MAX_QUESTION_WORDS, SLACK, lacks, ordered_weight
from hare_ray.leakage.scan import Index
from hare_ray.text import words_of
from tests.leakage.planted import WEB, built, checked, item

SMALL = st.lists(st.integers(0, 5), max_size=12)


def heaviest(window, words, weights):
    """The textbook recursion, with a table of all prefixes."""
    table = np.zeros((len(window) + 1, len(words) + 1))
    for i, one in enumerate(window):
        for j, other in enumerate(words):
            both = table[i, j] + weights[j] if one == other else 0
            table[i + 1, j + 1] = max(table[i, j + 1], table[i + 1, j], both)
    return table[-1, -1]


@settings(max_examples=60, deadline=None)
@given(SMALL, SMALL, st.integers(0, 1000))
def test_ordered_weight_is_the_heaviest_common_subsequence(window, words, seed):
    weights = np.random.default_rng(seed).random(len(words), np.float32)
    arrays = np.array(window, np.uint64), np.array(words, np.uint64)
    got = ordered_weight(*arrays, weights)
    assert got == pytest.approx(heaviest(window, words, weights), abs=1e-5)
    bag = np.unique(arrays[1])
    totals = np.array([weights[arrays[1] == word].sum() for word in bag], np.float32)
    missing = totals[~np.isin(bag, arrays[0])].sum()
    assert lacks(arrays[0], bag, totals, float(missing) + 1e-5) is False
    assert missing == 0 or lacks(arrays[0], bag, totals, float(missing) - 1e-4) is True
    assert totals.sum() - missing >= got - 1e-5


def questions(count, seed=0):
    """Questions of 10 to 40 words, of which a third are frequent ones."""
    draw = random.Random(seed)

    def word():
        return f"the{draw.randrange(20)}" if draw.random() < 0.35 else f"rare{draw.randrange(20000)}"

    return [" ".join(word() for _ in range(draw.randrange(10, 41))) for _ in range(count)]


def reworded(text, share, draw):
    out = []
    for word in text.split():
        if draw.random() >= share:
            out.append(word)
        elif draw.random() < 0.6:
            out += [f"the{draw.randrange(20)}"] * draw.randrange(1, 3)
    return " ".join(out)


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    rows = [item(str(i), text) for i, text in enumerate(questions(300))]
    return built(tmp_path_factory.mktemp("reworded"), rows, anchor_words=4, anchor_weight=1.5, reworded_weight=4.0)[:2]


@pytest.mark.parametrize(("share", "recall"), [(0.1, 0.97), (0.2, 0.75)])
def test_light_rewording_is_found(exam, share, recall):
    draw = random.Random(1)
    noise = questions(300, seed=5)
    texts = [f"{noise[i]} {reworded(text, share, draw)} {noise[-i]}" for i, text in enumerate(questions(300))]
    found = [verdict["leak_item"] for verdict in checked(exam, texts)]
    assert np.mean([name == str(i) for i, name in enumerate(found)]) >= recall


def test_other_text_of_the_same_words_is_not(exam):
    draw = random.Random(2)
    shuffled = [" ".join(draw.sample(text.split(), len(text.split()))) for text in questions(300)]
    found = [verdict["reason"] for verdict in checked(exam, questions(300, seed=7) + shuffled)]
    assert sum(reason is not None for reason in found) <= 2


def test_share_decides(exam):
    words = questions(300)[3].split()
    half = " ".join(words[: len(words) // 2])
    low, high = (Rule(min_hits=99, max_overlap=0.0, reworded_share=share) for share in (0.3, 0.7))
    assert [checked(exam, [half], rule)[0]["reason"] for rule in (low, high)] == ["leaked_reworded", None]
    assert checked(exam, [questions(300)[3]], WEB)[0]["leak_item"] == "3"


def test_of_an_endless_item_a_stretch_is_looked_for_reworded(tmp_path):
    """Comparing all of it with a document would take 4e10 steps, which no test could wait for."""
    draw = random.Random(4)
    words = [f"w{draw.randrange(50_000)}" for _ in range(200_000)]
    made = built(tmp_path, [item("book", " ".join(words))])[:2]
    assert np.diff(np.load(made[1] / "question_starts.npy")).tolist() == [MAX_QUESTION_WORDS]
    spoiled = ["so" if i % 10 == 9 else word for i, word in enumerate(words)]
    begun, later, verbatim = spoiled[:600], spoiled[5000:5600], words[-20:]
    verdicts = checked(made, [" ".join(text) for text in (spoiled, begun, later, verbatim)])
    assert [row["reason"] for row in verdicts] == ["leaked_reworded", "leaked_reworded", None, "leaked_ngram"]


def test_a_text_that_repeats_two_anchors_in_turn_is_not_aligned_at_each(tmp_path):
    index = Index.of(built(tmp_path, [item("long", " ".join(f"w{i}" for i in range(400)))])[1])
    places = np.sort(index.questions.posting_offsets)[[0, -1]]
    turn = " ".join(f"w{place + i}" for place in places for i in range(3))
    words = words_of(pa.array([" ".join([turn] * 500)]))
    hits = index.hits(words)
    looked = len(index.reworded(words, hits, 0.001).documents)
    assert len(hits[0]) >= 1000 and 2 <= looked <= 2 * (1 + len(words.hashes) // (400 // SLACK))
