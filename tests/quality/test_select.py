"""Select: its reason by hand, what it must keep for any topics and scores, and on parts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.quality import Select
from tests.cluster.ranked import documents, written

BELOW = "below_quality"
NUMBERS = {"keep_share": 1.0, "min_topic_share": 0.0, "min_quality": 0.0}


def chosen(tmp_path, rows, parts=1, **numbers):
    """Numbers of the documents that a Select leaves; its reasons."""
    tmp_path.mkdir(exist_ok=True)
    docs, topics, scores, dropped = documents(tmp_path / "docs", rows, parts)
    stage = Select(docs=docs, clusters=topics, scores=scores, without=(dropped,), **{**NUMBERS, **numbers})
    books, found = written(tmp_path / "run", stage)
    assert all(row.keys() == {"reason"} for row in found)
    assert books["reasons"].get(BELOW, 0) == sum(row["reason"] == BELOW for row in found)
    return [row["reason"] for row in found]


def kept(reasons):
    return [number for number, reason in enumerate(reasons) if reason is None]


ROWS = [
    (0, 0.9, "-"),
    (0, 0.8, "-"),
    (0, 0.7, "-"),
    (0, 0.6, "-"),
    (1, 0.5, "-"),
    (1, 0.3, "-"),
    (1, 0.2, "-"),
    (1, 0.1, "-"),
]


def test_one_level_for_all_topics(tmp_path):
    assert chosen(tmp_path, ROWS, keep_share=0.5) == [None] * 4 + [BELOW] * 4


def test_the_same_share_of_every_topic(tmp_path):
    assert kept(chosen(tmp_path, ROWS, keep_share=0.5, min_topic_share=0.5)) == [0, 1, 4, 5]


def test_every_topic_keeps_its_part_and_the_best_others_fill_the_rest(tmp_path):
    assert kept(chosen(tmp_path, ROWS, keep_share=0.5, min_topic_share=0.25)) == [0, 1, 2, 4]


def test_below_the_minimum_no_rank_helps(tmp_path):
    found = chosen(tmp_path, ROWS, keep_share=1.0, min_topic_share=1.0, min_quality=0.5)
    assert kept(found) == [0, 1, 2, 3, 4]


def test_places_that_a_topic_cannot_fill_go_to_the_others(tmp_path):
    found = chosen(tmp_path, ROWS, keep_share=0.75, min_topic_share=0.75, min_quality=0.4)
    assert kept(found) == [0, 1, 2, 3, 4]


def test_what_was_dropped_before_is_neither_judged_nor_counted(tmp_path):
    rows = [(0, 0.9, "spam"), (0, 0.8, "spam"), (0, 0.4, "-"), (0, 0.1, "-"), (1, 0.0, "spam")]
    assert chosen(tmp_path, rows, keep_share=0.5) == [None, None, None, BELOW, None]


def test_all_dropped_before_and_no_documents_are_no_trouble(tmp_path):
    assert chosen(tmp_path / "a", [(0, 0.9, "spam")] * 3, keep_share=0.5) == [None] * 3
    assert chosen(tmp_path / "b", [], parts=2, keep_share=0.5) == []


def test_neither_parts_nor_order_decide_between_equals(tmp_path):
    rows = [(number % 3, 0.5, "-") for number in range(40)]
    found = [
        kept(chosen(tmp_path / str(parts), rows, parts, keep_share=0.4, min_topic_share=0.2)) for parts in (1, 3, 8)
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 16


def test_quality_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Quality.*given 1 of 2 rows in part 0 whose quality is no number"):
        chosen(tmp_path, [(0, 0.9, "-"), (0, "nan", "-")])


def tables(tmp_path, name):
    return documents(tmp_path / name, [], 1)


def test_tables_that_do_not_belong_are_refused(tmp_path):
    docs, topics, scores, _ = tables(tmp_path, "a")
    with pytest.raises(ValueError, match="same base object"):
        Select(docs=docs, clusters=topics, scores=tables(tmp_path, "b")[2], **NUMBERS)
    with pytest.raises(ValueError, match="expected a verdict"):
        Select(docs=docs, clusters=topics, scores=scores, without=(scores,), **NUMBERS)


@pytest.mark.parametrize("numbers", [{"keep_share": 0.0}, {"min_topic_share": 1.1}, {"min_quality": -0.1}])
def test_shares_that_are_none_are_refused(tmp_path, numbers):
    docs, topics, scores, _ = tables(tmp_path, "a")
    with pytest.raises(ValueError, match=f"given {next(iter(numbers))}="):
        Select(docs=docs, clusters=topics, scores=scores, **{**NUMBERS, **numbers})


TOPICS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=40)
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.75, 0.8, 1.0])


@settings(max_examples=8, deadline=None)
@given(TOPICS, SHARES, SHARES, st.integers(0, 20))
def test_invariants(tmp_path_factory, rows, one, other, minimum):
    least, share = min(one, other), max(one, other, 0.05)
    found = chosen(
        tmp_path_factory.mktemp("run") / "x",
        [(topic, score / 20, "-") for topic, score in rows],
        parts=2,
        keep_share=share,
        min_topic_share=least,
        min_quality=minimum / 20,
    )
    topic, score = (np.array(column) for column in zip(*rows, strict=True))
    stays, good = np.array([reason is None for reason in found]), score >= minimum
    assert not (stays & ~good).any()
    floors = {t: min(up(least, (topic == t).sum()), (good & (topic == t)).sum()) for t in set(topic)}
    assert stays.sum() == min(good.sum(), max(up(share, len(rows)), sum(floors.values())))
    for t, floor in floors.items():
        mine = topic == t
        assert (stays & mine).sum() >= floor
        assert not (stays & mine).any() or score[stays & mine].min() >= score[mine & good & ~stays].max(initial=0)
    above = [t for t in floors if (stays & (topic == t)).sum() > floors[t]]
    if above and (good & ~stays).any():
        worst = min(score[stays & (topic == t)].min() for t in above)
        assert worst >= score[good & ~stays].max()


def up(share, number):
    return int(np.ceil(round(share * number, 9)))
