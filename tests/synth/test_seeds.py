"""Seeds against a brute-force draw, over any layout in parts."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.engine import run
from hare_ray.priors.prompts import Kind
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Files, Make, Map, Table
from hare_ray.synth.seeds import Seeds, bounds_of, hashes_of, quotas_of

D1 = pa.schema([*DOCUMENT, pa.field("cluster", pa.int32())])


class Docs(Table):
    writes = D1


DOCS = Docs()


@dataclass
class Desk:
    """The interface of a Gather's desk, over parts in memory."""

    tables: list[pa.Table]
    written: dict[int, pa.Table] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)

    def parts(self, stage):
        return len(self.tables)

    def rows(self, stage):
        return [len(part) for part in self.tables]

    def read(self, stage, part, columns=None):
        self.columns |= set(columns)
        return self.tables[part].select(list(columns))

    def write(self, part, table):
        self.written[part] = table

    def map(self, function, items):
        return [function(item) for item in items]


def key(number):
    return xxhash.xxh3_128_digest(str(number).encode())


def stage(per_topic, total=None, salt="d2"):
    return Seeds(docs=DOCS, per_topic=per_topic, total=total, salt=salt)


def draw(ids, topics, sizes, per_topic, total=None, salt="d2"):
    """{id: turn} of the chosen."""
    edges = np.cumsum([0, *sizes])
    table = pa.table({"id": pa.array(ids, pa.binary(16)), "cluster": pa.array(topics, pa.int32())})
    desk = Desk([table.slice(edges[i], sizes[i]) for i in range(len(sizes))])
    stage(per_topic, total, salt).gather(desk)
    assert desk.columns <= {"id", "cluster"}
    assert [len(desk.written[part]) for part in range(len(sizes))] == list(sizes)
    rows = pa.concat_tables([Seeds.writes.empty_table(), *(desk.written[part] for part in range(len(sizes)))])
    assert rows.schema == Seeds.writes
    assert rows["chosen"].to_pylist() == rows["turn"].is_valid().to_pylist()
    return {ids[i]: turn for i, turn in enumerate(rows["turn"].to_pylist()) if turn is not None}


def by_hand(ids, topics, per_topic, salt="d2"):
    """The smallest hashes of every topic, in order."""
    members = defaultdict(list)
    for i, topic in zip(ids, topics, strict=True):
        members[topic].append((xxhash.xxh3_64_intdigest(i, xxhash.xxh3_64_intdigest(salt.encode())), i))
    return {i: turn for rows in members.values() for turn, (_, i) in enumerate(sorted(rows)[:per_topic])}


ROWS = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([None, 0, 1, 2, 7])), unique_by=lambda row: row[0])


@given(ROWS, st.integers(1, 6), st.lists(st.integers(0, 20), max_size=4), st.randoms())
@settings(max_examples=60, deadline=None)  # the first call imports
def test_the_smallest_hashes_of_every_topic_whatever_the_layout(rows, per_topic, cuts, random):
    expected = by_hand([key(n) for n, _ in rows], [topic for _, topic in rows], per_topic)
    random.shuffle(rows)
    ids, topics = [key(n) for n, _ in rows], [topic for _, topic in rows]
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    sizes = [0, *np.diff(edges).tolist()] if len(edges) > 1 else [len(rows)]
    assert draw(ids, topics, sizes, per_topic) == expected


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 20), st.integers(1, 200))
@settings(deadline=None)
def test_a_total_levels_the_topics_and_is_met(counts, per_topic, total):
    counts = np.array([count for count in counts if count], np.int64)
    topics = np.arange(len(counts), dtype=np.int32)
    quotas = quotas_of(topics, counts, per_topic, total, "d2")
    offered = np.minimum(counts, per_topic)
    assert quotas.sum() == min(total, offered.sum())
    assert np.all(quotas <= offered)
    less = quotas < offered  # who gives less than it could gives as much as anyone, but for a last round
    assert not less.any() or quotas.max() - quotas[less].min() <= 1


def test_topics_count_and_not_pages():
    topics = [0] * 3000 + [1] * 40 + [2] * 3
    ids = [key(n) for n in range(len(topics))]
    chosen = draw(ids, topics, [1500, 1543], per_topic=10)
    assert Counter(dict(zip(ids, topics, strict=True))[i] for i in chosen) == {0: 10, 1: 10, 2: 3}
    assert chosen == by_hand(ids, topics, 10)


def test_a_total_below_the_number_of_topics_takes_one_each_of_some():
    topics = list(range(50)) * 4
    ids = [key(n) for n in range(len(topics))]
    chosen = draw(ids, topics, [200], per_topic=3, total=20)
    assert Counter(Counter(topics[ids.index(i)] for i in chosen).values()) == {1: 20}
    assert set(chosen.values()) == {0}
    fewer = draw(ids, topics, [200], per_topic=3, total=10)
    assert set(fewer) < set(chosen)


def test_another_salt_draws_others():
    topics = [0] * 1000
    ids = [key(n) for n in range(1000)]
    one, two = (set(draw(ids, topics, [1000], 100, salt=salt)) for salt in ("d2", "d3"))
    assert len(one) == len(two) == 100
    assert len(one & two) < 30  # ten are expected, with a standard deviation of three


