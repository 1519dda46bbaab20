"""Labels of topics: planted words, brute force over rows, other layouts of the same rows."""

import json
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.cluster import Assign, LabelClusters
from hare_ray.cluster.label import OPENING_CHARACTERS, opening
from hare_ray.cluster.sources import NO_SOURCES, count_sources, largest, merged
from hare_ray.cluster.words import ranks, topic_words
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Annotate, Table
from tests.cluster import planted
from tests.cluster.planted import ASSIGN, DOCS, TOPICS, Docs, corpus, cut


class Score(Annotate):
    docs: Table
    writes = pa.schema([pa.field("quality", pa.float32(), nullable=False)])


SCORE = Score(docs=DOCS)


@dataclass
class Desk(planted.Desk):
    scratch: dict[str, bytes] = field(default_factory=dict)

    def put(self, name, data):
        self.scratch[name] = data

    def get(self, name):
        return self.scratch[name]


def desk_of(folder, docs, clusters, similarity=None, sizes=None, quality=None):
    """A desk with these rows, cut into parts."""
    clusters = np.asarray(clusters, np.int32)
    near = np.ones(len(clusters), np.float32) if similarity is None else np.asarray(similarity, np.float32)
    tables = {"docs": docs, "assign": pa.table([pa.array(clusters), pa.array(near)], schema=Assign.writes)}
    if quality is not None:
        tables["score"] = pa.table([pa.array(quality, pa.float32())], schema=Score.writes)
    sizes = sizes or (len(docs),)
    return Desk(folder, {name: cut(table, sizes) for name, table in tables.items()})


def documents(texts, titles=None, urls=None):
    rows = len(texts)
    return pa.table(
        {
            "id": [i.to_bytes(16) for i in range(rows)],
            "url": urls or [f"https://example.org/{i}" for i in range(rows)],
            "file": ["f"] * rows,
            "offset": list(range(rows)),
            "title": titles or [None] * rows,
            "text": texts,
        },
        schema=DOCUMENT,
    )


def labels(desk, scores=None, **numbers):
    given_numbers = {"words_per_label": 4, "nearest": 3, "documents_per_cluster": 25, **numbers}
    LabelClusters(docs=DOCS, clusters=ASSIGN, scores=scores, **given_numbers).make(desk)
    return json.loads((desk.folder / "labels.json").read_text())


def words(texts, topic=None, titles=None, wanted=4):
    topic = np.zeros(len(texts), np.int32) if topic is None else np.asarray(topic, np.int32)
    title, text = (pa.chunked_array([pa.array(x, pa.large_string())]) for x in (titles or [None] * len(texts), texts))
    return topic_words(title, text, topic, wanted)


@pytest.fixture
def desk(tmp_path):
    """Three planted topics in two parts."""
    made, _, _ = planted.run(tmp_path, (50, 70))
    return Desk(made.folder, made.tables, made.made)


def assigned(desk):
    table = pa.concat_tables(desk.tables["assign"])
    return table.column("cluster").to_numpy(), table.column("similarity").to_numpy()


def test_labels_hold_the_planted_words_and_no_common_ones(desk):
    topic, (found, _) = corpus()[2], assigned(desk)
    entries = {entry["cluster"]: entry for entry in labels(desk)}
    assert len(entries) == 3
    for number, (name, planted_words) in enumerate(TOPICS.items()):
        entry = entries[int(found[topic == number][0])]
        assert len(entry["words"]) == 4
        assert {part for term in entry["words"] for part in term.split()} <= {name, *planted_words}
        assert entry["label"] == ", ".join(entry["words"])
        assert entry["rows"] == 40


def test_the_nearest_documents_come_first_with_all_that_is_shown_of_them(desk):
    cluster, similarity = assigned(desk)
    docs = corpus()[0]
    for entry in labels(desk):
        mine = np.flatnonzero(cluster == entry["cluster"])
        nearest = mine[np.argsort(-similarity[mine], kind="stable")][:3].tolist()
        assert entry["ids"] == [i.to_bytes(16).hex() for i in nearest]
        assert entry["urls"] == [f"https://example.org/{i}" for i in nearest]
        assert entry["titles"] == [f"title {i}" for i in nearest]
        assert entry["openings"] == [docs["text"][i].as_py()[:200] for i in nearest]


def test_only_the_nearest_documents_are_read_for_words(tmp_path):
    docs = documents(["heron nests"] * 5 + ["otter swims"] * 20)
    desk = desk_of(tmp_path, docs, [0] * 25, similarity=[0.9] * 5 + [0.1] * 20, sizes=(3, 0, 22))
    (entry,) = labels(desk, documents_per_cluster=5)
    assert {part for term in entry["words"] for part in term.split()} == {"heron", "nests"}
    assert entry["rows"] == 25


