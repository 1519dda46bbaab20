"""The static embedder: its arithmetic against dense algebra, and the whole way with a tiny teacher."""

import json
import pickle
from collections import Counter

import numpy as np
import planted
import pyarrow as pa
import pytest
import teachers
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from hare_ray.cluster.static import StaticModel, chosen_words, distance
from hare_ray.cluster.static_embed import EmbedStatic
from hare_ray.cluster.static_fit import Bags, Reading, Vocabulary, WordVectors, fitted, known_share, ridge_change
from hare_ray.stage import Source
from hare_ray.text import words_of

WORDS = [f"word{n}" for n in range(60)]


class Desk(planted.Desk):
    @property
    def lasting(self):
        return f"{self.folder}-lasting"


def hashes_of(words):
    return words_of(pa.array(words), places=False).hashes


def vocabulary(words, weights=None):
    hashes = hashes_of(words)
    order = np.argsort(hashes)
    found = np.ones(len(words), np.float32) if weights is None else np.asarray(weights, np.float32)
    return Vocabulary.of(hashes[order], found[order]), order


def texts(rows, seed=0, length=12):
    """Documents of words of one of three stretches of WORDS."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[20 * (row % 3) :][:20], length)) for row in range(rows)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=9), max_size=5), st.integers(1, 8))
def test_a_bag_has_each_known_word_of_the_beginning_once(documents, max_words):
    known, _ = vocabulary(list("abcde"), np.arange(1, 6))
    rarity = dict(zip("abcde", range(1, 6), strict=True))
    bag = Bags.of(words_of(pa.array([" ".join(d) for d in documents], pa.string())), known, Reading(max_words, 3.0))
    for document, words in enumerate(documents):
        amounts = Counter()
        for place, word in enumerate(words[:max_words]):
            amounts[word] += 1 / (1 + place / 3)
        damped = {word: 1 + np.log(amount) if amount > 1 else amount for word, amount in amounts.items()}
        weights = {word: amount * rarity[word] for word, amount in damped.items() if word in rarity}
        length = np.sqrt(sum(weight**2 for weight in weights.values()))
        expected = {int(hashes_of([word])[0]): weight / length for word, weight in weights.items()}
        mine = slice(bag.edges[document], bag.edges[document + 1])
        found = dict(zip(known.hashes[bag.rows[mine]].tolist(), bag.weights[mine].tolist(), strict=True))
        assert found == pytest.approx(expected, rel=1e-5)


def test_conjugate_gradients_find_the_minimum_of_the_ridge():
    rng = np.random.default_rng(1)
    matrix = csr_matrix(rng.random((40, 25)) * (rng.random((40, 25)) < 0.3), dtype=np.float32)
    left = rng.normal(size=(40, 3)).astype(np.float32)
    left[:, 2] = 0  # solved before the first step
    dense = matrix.toarray().astype(np.float64)
    expected = np.linalg.solve(dense.T @ dense + 0.5 * np.eye(25), dense.T @ left)
    np.testing.assert_allclose(ridge_change(matrix, left, 0.5, 40), expected, atol=1e-4)


def test_word_vectors_are_found_again_and_unseen_words_keep_their_prior():
    rng = np.random.default_rng(2)
    known, order = vocabulary(WORDS)
    true = rng.normal(size=(len(WORDS), 8)).astype(np.float32)[order]
    bag = Bags.of(words_of(pa.array(texts(900)), places=False), known, Reading(100, 1e9))
    teacher = bag.matrix(len(WORDS)) @ true
    model = fitted(bag, known, teacher, true + rng.normal(size=true.shape).astype(np.float32), 0.01, 30)
    made = Bags.of(words_of(pa.array(texts(50, seed=9)), places=False), known, Reading(100, 1e9))
    found = made.matrix(len(WORDS)) @ (model.vectors * model.factors[:, None]) + model.mean
    expected = made.matrix(len(WORDS)) @ true
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)

    seen = Bags.of(words_of(pa.array(["word0 word1", "word1 word2"] * 40), places=False), known, Reading(100, 1e9))
    unseen = known.hashes == hashes_of(["word50"])[0]
    weak, strong = (fitted(seen, known, seen.matrix(len(WORDS)) @ true, true, ridge, 30) for ridge in (0.01, 100.0))
    row = [(model.vectors * model.factors[:, None])[unseen] for model in (weak, strong)]
    np.testing.assert_array_equal(*row)


def test_a_vector_is_the_weighted_sum_of_its_words_and_the_mean():
    known, order = vocabulary(["left", "right"], [1.0, 2.0])
    rows = np.asarray([[1, 0, 0.5], [0, 1, 0]], np.float32)[order]
    model = WordVectors.of(known, rows, np.asarray([0, 0, 1], np.float32))
    documents = pa.array(["left right", "nothing known", None, "LEFT"])
    found = model.embed(words_of(documents, places=False), Reading(10, 1e9))
    expected = np.asarray([1, 2, 0.5]) / np.sqrt(5) + [0, 0, 1]
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=0.005)
    assert not found[[1, 2]].any()
    np.testing.assert_allclose(found[3], np.asarray([1, 0, 1.5]) / np.sqrt(3.25), atol=0.005)


def test_the_words_of_most_documents_are_chosen_as_they_stand_in_the_text():
    found = chosen_words(pa.array(["Zürich lake lake", "the ZÜRICH", "the lake", "once"], pa.large_string()), 2, 2, 9)
    by_word = dict(zip(found.words.to_pylist(), found.weights.tolist(), strict=True))
    assert by_word == pytest.approx({"Zürich": np.log(2), "lake": np.log(2), "the": np.log(2)})
    assert found.hashes.tolist() == sorted(hashes_of(["zurich", "lake", "the"]).tolist())
    assert len(chosen_words(pa.array(["a b", "a b"], pa.large_string()), 9, 1, 1).hashes) == 1
    with pytest.raises(ValueError, match="min_documents=2"):
        chosen_words(pa.array(["a b", "c d"], pa.large_string()), 9, 2, 9)


def test_the_share_of_words_with_a_vector_counts_running_words():
    known, _ = vocabulary(["a", "b"])
    assert known_share(words_of(pa.array(["a a c", None, "b"])), known) == 0.75
    assert known_share(words_of(pa.array([""])), known) == 0


def test_distance_is_none_between_equal_vectors_and_chance_between_unlike_ones():
    rng = np.random.default_rng(3)
    some, others = (planted.unit(rng.normal(size=(400, 8))).astype(np.float32) for _ in range(2))
    same, other = distance(some, some), distance(some, others)
    assert same == pytest.approx({"cosine": 1, "neighbours": 10, "recall": 1})
    assert abs(other["cosine"]) < 0.1 and other["recall"] < 0.15  # 10 of 200 by chance
    assert distance(some[:2], some[:2])["recall"] is None


def static(**fields):
    given = {
        "docs": planted.DOCS, "model": Source(label="teacher", location="teacher"), "dimensions": teachers.DIMENSIONS,
        "max_tokens": 16, "max_words": 14, "half_words": 1e6, "vocabulary": 1000, "min_documents": 2,
        "vocabulary_rows": 600, "sample_rows": 400, "held_out": 0.25, "ridge": 0.1, "steps": 10, "batch_rows": 32,
        "dtype": "float32", "seed": 1,
    }  # fmt: skip
    return StaticModel(**{**given, **fields})


def table(rows):
    return pa.table({"title": pa.nulls(len(rows), pa.string()), "text": pa.array(rows, pa.large_string())})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return teachers.teacher(tmp_path_factory.mktemp("teacher"), WORDS)


def desk_of(tmp_path, folder, sizes=(500, 0, 202)):
    rows = [*texts(700, seed=5), None, ""]
    return Desk(tmp_path, {"docs": planted.cut(table(rows), sizes)}, {"teacher": folder})


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder):
    desk = desk_of(tmp_path_factory.mktemp("static"), folder)
    desk.made["static_model"] = desk.folder
    return desk, static().make(desk)


def test_the_model_is_near_its_teacher(made):
    desk, books = made
    report = json.loads((desk.folder / "report.json").read_text())
    assert books["read_by_teacher"] == report["sample"] == 400
    assert (report["held_out"], report["words"], report["words_without_vector"]) == (100, 60, 0)
    assert report["cosine"] > 0.8 and report["recall"] > 0.3  # 10 of 50 by chance


def test_equal_bytes_however_the_documents_are_cut_and_after_a_kill(made, tmp_path, folder):
    desk, _ = made
    again = desk_of(tmp_path / "again", folder, (1, 701))
    again.folder.mkdir()
    static().make(again)
    files = sorted(path.name for path in desk.folder.iterdir())
    assert files == sorted(path.name for path in again.folder.iterdir()) and "report.json" in files
    assert all((desk.folder / name).read_bytes() == (again.folder / name).read_bytes() for name in files)

    again.made["teacher"] = tmp_path / "gone"  # all that the teacher had to say is there
    static().make(again)
    assert all((desk.folder / name).read_bytes() == (again.folder / name).read_bytes() for name in files)


def test_a_task_takes_its_own_texts_along_and_no_others(tmp_path, folder, monkeypatch):
    desk = desk_of(tmp_path, folder)
    items = []
    monkeypatch.setattr(desk, "map", lambda function, some: items.extend(some) or [function(one) for one in some])
    monkeypatch.setattr("hare_ray.cluster.static.TASK_TEXTS", 50)
    static().make(desk)
    asked = [pair for pair in items if isinstance(pair[1], pa.Array)]
    assert len(asked) == 8 + 1  # 400 documents, 60 words
    for _, some in asked:
        assert len(pickle.dumps(some)) < 2 * sum(map(len, some.to_pylist())) + 1000


def test_documents_get_rows_of_length_one_in_order(made):
    desk, _ = made
    stage = EmbedStatic(docs=planted.DOCS, static=static(), dimensions=teachers.DIMENSIONS)
    embed = stage.prepare(desk.files)
    found = embed(table(["word1 word2 word3", None, "unheard of", "", "word40 word41"]))
    assert found.schema == stage.schema()
    vectors = found.column("embedding").combine_chunks().flatten().to_numpy().reshape(5, -1).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 0, 0, 1], atol=2e-3)
    titled = pa.table({"title": ["word1"], "text": pa.array(["word2 word3"], pa.large_string())})
    assert embed(titled).equals(found.slice(0, 1))
    assert len(embed(table([]))) == 0
    with pytest.raises(ValueError, match=r"has 16 dimensions.*set dimensions=16"):
        EmbedStatic(docs=planted.DOCS, static=static(), dimensions=8).prepare(desk.files)


def test_a_corpus_without_text_is_refused(tmp_path):
    desk = Desk(tmp_path, {"docs": [table([None, ""])]})
    with pytest.raises(ValueError, match="0 documents with text"):
        static().make(desk)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_words": 0},
        {"held_out": 1.0},
        {"ridge": 0.0},
        {"half_words": 0.0},
        {"sample_rows": 601},
        {"dtype": "float16"},
        {"seed": -1},
    ],
)
def test_numbers_that_mean_nothing_are_refused(fields):
    (name, value), *_ = fields.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        static(**fields)
