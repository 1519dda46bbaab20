"""Balance: the arithmetic by invariants and by hand, patterns, and the stage on parts."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.cluster.balance import Balance, targeted
from hare_ray.cluster.weights import amounts, filled, planned
from hare_ray.gather import Desk
from hare_ray.priors.topics import TopicTarget, TopicWeights, load_topics
from hare_ray.stage import Make
from tests.cluster.ranked import documents, written

OVER = "over_topic_share"


def prior(*targets, cap=None, temperature=1.0, max_epochs=1.0, max_cut=0.5, min_documents=0):
    found = tuple(TopicTarget(str(at), share) for at, share in targets)
    return TopicWeights(cap, temperature, found, max_epochs, max_cut, min_documents)


def plan(counts, wanted, groups=None):
    none = len(wanted.targets)
    counts = np.asarray(counts)
    return planned(counts, np.asarray(groups) if groups is not None else np.full(len(counts), none), wanted)


def read(found):
    return found.kept * found.weight


COUNTS = st.lists(st.integers(0, 400), min_size=1, max_size=12)
CAPS = st.sampled_from([None, 1.0, 1.1, 2.0, 5.0])
TEMPERATURES = st.sampled_from([1.0, 1.5, 3.0, 100.0])
EPOCHS = st.sampled_from([1.0, 1.5, 4.0])


@given(COUNTS, EPOCHS)
def test_a_prior_that_wants_nothing_changes_nothing(counts, max_epochs):
    found = plan(counts, prior(max_epochs=max_epochs))
    np.testing.assert_array_equal(found.kept, counts)
    np.testing.assert_array_equal(found.weight, np.asarray(counts) > 0)


@settings(max_examples=60, deadline=None)
@given(st.data(), COUNTS, CAPS, TEMPERATURES, EPOCHS, st.integers(0, 50))
def test_limits_hold_for_any_prior(data, counts, cap, temperature, max_epochs, min_documents):
    shares = data.draw(st.lists(st.floats(0, 0.45).map(lambda share: round(share, 4)), max_size=2))
    groups = np.array(data.draw(st.lists(st.integers(0, len(shares)), min_size=len(counts), max_size=len(counts))))
    wanted = prior(
        *enumerate(shares), cap=cap, temperature=temperature, max_epochs=max_epochs, min_documents=min_documents
    )
    counts = np.array(counts)
    exact, found = amounts(counts, groups, wanted), plan(counts, wanted, groups)
    total = exact.sum()
    alive = (counts > 0) & (np.append(shares, 1)[groups] > 0)
    assert total <= counts.sum() * (1 + 1e-9)
    assert (exact <= counts * np.where(counts < min_documents, 1, max_epochs) * (1 + 1e-9)).all()
    capped = alive & (groups == len(shares)) & (counts >= min_documents)
    if cap is not None and capped.any():
        assert exact[capped].max() <= cap * exact[capped].mean() * (1 + 1e-6)
    assert (found.kept <= counts).all()
    assert ((found.kept > 0) == alive).all()
    assert ((found.weight == 0) == (found.kept == 0)).all()
    assert (found.weight[alive] >= 1).all()
    assert (found.kept == counts)[found.weight > 1].all()
    assert (abs(read(found) - exact)[alive] <= 1 + 1e-6).all()
    for group in range(len(shares) + 1):  # more documents never mean less
        mine = np.flatnonzero((groups == group) & (counts >= min_documents))
        mine = mine[np.argsort(counts[mine], kind="stable")]
        assert (np.diff(exact[mine]) >= -1e-6 * total).all()


CUTS = st.sampled_from([0.0, 0.5, 0.9, 1.0])


@given(COUNTS, st.floats(0.001, 0.999), EPOCHS, CUTS)
def test_a_target_is_met_exactly_unless_that_takes_too_much(counts, share, max_epochs, max_cut):
    counts = np.array([*counts, 30, 50])
    groups = np.array([1] * (len(counts) - 2) + [0, 1])
    share = round(share, 3)
    exact = amounts(counts, groups, prior((0, share), max_epochs=max_epochs, max_cut=max_cut))
    of_target, rest = exact[groups == 0].sum(), exact[groups == 1].sum()
    others, most = counts.sum() - 30, 30 * max_epochs
    without = min(counts.sum(), others / (1 - share), others + most)  # the total, were nothing short
    reached = of_target / exact.sum()
    if most / share >= (1 - max_cut) * without * (1 + 1e-6):
        assert reached == pytest.approx(share)
        assert exact.sum() == pytest.approx(min(without, most / share))  # no larger one has the share
    else:
        assert of_target == pytest.approx(most)
        assert exact.sum() == pytest.approx((1 - max_cut) * without)
    assert rest <= others * (1 + 1e-9)  # never repeated for it


@pytest.mark.parametrize(
    ("counts", "share", "left"),
    [
        ([5000, 2500, 2500], 0.1, 5000),
        ([20_000, *[1000] * 49], 0.05, 49_000),
        ([9000, 500, 500], 0.1, 1000),  # cutting what is over its share has no bound
    ],
)
def test_a_target_over_its_share_is_cut_to_it(counts, share, left):
    kept = plan(counts, prior((0, share), max_cut=0.0), [0, *[1] * (len(counts) - 1)]).kept
    assert kept[1:].tolist() == counts[1:]
    assert kept[0] == int(left * share / (1 - share))


def test_a_target_goes_before_the_cap():
    counts = np.full(50, 1000)
    exact = amounts(counts, np.array([0, *[1] * 49]), prior((0, 0.3), cap=3.0, max_epochs=100.0))
    assert exact[0] / exact.sum() == pytest.approx(0.3)
    assert exact.sum() == pytest.approx(50_000)


def test_targets_of_no_and_of_few_documents_take_nothing_from_the_others():
    wanted = prior((0, 0.2), (1, 0.3), (2, 0.1), min_documents=20, max_epochs=4.0)
    exact = amounts(np.array([0, 19, 5000, 2000, 3000]), np.array([0, 1, 2, 3, 3]), wanted)
    assert exact[[0, 1, 3, 4]].tolist() == pytest.approx([0, 19, 2000, 3000])
    assert exact[2] / exact.sum() == pytest.approx(0.1)


@given(COUNTS, st.sampled_from([1.0, 1.1, 1.5, 2.0, 5.0]))
def test_a_cap_takes_no_more_than_it_must(counts, cap):
    counts = np.array(counts)
    found = plan(counts, prior(cap=cap)).kept
    topics = max(1, np.count_nonzero(counts))
    fits = [n for n in range(counts.max() + 1) if n <= cap / topics * np.minimum(counts, n).sum() + 1e-9]
    np.testing.assert_array_equal(np.minimum(counts, max(fits)), np.minimum(found, max(fits)))
    assert found.max() - max(fits) <= cap  # whole documents


def test_temperature_is_a_power_of_the_size():
    found = read(plan([10_000, 100], prior(temperature=2.0, max_epochs=100.0)))
    assert found[0] / found[1] == pytest.approx(10, rel=1e-3)
    assert found.sum() == pytest.approx(10_100, abs=1)


@pytest.mark.parametrize(
    ("counts", "temperature", "max_epochs", "amount"),
    [
        ([10_000, 100], 2.0, 1.0, [9181.82, 100]),
        ([10_000, 100], 2.0, 4.0, [9181.82, 400]),
        ([6400, 1600, 400], 2.0, 1.0, [4800, 1600, 400]),
        ([900, 100], 1e9, 1.0, [500, 100]),
    ],
)
def test_temperature_cuts_what_is_over_its_share_and_refills_nothing(counts, temperature, max_epochs, amount):
    found = plan(counts, prior(temperature=temperature, max_epochs=max_epochs))
    np.testing.assert_allclose(read(found), amount, atol=1)


def test_topics_of_few_documents_stay_as_they_are_and_count_for_no_share():
    small = [1, 1, 19]
    for wanted in (prior(cap=1.0, min_documents=20), prior(temperature=1e9, min_documents=20, max_epochs=4.0)):
        found = plan([*small, *[1000] * 50], wanted)
        assert found.kept.tolist() == [*small, *[1000] * 50]
        assert set(found.weight.tolist()) == {1}
    assert plan([1, 600, 200], prior(cap=1.0, min_documents=20)).kept.tolist() == [1, 200, 200]
    assert plan([1, 600, 200], prior(temperature=1e9, min_documents=20)).kept.tolist() == [1, 400, 200]


def test_a_short_target_takes_so_much_from_the_others_and_no_more():
    wanted = prior((0, 0.3), max_epochs=4.0, max_cut=0.2)
    found = plan([10, 500, 490], wanted, [0, 1, 1])
    assert found.weight.tolist() == [4, 1, 1]
    assert found.kept.tolist() == [10, 383, 376]  # 760 in the proportions 500 : 490
    assert plan([100, 900], prior((0, 0.125)), [0, 1]).kept.tolist() == [100, 700]
    assert plan([100, 900], prior((0, 0.5)), [0, 1]).kept.tolist() == [100, 400]
    assert plan([100, 900], prior((0, 0.5), max_cut=1.0), [0, 1]).kept.tolist() == [100, 100]


def test_a_topic_of_few_documents_is_not_repeated():
    wanted = prior((0, 0.5), max_epochs=10.0, min_documents=20)
    assert plan([19, 981], wanted, [0, 1]).weight[0] == 1
    assert plan([20, 980], wanted, [0, 1]).weight[0] == 10
    assert plan([19, 981], wanted, [0, 1]).kept.tolist() == [19, 981]


def test_a_share_of_zero_leaves_a_topic_out():
    found = plan([50, 50, 100], prior((0, 0.0), cap=2.0), [0, 1, 1])
    assert found.kept.tolist() == [0, 50, 100]
    assert found.weight.tolist() == [0, 1, 1]


def test_inside_a_target_a_full_topic_leaves_its_place_to_its_neighbours():
    found = plan([10, 4000, 5990], prior((0, 0.35), temperature=100.0, max_epochs=2.0), [0, 0, 1])
    np.testing.assert_allclose(read(found)[:2] / read(found).sum(), [0.00217, 0.34783], rtol=1e-2)
    assert found.kept[2] == 5990


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), min_size=1, max_size=8), st.floats(0, 60))
def test_water_finds_one_level(vessels, total):
    wanted, most = (np.array(column) for column in zip(*vessels, strict=True))
    wanted = np.round(wanted, 3).astype(np.float64)
    found = filled(total, wanted, most)
    assert found.sum() == pytest.approx(min(total, most[wanted > 0].sum()))
    assert (found <= most * (1 + 1e-9)).all()
    part = (wanted > 0) & (found < most * (1 - 1e-9))
    levels = found[part] / wanted[part]
    assert levels.size == 0 or np.ptp(levels) <= 1e-9 * max(1, levels.max())


LABELS = [
    {"cluster": 2, "label": "football, goal", "words": ["football", "goal", "league"], "rows": 9},
    {"cluster": 0, "label": "algebra, proof", "words": ["algebra", "proof", "theorem"], "rows": 5},
    {"cluster": 3, "label": "guitar, album", "words": ["guitar", "album", "band"], "rows": 4},
]


def targets(*patterns):
    return tuple(TopicTarget(pattern, 0.1) for pattern in patterns)


def test_patterns_find_topics_by_words_and_numbers_and_the_first_wins():
    assert targeted(targets("Theorem|LEAGUE", "football", "3"), LABELS, 4, 4).tolist() == [0, 3, 0, 2]
    assert targeted(targets("guitar"), LABELS, 2, 4).tolist() == [1, 1]  # whose documents are gone
    assert targeted(targets("1"), [], 2, 2).tolist() == [1, 0]
    assert targeted(targets("3"), [], 2, 4).tolist() == [1, 1]


@pytest.mark.parametrize("pattern", ["footbal leage", "7"])
def test_a_pattern_that_finds_nothing_names_the_nearest_labels(pattern):
    with pytest.raises(ValueError, match=rf"given the pattern '{pattern}'.*2 \(football, goal\)"):
        targeted(targets(pattern), LABELS, 4, 4)


def test_a_number_that_no_topic_has_is_refused_without_labels_too(tmp_path):
    with pytest.raises(ValueError, match=r"given the pattern '9999'.*topics are 0 to 2"):
        balanced(tmp_path / "a", [(2, 0.5, "-"), (0, 0.4, "-")], prior((9999, 0.5)), labels=None)
    rows = [(2, 0.5, "spam"), (0, 0.4, "-")]  # topic 2 has none left, but it is there
    assert balanced(tmp_path / "b", rows, prior((2, 0.5)), labels=None)[0]["targets_without_documents"] == 1


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("art", "party, article", True),
        ("art", "party", False),
        ("(art|ball)", "party, football", False),
        (r"\w*ball", "football", True),
        (r"c\+\+", "rust, c++", True),
        (r"c\+\+", "c, rust", False),
        (r"\.net", "asp.net", True),
        ("tea|COFFEE", "pot\ncoffee", True),
    ],
)
def test_patterns_are_found_where_words_begin(pattern, text, found):
    assert bool(TopicTarget(pattern, 0.1).expression.search(text)) == found


@pytest.mark.parametrize("pattern", [r"x\*\.+", r"[a+]+", r"\d+", "a+b", r"[]*]\+"])
def test_repetitions_that_are_meant_are_accepted(pattern):
    assert TopicTarget(pattern, 0.1).pattern == pattern


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: prior(cap=0.9), "cap: given 0.9"),
        (lambda: prior(temperature=0.5), "temperature: given 0.5"),
        (lambda: prior(max_epochs=0.5), "max_epochs: given 0.5"),
        (lambda: prior(min_documents=-1), "min_documents: given -1"),
        (lambda: prior((1, 0.6), (2, 0.6)), "add up to 1.2"),
        (lambda: prior((1, 0.1), (1, 0.1)), "'1' twice"),
        (lambda: TopicTarget("a", -0.1), "share: given -0.1"),
        (lambda: TopicTarget("(a", 0.1), "no regular expression"),
        (lambda: TopicTarget("c++", 0.1), r"given 'c\+\+'.*write c\\\+\\\+ for"),
        (lambda: TopicTarget("history|", 0.1), "finds every topic"),
        (lambda: TopicTarget("(tea)*", 0.1), "finds every topic"),
        (lambda: prior(max_cut=1.5), "max_cut: given 1.5"),
    ],
)
def test_priors_that_mean_nothing_are_refused(make, wrong):
    with pytest.raises(ValueError, match=wrong):
        make()


def test_the_prior_of_the_package_is_readable():
    assert load_topics().max_epochs >= 1


class Labels(Make):
    labels: tuple[dict, ...]

    def make(self, desk: Desk) -> dict[str, int]:
        (desk.folder / "labels.json").write_text(json.dumps(self.labels))
        return {}


TAUGHT = Labels(labels=tuple(LABELS))


def balanced(tmp_path, rows, wanted, parts=1, scored=True, labels: Make | None = TAUGHT):
    tmp_path.mkdir(exist_ok=True)
    docs, topics, scores, dropped = documents(tmp_path / "docs", rows, parts)
    stage = Balance(
        docs=docs, clusters=topics, scores=scores if scored else None, labels=labels,
        without=(dropped,), prior=wanted,
    )  # fmt: skip
    return written(tmp_path / "run", stage)


def test_the_worst_of_a_topic_over_the_cap_go(tmp_path):
    quality = [0.1, 0.9, 0.8, 0.2, 0.7, 0.3]
    rows = [(0, one, "-") for one in quality] + [(1, 0.5, "-"), (1, 0.5, "-"), (2, 0.5, "-"), (2, 0.5, "-")]
    books, found = balanced(tmp_path, rows, prior(cap=1.5), parts=3)
    assert [row["reason"] for row in found] == [OVER, None, None, OVER, None, None] + [None] * 4
    assert [row["weight"] for row in found] == [0, 1, 1, 0, 1, 1] + [1] * 4
    assert (books["topics"], books["topics_cut"], books["topics_repeated"]) == (3, 1, 0)
    assert books["reasons"] == {OVER: 2}
    assert books["documents_per_epoch"] == 8


def test_what_was_dropped_before_is_not_counted_and_weighs_nothing(tmp_path):
    rows = [(0, 0.9, "spam")] * 6 + [(0, 0.5, "-"), (1, 0.5, "-"), (2, 0.1, "spam")]
    books, found = balanced(tmp_path, rows, prior(cap=1.0))
    assert [row["reason"] for row in found] == [None] * 9
    assert [row["weight"] for row in found] == [0] * 6 + [1, 1, 0]
    assert books["topics"] == 2


def test_a_target_repeats_its_topics_and_cuts_the_others(tmp_path):
    rows = [(0, 0.5, "-")] * 4 + [(2, number / 40, "-") for number in range(36)]
    wanted = TopicWeights(None, 1.0, (TopicTarget("theorem", 0.2),), 4.0, 0.5, 2)
    books, found = balanced(tmp_path, rows, wanted, parts=4)
    assert [row["weight"] for row in found] == [2] * 4 + [0] * 4 + [1] * 32
    assert books["documents_per_epoch"] == 40
    assert books["topics_repeated"] == 1
    assert books["targets_without_documents"] == 0
    assert [books[f"target_0_{what}"] for what in ("topics", "wanted", "reached")] == [1, 2000, 2000]


def test_the_books_tell_what_a_target_reached(tmp_path):
    rows = [(0, 0.5, "-")] * 4 + [(2, number / 40, "-") for number in range(36)]
    books, _ = balanced(tmp_path, rows, prior((0, 0.8), (3, 0.1)))
    assert [books[f"target_0_{what}"] for what in ("topics", "wanted", "reached")] == [1, 8000, 2000]
    assert [books[f"target_1_{what}"] for what in ("topics", "wanted", "reached")] == [0, 1000, 0]


def test_without_scores_the_same_documents_go_however_parts_are_cut(tmp_path):
    rows = [(number % 5 and 1, "nan", "-") for number in range(50)]
    found = [balanced(tmp_path / str(parts), rows, prior(cap=1.0), parts, scored=False)[1] for parts in (1, 4)]
    assert found[0] == found[1]
    assert Counter(row["reason"] for row in found[0]) == {None: 20, OVER: 30}


def test_all_dropped_before_and_no_documents_are_no_trouble(tmp_path):
    wanted = prior((0, 0.5), cap=2.0)
    assert balanced(tmp_path / "a", [(0, 0.9, "spam")] * 3, wanted)[1] == [{"reason": None, "weight": 0}] * 3
    assert balanced(tmp_path / "b", [], wanted, parts=2)[1] == []


def test_a_target_without_documents_is_counted_and_its_share_goes_to_the_others(tmp_path):
    books, found = balanced(tmp_path, [(2, 0.5, "-"), (2, 0.4, "-")], prior((0, 0.5)))
    assert books["targets_without_documents"] == 1
    assert [row["weight"] for row in found] == [1, 1]


def test_targets_that_leave_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="leave no document"):
        balanced(tmp_path, [(2, 0.5, "-")], prior((0, 1.0)))


def test_a_pattern_needs_labels(tmp_path):
    docs, topics, scores, _ = documents(tmp_path / "docs", [], 1)
    wanted = TopicWeights(None, 1.0, (TopicTarget("theorem", 0.2),), 4.0, 0.5, 2)
    with pytest.raises(ValueError, match="given the pattern 'theorem' and no labels"):
        Balance(docs=docs, clusters=topics, scores=scores, labels=None, prior=wanted)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), CAPS, st.integers(1, 3))
def test_every_topic_has_one_weight_and_loses_its_worst(tmp_path_factory, topics, cap, parts):
    quality = np.random.default_rng(len(topics)).permutation(len(topics)) / 40
    rows = [(topic, score, "-") for topic, score in zip(topics, quality, strict=True)]
    _, found = balanced(tmp_path_factory.mktemp("run") / "x", rows, prior(cap=cap), parts)
    for topic in set(topics):
        mine = [number for number, one in enumerate(topics) if one == topic]
        stays = [number for number in mine if found[number]["reason"] is None]
        assert {found[number]["weight"] for number in stays} == {1}
        gone = [quality[number] for number in mine if number not in stays]
        assert not gone or max(gone) < min(quality[number] for number in stays)