def test_neither_parts_nor_groups_of_topics_change_facts_and_the_largest_comes_first(desk, monkeypatch):
    clusters = np.asarray([0] * 20 + [1] * 60 + [2] * 40, np.int32)
    quality = np.linspace(0, 1, 120)
    docs = corpus()[0]
    found = [
        labels(desk_of(desk.folder, docs, clusters, sizes=sizes, quality=quality), SCORE)
        for sizes in ((120,), (50, 70), (0, 1, 60, 0, 59))
    ]
    assert found[0] == found[1] == found[2]
    assert [entry["cluster"] for entry in found[0]] == [1, 2, 0]
    monkeypatch.setattr("hare_ray.cluster.label.GROUP_ROWS", 30)
    apart = labels(desk_of(desk.folder, docs, clusters, sizes=(50, 70), quality=quality), SCORE)
    without = ("words", "label")  # words are compared within a group
    assert [{k: v for k, v in e.items() if k not in without} for e in apart] == [
        {k: v for k, v in e.items() if k not in without} for e in found[0]
    ]
    assert all(len(entry["words"]) == 4 for entry in apart)


def test_quality_is_mean_and_deviation_and_null_without_scores(tmp_path):
    rng = np.random.default_rng(1)
    clusters, quality = rng.integers(0, 3, 90) * 2, rng.random(90).astype(np.float32)
    desk = desk_of(tmp_path, documents(["some text"] * 90), clusters, sizes=(40, 50), quality=quality)
    entries = labels(desk, SCORE)
    assert [entry["cluster"] for entry in entries] == sorted((0, 2, 4), key=lambda c: (-np.sum(clusters == c), c))
    for entry in entries:
        mine = quality[clusters == entry["cluster"]]
        assert entry["quality"]["mean"] == pytest.approx(mine.mean(), abs=1e-4)
        assert entry["quality"]["deviation"] == pytest.approx(mine.std(), abs=1e-4)
    assert all(entry["quality"] is None for entry in labels(desk))


def test_a_quality_that_is_no_number_is_refused(tmp_path):
    desk = desk_of(tmp_path, documents(["text"] * 3), [0] * 3, quality=[0.5, np.nan, 0.5])
    with pytest.raises(ValueError, match="1 of 3 rows in part 0 whose quality is no number"):
        labels(desk, SCORE)


def test_sources_are_hosts_else_files_largest_first(tmp_path):
    urls = ["https://www.A.org/x", "http://a.org:80/y", "https://u@b.org/z", "urn:1", "https://a.org", "file:///c/d"]
    desk = desk_of(tmp_path, documents(["text"] * 6, urls=urls), [0] * 6, sizes=(2, 4))
    (entry,) = labels(desk)
    assert entry["sources"] == [
        {"source": "a.org", "rows": 3},
        {"source": "f", "rows": 2},
        {"source": "b.org", "rows": 1},
    ]


def test_a_column_source_is_preferred():
    docs = documents(["text"] * 3).append_column("source", pa.array(["wiki", "wiki", "news"]))
    found = count_sources(docs, np.asarray([0, 0, 4], np.int32))
    assert largest(found, 0, 5) == [{"source": "wiki", "rows": 2}]
    assert largest(found, 4, 5) == [{"source": "news", "rows": 1}]
    assert largest(found, 2, 5) == []


@settings(max_examples=40)
@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcdefgh")), max_size=30), max_size=5))
def test_merged_sources_are_too_low_by_their_share_at_most(parts):
    keep, total = 3, NO_SOURCES.empty_table()
    for part in parts:
        docs = documents(["text"] * len(part)).append_column("source", pa.array([s for _, s in part], pa.string()))
        total = merged(total, count_sources(docs, np.asarray([c for c, _ in part], np.int32)), keep)
    true = Counter((cluster, source) for part in parts for cluster, source in part)
    found = {(row["cluster"], row["source"]): row["rows"] for row in total.to_pylist()}
    sizes = Counter(cluster for cluster, _ in true.elements())
    assert all(count <= keep for count in Counter(cluster for cluster, _ in found).values())
    for key, rows in true.items():
        assert rows - sizes[key[0]] // (keep + 1) <= found.get(key, 0) <= rows


def test_a_topic_without_words_gets_its_number(tmp_path):
    (entry,) = labels(desk_of(tmp_path, documents(["12 34", None, ""]), [7, 7, 7]))
    assert (entry["label"], entry["words"], entry["rows"]) == ("topic 7", [], 3)
    assert entry["openings"] == ["12 34", "", ""] or sorted(entry["openings"]) == ["", "", "12 34"]


def test_a_topic_of_one_document_is_named_by_it_and_an_empty_topic_is_not_listed(tmp_path):
    docs = documents(["the heron nests by the lake", *["ovens and flour"] * 4], ["Herons", *[None] * 4])
    entries = labels(desk_of(tmp_path, docs, [5, 2, 2, 2, 2], sizes=(1, 4)))
    assert [entry["cluster"] for entry in entries] == [2, 5]
    assert entries[1]["words"][0] in ("heron", "herons")
    assert entries[1]["rows"] == 1


