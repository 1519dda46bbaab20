"""The committee on unseen examples, on labels without meaning and on labels that teach nothing."""

import json
import random

import numpy as np
import pyarrow as pa
import pytest

from hare_ray.quality import Score
from hare_ray.quality.calibration import ece
from hare_ray.quality.learning import sample
from hare_ray.quality.measuring import Heard, fitted_vote, nested
from hare_ray.quality.names import MEMBERS
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from hare_ray.voting import weights
from tests.quality.labelled import DIMENSIONS, LABELS, Labels, Vectors, column, committee, desk, documents, embedded
from tests.quality.labelled import examples as labelled_examples


class Docs(Table):
    writes = DOCUMENT


def auc(chances, label):
    """Share of pairs in the right order, ties half: the definition."""
    apart = chances[label == 1][:, None] - chances[label == 0][None]
    return np.mean((apart > 0) + 0.5 * (apart == 0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a committee that learned from three in four examples; the others, and their labels."""
    rows = labelled_examples()
    held = [row for at, row in enumerate(rows) if at % 4 == 3]
    known = [row for at, row in enumerate(rows) if at % 4 != 3]
    given = desk(tmp_path_factory.mktemp("committee"), known, [40, 0, len(known) - 40])
    books = committee().make(given)
    assert books == {
        "good": sum(label == 1 for _, label, _ in known),
        "poor": sum(label == 0 for _, label, _ in known),
        "not_used": 0,
    }
    return given.folder, [text for text, _, _ in held], np.array([int(label) for _, label, _ in held])


@pytest.fixture(scope="module")
def scored(trained):
    folder, texts, _ = trained
    docs = Docs()
    score = Score(docs=docs, embeddings=Vectors(docs=docs), committee=committee()).prepare(lambda _: folder)
    return score, score(documents(texts), column(embedded(texts)))


def test_examples_held_back_are_told_apart(trained, scored):
    label = trained[2]
    assert auc(scored[1].column("quality").to_numpy(), label) > 0.9
    for name in MEMBERS:
        assert auc(scored[1].column(f"member_{name}").to_numpy(), label) > 0.75, name


def test_the_quality_is_the_calibrated_vote_of_the_members(trained, scored):
    report = json.loads((trained[0] / "report.json").read_text())
    shares = np.array([report["members"][name]["weight"] for name in MEMBERS])
    np.testing.assert_allclose(shares, weights([report["members"][name]["auc"] for name in MEMBERS], 5.0))
    said = np.stack([scored[1].column(f"member_{name}").to_numpy() for name in MEMBERS]).astype(np.float64)
    sure = np.clip(said, 1e-7, 1 - 1e-7)
    voted = 1 / (1 + np.exp(-(shares @ np.log(sure / (1 - sure)))))
    at = report["committee"]["calibration"]
    logit = at["a"] * np.log(voted) - at["b"] * np.log1p(-voted) + at["c"]
    np.testing.assert_allclose(
        scored[1].column("quality").to_numpy(), 1 / (1 + np.exp(-logit)), atol=2e-3
    )  # float32 near 1
    spread = np.sqrt(shares @ (said - shares @ said) ** 2)
    np.testing.assert_allclose(scored[1].column("disagreement").to_numpy(), spread, atol=1e-5)


def test_the_report_says_what_was_measured(trained):
    report = json.loads((trained[0] / "report.json").read_text())
    for judged in (*report["members"].values(), report["committee"]):
        assert {"accuracy", "auc", "f1", "ece"} <= set(judged)
        assert all(0 <= judged[name] <= 100 for name in ("accuracy", "auc", "f1", "ece"))
    assert sum(report["groups"].values()) == sum(report["examples"].values())
    assert sum(one["rows"] for one in report["calibration"]) == 2 * sum(report["examples"].values())
    assert report["folds"] == 3


def test_a_score_does_not_depend_on_the_other_rows(trained, scored):
    texts = trained[1]
    score, whole = scored
    alone = score(documents(texts[7:8]), column(embedded(texts[7:8])))
    for name in whole.column_names:
        assert alone.column(name)[0].as_py() == pytest.approx(whole.column(name)[7].as_py(), abs=1e-5)


def test_a_part_is_looked_at_slice_by_slice(trained, scored, monkeypatch):
    texts = trained[1]
    for rows in (1, 7, len(texts)):
        monkeypatch.setattr("hare_ray.quality.score.SLICE_ROWS", rows)
        found = scored[0](documents(texts), column(embedded(texts)))
        for name in found.column_names:
            expected = scored[1].column(name).to_numpy()
            np.testing.assert_allclose(found.column(name).to_numpy(), expected, atol=1e-5)


def test_no_documents_are_scored_and_those_without_words_get_nothing(scored):
    score = scored[0]
    assert len(score(documents([]), column(np.zeros((0, DIMENSIONS))))) == 0
    found = score(documents(["", None, " \n..."]), column(np.zeros((3, DIMENSIONS))))
    assert found.schema == Score.writes
    for name in found.column_names:
        assert found.column(name).to_pylist() == [0, 0, 0]


def test_shuffled_words_are_seen_by_the_member_that_reads_in_order_and_by_the_vote(trained, scored):
    _, texts, label = trained
    good = [text for text, side in zip(texts, label, strict=True) if side]
    salad = [" ".join(random.Random(1).sample(text.split(), len(text.split()))) for text in good]
    before, after = (scored[0](documents(some), column(embedded(some))) for some in (good, salad))
    for name, least in (("member_fluency", 0.1), ("quality", 0.03)):
        whole, mixed = (some.column(name).to_numpy() for some in (before, after))
        assert np.mean(whole > mixed) >= 0.9, name
        assert np.mean(whole) > np.mean(mixed) + least, name


def test_vectors_of_another_model_and_broken_ones_are_refused(scored):
    wrong = pa.table([pa.FixedSizeListArray.from_arrays(pa.array([0.0] * 16, pa.float16()), 16)], names=["embedding"])
    with pytest.raises(ValueError, match="16 dimensions, the committee learned from 64"):
        scored[0](documents(["a"]), wrong)
    with pytest.raises(ValueError, match="vectors of 1 of 2 rows"):
        scored[0](documents(["a", "b"]), column(np.stack([np.full(DIMENSIONS, np.nan), np.zeros(DIMENSIONS)])))
    missing = pa.table({"embedding": pa.array([None, [0.0] * DIMENSIONS], pa.list_(pa.float16(), DIMENSIONS))})
    with pytest.raises(ValueError, match="1 nulls among 2 vectors"):
        scored[0](documents(["a", "b"]), missing)


def test_labels_without_meaning_teach_nothing_and_training_repeats(tmp_path):
    rows = [(text, random.Random(text).random(), group) for text, _, group in labelled_examples()]
    made = []
    for name in ("first", "second"):
        given = desk(tmp_path / name, rows)
        committee(good_from=0.5, folds=2).make(given)
        made.append({path.name: path.read_bytes() for path in given.folder.iterdir()})
    assert made[0] == made[1]
    report = json.loads(made[0]["report.json"])
    assert 25 < report["committee"]["auc"] < 75
    assert report["committee"]["ece"] < 15


def test_the_calibration_error_is_of_rounds_that_calibration_has_not_seen():
    """In a group of its own scores mean the opposite: curves found on the others are wrong there, and it shows."""
    draw = np.random.default_rng(0)
    turn = np.repeat([0, 1], 400)
    label = np.tile(np.repeat([1, 0], 200), 2)
    good = np.where(turn == 0, label, 1 - label)
    scores = np.stack([draw.normal(np.where(good == 1, 2.0, -2.0), 1.0) for _ in MEMBERS])
    tests = Heard(scores, np.arange(800), label, turn)
    kept = fitted_vote(tests, 5.0, 0)
    quality, chances = nested(tests, 5.0, 0)
    assert ece(kept(scores)[0], label) < 0.1
    assert ece(quality, label) > 0.4
    assert chances.shape == scores.shape


def test_one_kind_of_label_is_refused(tmp_path):
    rows = [("a text", 0.4, "x"), ("another", 0.2, "x")]
    with pytest.raises(ValueError, match=r"0 good and 2 poor examples.*begins at label 0.6"):
        committee().make(desk(tmp_path, rows))


def test_a_fold_without_an_example_of_each_kind_is_refused(tmp_path):
    rows = [
        (text, label, "x") for text, label in (("a", 1), ("b", 1), ("c", 1), ("d", 0), ("e", 0), ("", 0), (None, 0))
    ]
    with pytest.raises(ValueError, match="folds=3 for 3 good and 2 poor examples, expected 2 to 2"):
        committee().make(desk(tmp_path, rows))


def test_labels_and_vectors_that_are_no_numbers_are_refused(tmp_path):
    given = desk(tmp_path, [("a", float("nan"), "x"), ("b", 1.0, "x")])
    with pytest.raises(ValueError, match="1 of 2 labels"):
        committee(folds=2).make(given)
    given = desk(tmp_path, [("a", 0.0, "x"), ("b", 1.0, "x")])
    given.tables["vectors"] = [column(np.full((2, DIMENSIONS), np.inf))]
    with pytest.raises(ValueError, match="vectors of 2 of 2 rows"):
        committee(folds=2).make(given)


@pytest.mark.parametrize(
    "numbers", [{"folds": 1}, {"good_from": 0.0}, {"max_examples": 5}, {"seed": -1}, {"temperature": 0.0}]
)
def test_numbers_that_mean_nothing_are_refused(numbers):
    with pytest.raises(ValueError, match=f"given {next(iter(numbers))}="):
        committee(**numbers)


def test_embeddings_of_other_texts_are_refused():
    with pytest.raises(ValueError, match="embed the very table"):
        committee(embeddings=Vectors(docs=Labels(label="others")))
    assert committee().labelled is LABELS


def test_a_sample_is_as_even_as_the_groups_allow():
    label = np.repeat([1, 1, 0, 0, 0], [1000, 10, 500, 500, 4])
    group = np.repeat([0, 1, 2, 3, 4], [1000, 10, 500, 500, 4])
    rows = sample(label, group, 200, seed=1)
    assert len(rows) == 200 and (np.diff(rows) > 0).all()
    assert np.bincount(group[rows]).tolist() == [90, 10, 48, 48, 4]
    assert sample(label, group, 5000, seed=1).tolist() == list(range(len(label)))
