"""Select: what it must keep for any topics and scores, by hand for each reason, and on parts."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hare_ray.quality import Select
from hare_ray.quality.select import BELOW, KEPT, OVER, largest_topic, verdicts
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Annotate, Table


class Docs(Table):
    writes = DOCUMENT


class Clusters(Annotate):
    docs: Table
    writes = pa.schema([pa.field("cluster", pa.int32(), nullable=False)])


class Scores(Annotate):
    docs: Table
    writes = pa.schema([pa.field("quality", pa.float32(), nullable=False)])


DOCS = Docs()
CLUSTERS, SCORES = Clusters(docs=DOCS), Scores(docs=DOCS)


@dataclass
class Desk:
    """The interface of a Gather's desk, over parts in memory."""

    tables: dict[str, list[pa.Table]]
    written: dict[int, pa.Table] = field(default_factory=dict)

    def parts(self, stage):
        return len(self.tables[stage.name])

    def rows(self, stage):
        return [len(part) for part in self.tables[stage.name]]

    def read(self, stage, part, columns=None):
        return self.tables[stage.name][part].select(list(columns))

    def write(self, part, table):
        self.written[part] = table

    def map(self, function, items):
        return [function(item) for item in items]


def stage(**numbers):
    return Select(
        clusters=CLUSTERS,
        scores=SCORES,
        **{"keep_share": 1.0, "min_quality": 0.0, "topic_cap": 99.0, **numbers},
    )


def select(cluster, quality, sizes, **numbers):
    edges = np.cumsum([0, *sizes])
    spans = [slice(edges[i], edges[i + 1]) for i in range(len(sizes))]
    desk = Desk(
        {
            "clusters": [pa.table([pa.array(cluster[s], pa.int32())], schema=Clusters.writes) for s in spans],
            "scores": [pa.table([pa.array(quality[s], pa.float32())], schema=Scores.writes) for s in spans],
        }
    )
    stage(**numbers).gather(desk)
    assert [len(desk.written[part]) for part in range(len(sizes))] == list(sizes)
    return pa.concat_tables([desk.written[part] for part in range(len(sizes))])


def test_every_topic_loses_its_worst_share():
    quality = [0.9, 0.2, 0.8, 0.1, 0.3, 0.25, 0.05, 0.07]
    found = select([0, 0, 0, 0, 1, 1, 1, 1], quality, (3, 5), keep_share=0.5)
    below = "below_quality"
    assert found.column("reason").to_pylist() == [None, below, None, below, None, None, below, below]
    assert found.column("weight").to_pylist() == [1, 0, 1, 0, 1, 1, 0, 0]
    assert found.schema == Select.writes


def test_below_the_minimum_no_rank_helps():
    found = select([0, 0, 1], [0.4, 0.6, 0.1], (3,), min_quality=0.4)
    assert found.column("reason").to_pylist() == [None, None, "below_quality"]


def test_a_topic_over_the_cap_loses_its_worst():
    cluster = [0] * 6 + [1, 1, 2, 2]
    quality = [0.1, 0.9, 0.8, 0.2, 0.7, 0.3, 0.5, 0.5, 0.5, 0.5]
    found = select(cluster, quality, (10,), topic_cap=1.5)
    over = "over_topic_cap"
    assert found.column("reason").to_pylist() == [over, None, None, over, None, None, None, None, None, None]


def test_equal_scores_keep_the_earlier_row_however_parts_are_cut():
    for sizes in [(4,), (1, 3), (2, 0, 2)]:
        found = select([0] * 4, [0.5] * 4, sizes, keep_share=0.5)
        assert found.column("weight").to_pylist() == [1, 1, 0, 0]


def test_no_rows_are_no_trouble():
    assert len(select([], [], (0, 0))) == 0


def test_the_smallest_cap_makes_all_topics_equal():
    found = select([0, 0, 0, 1, 2, 2], [0.5, 0.9, 0.1, 0.5, 0.3, 0.6], (6,), topic_cap=1.0)
    assert found.column("weight").to_pylist() == [0, 1, 0, 1, 0, 1]


def test_scores_of_other_documents_are_refused():
    with pytest.raises(ValueError, match="same base object"):
        Select(clusters=CLUSTERS, scores=Scores(docs=Docs()), keep_share=1.0, min_quality=0.0, topic_cap=1.0)


@pytest.mark.parametrize("numbers", [{"keep_share": 0.0}, {"topic_cap": 0.5}, {"min_quality": -0.1}])
def test_shares_that_are_none_are_refused(numbers):
    with pytest.raises(ValueError, match=f"given {next(iter(numbers))}="):
        stage(**numbers)


TOPICS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=60)
SHARES = st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.75, 0.8, 1.0])


CAPS = st.sampled_from([1.0, 1.1, 1.5, 2.0, 5.0])


@given(TOPICS, SHARES, CAPS, st.integers(0, 20))
def test_invariants(rows, keep_share, topic_cap, minimum):
    cluster = np.asarray([topic for topic, _ in rows], np.int32)
    quality = np.asarray([score / 20 for _, score in rows], np.float32)
    enough = quality >= np.float32(minimum / 20)
    topics = max(1, len(set(cluster[enough])))
    found = verdicts(cluster, quality, keep_share, minimum / 20, topic_cap)
    kept, total = found == KEPT, int((found == KEPT).sum())
    assert enough[kept].all()
    assert total > 0 or not enough.any()
    largest = max((int((kept & (cluster == topic)).sum()) for topic in set(cluster)), default=0)
    for topic in set(cluster):
        mine = cluster == topic
        of_mine = int((kept & mine).sum())
        assert of_mine <= topic_cap / topics * total + 1e-6
        if not (found[mine] == OVER).any():
            wanted = int(np.ceil(round(keep_share * mine.sum(), 9)))
            assert of_mine == min(wanted, int((mine & enough).sum()))
        else:
            assert of_mine == largest
        ladder = [quality[mine & (found == verdict)] for verdict in (KEPT, OVER, BELOW)]
        ladder = [level for level in ladder if len(level)]
        assert all(better.min() >= worse.max() for better, worse in pairwise(ladder))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), CAPS)
def test_the_cap_takes_no_more_than_it_must(sizes, topic_cap):
    kept = np.asarray(sizes)
    share = topic_cap / max(1, np.count_nonzero(kept))
    fits = [n for n in range(kept.max() + 1) if n <= share * np.minimum(kept, n).sum() + 1e-9]
    assert largest_topic(kept, share) == max(fits)