def test_no_documents_at_all_give_no_labels(tmp_path):
    assert labels(desk_of(tmp_path, documents([]), [])) == []


def test_copies_of_one_record_beyond_what_is_read_are_still_a_topic(tmp_path):
    docs = documents(["heron lake"] * 8)
    docs = docs.set_column(0, DOCUMENT.field("id"), pa.array([b"0" * 16] * 8, pa.binary(16)))
    (entry,) = labels(desk_of(tmp_path, docs, [0] * 8), documents_per_cluster=4)
    assert (entry["label"], entry["rows"], entry["ids"]) == ("topic 0", 8, [])


def test_a_word_of_one_long_document_does_not_name_a_topic():
    assert words(["alice " * 50 + "river", "river. boat", "river. boat", "boat"])[0] == ["boat", "river"]


def test_singular_and_plural_are_one_word_as_most_write_it():
    assert words(["cats", "cats", "cat", "city", "cities. city", "city"], wanted=5)[0] == ["cats", "city"]
    assert words(["boxes", "box", "box", "glass", "glass", "glasses"], wanted=5)[0] == ["box", "glass"]


def test_neighbouring_words_are_one_term_where_they_say_more():
    texts = ["the world cup in spain", "a world cup", "world cup. spain", "new york", "new york", "york ham"]
    found = words(texts, [0, 0, 0, 1, 1, 1])
    assert found == {0: ["world cup", "spain"], 1: ["new york"]}


def test_no_pair_reaches_over_punctuation_or_a_function_word():
    terms = words(["oven. flour", "oven, flour", "oven of flour", "oven\n\nflour"])[0]
    assert sorted(terms) == ["flour", "oven"]


def test_markup_addresses_function_words_and_first_names_are_no_words():
    text = "<div class='x'>https://a.org/page me@b.org &nbsp; don't they're John's <b>heron</b> isn't"
    assert words([text] * 3)[0] == ["heron"]


def test_a_word_in_the_title_counts_more():
    texts = ["anchor zebra", "anchor zebra", "zebra. anchor"]
    assert words([t.replace(" ", ". ") for t in texts], wanted=1)[0] == ["anchor"]
    assert words([t.replace(" ", ". ") for t in texts], titles=["Zebra", None, None], wanted=1)[0] == ["zebra"]


def test_scores_agree_with_the_formula():
    rng = np.random.default_rng(2)
    vocabulary = ["heron", "otter", "badger", "beaver", "falcon", "salmon"]
    topic = rng.integers(0, 3, 60)
    texts = [". ".join(rng.choice(vocabulary, rng.integers(1, 5), p=np.roll([0.4, 0.3, 0.1, 0.1, 0.05, 0.05], 2 * t)))
             for t in topic]  # fmt: skip
    share = np.zeros((3, 6))
    for at, text in zip(topic, texts, strict=True):
        for word in set(text.split(". ")):
            share[at, vocabulary.index(word)] += 1 / (2 * np.sum(topic == at))
    score = share * np.log1p(3 / (0.3 + share.sum(axis=0)))
    for name, found in words(texts, topic, wanted=3).items():
        singles = ["".join(term) for term in found]
        assert singles == [vocabulary[i] for i in np.argsort(-score[name], kind="stable")[:3]]


def test_order_of_documents_does_not_change_words():
    docs, _, topic = corpus()
    texts = docs["text"].to_pylist()
    shuffled = np.random.default_rng(3).permutation(len(texts))
    assert words(texts, topic) == words([texts[i] for i in shuffled], topic[shuffled])


@given(st.lists(st.integers(0, 3), max_size=20))
def test_ranks_count_within_groups(groups):
    groups = sorted(groups)
    expected = [groups[:i].count(group) for i, group in enumerate(groups)]
    assert ranks(np.asarray(groups, np.int64)).tolist() == expected


@given(st.text(max_size=1200))
def test_an_opening_is_one_line_of_bounded_length(text):
    found = opening(text)
    assert len(found) <= OPENING_CHARACTERS
    assert found == " ".join(found.split())
    assert " ".join(text.split()).startswith(found)


def test_tables_of_other_documents_are_refused():
    with pytest.raises(ValueError, match="same base object"):
        LabelClusters(docs=Docs(), clusters=ASSIGN, words_per_label=1, nearest=1, documents_per_cluster=1)
    with pytest.raises(ValueError, match="same base object"):
        LabelClusters(
            docs=DOCS, clusters=ASSIGN, scores=Score(docs=Docs()),
            words_per_label=1, nearest=1, documents_per_cluster=1,
        )  # fmt: skip