def test_exact_also_where_hashes_are_not_even():
    every = [key(n) for n in range(20_000)]
    high = [i for i, h in zip(every, hashes_of(every, "d2"), strict=True) if h > 2**62]
    topics = [3] * len(high)
    bound = bounds_of(np.array([len(high)]), np.array([2]), 1.0)
    assert not np.any(hashes_of(high, "d2") <= bound)  # the first round finds nobody
    assert draw(high, topics, [len(high)], 2) == by_hand(high, topics, 2)


def test_the_first_round_brings_few_more_than_the_quota():
    ids = [key(n) for n in range(50_000)]
    bound = bounds_of(np.array([50_000]), np.array([1000]), 1.0)
    assert 1000 <= np.count_nonzero(hashes_of(ids, "d2") <= bound) < 1400


def test_copies_of_one_id_are_chosen_together():
    ids = [key(n) for n in range(9)]
    last = max(by_hand(ids, [0] * 9, 9).items(), key=lambda item: item[1])[0]
    copies = [*ids, last, last]
    for sizes in ([11], [5, 6]):
        assert draw(copies, [0] * 11, sizes, 9) == by_hand(ids, [0] * 9, 9)


@pytest.mark.parametrize("sizes", [[60], [0, 1, 29, 30]])
def test_turns_of_each_kind_of_source_are_counted_by_themselves(sizes):
    ids, topics = [key(n) for n in range(60)], [n % 2 for n in range(60)]
    urls = [f"https://{'arxiv.org' if n % 3 else 'a.example'}/{n}" for n in range(60)]
    columns = {"id": pa.array(ids, pa.binary(16)), "cluster": pa.array(topics, pa.int32()), "url": urls}
    table = pa.table({**columns, "file": ["f"] * 60})
    edges = np.cumsum([0, *sizes])
    desk = Desk([table.slice(edges[i], sizes[i]) for i in range(len(sizes))])
    kinds = (Kind("academic", None, ("arxiv",)), Kind("web"))
    Seeds(docs=DOCS, per_topic=12, total=None, salt="d2", kinds=kinds).gather(desk)
    got = pa.concat_tables([desk.written[part] for part in range(len(sizes))])["turn"].to_pylist()
    plain = by_hand(ids, topics, 12)
    assert {ids[n] for n, turn in enumerate(got) if turn is not None} == set(plain)
    for topic in range(2):
        for academic in (True, False):
            own = [n for n in range(60) if n % 2 == topic and bool(n % 3) == academic and ids[n] in plain]
            assert [got[n] for n in sorted(own, key=lambda n: plain[ids[n]])] == list(range(len(own)))


def test_no_rows_are_no_trouble():
    assert draw([], [], [0, 0], 5) == {}
    assert draw([], [], [], 5) == {}
    for tables in ([], [D1.empty_table()]):
        Seeds(docs=DOCS, per_topic=1, total=None, salt="d2", kinds=(Kind("web"),)).gather(Desk(tables))


@pytest.mark.parametrize("numbers", [{"per_topic": 0}, {"per_topic": 1, "total": 0}])
def test_numbers_that_choose_nothing_are_refused(numbers):
    with pytest.raises(ValueError, match="expected at least 1 each"):
        stage(**numbers)


def test_documents_without_topics_are_refused():
    with pytest.raises(ValueError, match="has no column 'topic'"):
        Seeds(docs=DOCS, per_topic=1, total=None, salt="d3", topic="topic")


class Nothing(Make):
    def make(self, desk):
        for part in range(3):
            (desk.folder / f"part-{part}").write_text(str(part))
        return {}


class Numbered(Map):
    """Documents of two topics, as many as the number of their part tells."""

    files: Make
    writes = D1

    def prepare(self, files: Files):
        def made(splits: pa.Table) -> pa.Table:
            rows = [
                {"id": key(100 * part + n), "url": "u", "file": "f", "offset": 0, "text": "t", "cluster": n % 2}
                for part in [int(name[-1]) for name in splits["file"].to_pylist()]
                for n in range(6 * part)
            ]
            return pa.Table.from_pylist(rows, schema=pa.schema([*D1, REASON]))

        return made


def test_on_the_engine(tmp_path):
    docs = Numbered(files=Nothing())
    seeds = Seeds(docs=docs, per_topic=4, total=7, salt="d2")
    run(seeds, root=str(tmp_path))
    parts = [pq.read_table(path) for path in sorted((tmp_path / "seeds").glob("*/*.parquet"))]
    assert [len(part) for part in parts] == [0, 6, 12]
    ids = [key(100 * part + n) for part in range(3) for n in range(6 * part)]
    turns = [turn for part in parts for turn in part["turn"].to_pylist()]
    chosen = {i: turn for i, turn in zip(ids, turns, strict=True) if turn is not None}
    assert sorted(chosen.values()) == [0, 0, 1, 1, 2, 2, 3]
    assert chosen.items() <= by_hand(ids, [n % 2 for part in range(3) for n in range(6 * part)], 4).items()
