"""k-means, assignment, labels and map: brute force, planted topics, other layouts of the same rows."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hare_ray.cluster import Assign, ClusterMap, KMeans, LabelClusters, suggested_clusters
from hare_ray.cluster.cluster_map import POINT, project
from hare_ray.cluster.kmeans import stratified
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Annotate, Table

DIMENSIONS = 16
TOPICS = {
    "garden": ("soil", "seedlings", "compost", "pruning"),
    "orbit": ("satellite", "telescope", "gravity", "rocket"),
    "kitchen": ("oven", "flour", "saucepan", "simmer"),
}
FILLER = "the people often said that this year was different because many things had changed"


class Docs(Table):
    writes = DOCUMENT


class Vectors(Annotate):
    docs: Table

    def schema(self):
        return pa.schema([pa.field("embedding", pa.list_(pa.float16(), DIMENSIONS))])


@dataclass
class Desk:
    """The interface of a Gather's or Make's desk, over parts in memory."""

    folder: Path
    tables: dict[str, list[pa.Table]]
    made: dict[str, Path] = field(default_factory=dict)

    def parts(self, stage):
        return len(self.tables[stage.name])

    def rows(self, stage):
        return [len(part) for part in self.tables[stage.name]]

    def read(self, stage, part, columns=None):
        table = self.tables[stage.name][part]
        return table if columns is None else table.select(list(columns))

    def files(self, stage):
        return self.made[stage.name]

    def map(self, function, items):
        return [function(item) for item in items]


DOCS = Docs()
VECTORS = Vectors(docs=DOCS)
KMEANS = KMeans(embeddings=VECTORS, clusters=3, sample_rows=10_000, iterations=20, seed=1, spherical=True)
ASSIGN = Assign(embeddings=VECTORS, centroids=KMEANS)


def unit(matrix):
    return matrix / np.linalg.norm(matrix, axis=-1, keepdims=True)


def column(vectors):
    flat = pa.array(np.asarray(vectors, np.float16).ravel())
    return pa.table([pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)], schema=VECTORS.schema())


def cut(table, sizes):
    starts = np.cumsum([0, *sizes])
    assert starts[-1] == len(table)
    return [table.slice(start, size) for start, size in zip(starts[:-1], sizes, strict=True)]


def corpus(rows_per_topic=40):
    """Documents and vectors of three planted topics, mixed; and the topic of each row."""
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(3, DIMENSIONS)))
    topic = rng.permutation(np.repeat([0, 1, 2], rows_per_topic))
    vectors = unit(centres[topic] + 0.05 * rng.normal(size=(len(topic), DIMENSIONS)))
    names = list(TOPICS)
    texts = [f"{FILLER}. " + " ".join(rng.permutation([*TOPICS[names[t]], names[t]])) for t in topic]
    docs = pa.table(
        {
            "id": [i.to_bytes(16) for i in range(len(topic))],
            "url": [f"https://example.org/{i}" for i in range(len(topic))],
            "file": ["f"] * len(topic),
            "offset": list(range(len(topic))),
            "title": [f"title {i}" for i in range(len(topic))],
            "text": texts,
        },
        schema=DOCUMENT,
    )
    return docs, vectors, topic


def centroids(desk, stage=KMEANS):
    stage.make(desk)
    desk.made[stage.name] = desk.folder
    return np.load(desk.folder / "centroids.npy")


def run(tmp_path, sizes=(120,)):
    docs, vectors, topic = corpus()
    desk = Desk(tmp_path, {"docs": cut(docs, sizes), "vectors": cut(column(vectors), sizes)})
    centroids(desk)
    assign = ASSIGN.prepare(desk.files)
    desk.tables["assign"] = [assign(part) for part in desk.tables["vectors"]]
    return desk, vectors, topic


def test_planted_topics_are_found(tmp_path):
    desk, _, topic = run(tmp_path)
    found = desk.tables["assign"][0].column("cluster").to_numpy()
    pairs = set(zip(topic.tolist(), found.tolist(), strict=True))
    assert len(pairs) == 3
    assert {name for _, name in pairs} == {0, 1, 2}


def test_centroids_have_length_one_and_do_not_depend_on_the_parts(tmp_path):
    found = []
    for at, sizes in enumerate([(120,), (1, 60, 0, 59), (7, 50, 63)]):
        folder = tmp_path / str(at)
        folder.mkdir()
        run(folder, sizes)
        found.append((folder / "centroids.npy").read_bytes())
    assert found[0] == found[1] == found[2]
    loaded = np.load(tmp_path / "0" / "centroids.npy")
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(loaded, axis=1), 1, rtol=1e-6)


def test_more_clusters_than_rows_are_refused_with_a_proposal(tmp_path):
    vectors = column(unit(np.random.default_rng(0).normal(size=(40, DIMENSIONS))))
    stage = KMeans(embeddings=VECTORS, clusters=41, sample_rows=100, iterations=2, seed=0, spherical=True)
    with pytest.raises(ValueError, match=r"clusters=41 for 40 sampled of 40 rows.* 2 is a good number"):
        stage.make(Desk(tmp_path, {"vectors": [vectors]}))


def test_no_clusters_at_all_are_refused():
    with pytest.raises(ValueError, match="clusters=0"):
        KMeans(embeddings=VECTORS, clusters=0, sample_rows=1, iterations=1, seed=0, spherical=True)


@given(st.integers(0, 5000), st.integers(1, 6000), st.integers(0, 2**31 - 1))
def test_the_sample_is_spread_over_all_rows(rows, wanted, seed):
    sample = stratified(rows, wanted, seed)
    assert len(sample) == min(rows, wanted)
    edges = np.concatenate([[-1], sample, [rows]])
    assert (np.diff(edges) > 0).all()
    assert (np.diff(edges) <= 2 * -(-rows // wanted) + 1).all()


@pytest.mark.parametrize(("rows", "clusters"), [(1, 1), (100, 5), (400, 20), (1_000_000, 1000)])
def test_suggested_clusters_grow_as_the_square_root(rows, clusters):
    assert suggested_clusters(rows) == clusters


def test_assignment_equals_brute_force(tmp_path, monkeypatch):
    monkeypatch.setattr("hare_ray.cluster.assign.BLOCK_BYTES", 7 * 4 * 12)  # blocks of seven rows
    rng = np.random.default_rng(3)
    middle = unit(rng.normal(size=(12, DIMENSIONS))).astype(np.float32)
    np.save(tmp_path / "centroids.npy", middle)
    vectors = unit(rng.normal(size=(200, DIMENSIONS))).astype(np.float16)
    vectors[5] = 0
    found = ASSIGN.prepare(lambda stage: tmp_path)(column(vectors))
    expected = [[float(np.dot(v.astype(np.float64), c)) for c in middle] for v in vectors]
    np.testing.assert_array_equal(found.column("cluster").to_numpy(), np.argmax(expected, axis=1))
    np.testing.assert_allclose(found.column("similarity").to_numpy(), np.max(expected, axis=1), atol=1e-6)
    assert found.schema == Assign.writes
    assert found.column("cluster")[5].as_py() == 0
    assert found.column("similarity")[5].as_py() == 0


def test_similarity_is_a_cosine_whatever_the_rounding(tmp_path):
    vectors = unit(np.random.default_rng(4).normal(size=(50, DIMENSIONS))).astype(np.float16)
    middle = unit(vectors.astype(np.float64)).astype(np.float32)
    np.save(tmp_path / "centroids.npy", middle)
    products = (vectors.astype(np.float32) * middle).sum(axis=1)
    assert products.max() > 1
    found = ASSIGN.prepare(lambda stage: tmp_path)(column(vectors)).column("similarity").to_numpy()
    np.testing.assert_allclose(found, np.minimum(products, 1), atol=1e-6)
    assert found.max() == 1
    np.save(tmp_path / "centroids.npy", -middle[:1])
    opposite = ASSIGN.prepare(lambda stage: tmp_path)(column(vectors[:1] * np.float16(1.01)))
    assert opposite.column("similarity").to_pylist() == [-1]


def test_centroids_of_another_model_are_refused(tmp_path):
    np.save(tmp_path / "centroids.npy", np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="16 dimensions and centroids of 4"):
        ASSIGN.prepare(lambda stage: tmp_path)(column(np.ones((1, DIMENSIONS))))


def labels(desk, **numbers):
    given_numbers = {"words_per_label": 4, "nearest": 3, "documents_per_cluster": 25, **numbers}
    LabelClusters(docs=DOCS, clusters=ASSIGN, **given_numbers).make(desk)
    return json.loads((desk.folder / "labels.json").read_text())


def test_labels_hold_the_planted_words_and_no_common_ones(tmp_path):
    desk, _, topic = run(tmp_path, (50, 70))
    found = pa.concat_tables(desk.tables["assign"]).column("cluster").to_numpy()
    entries = {entry["cluster"]: entry for entry in labels(desk)}
    assert len(entries) == 3
    for number, (name, words) in enumerate(TOPICS.items()):
        entry = entries[int(found[topic == number][0])]
        assert set(entry["words"]) <= {name, *words}
        assert len(entry["words"]) == 4
        assert entry["label"] == ", ".join(entry["words"])
        assert entry["rows"] == 40


def test_labels_show_the_nearest_documents_first(tmp_path):
    desk, _, _ = run(tmp_path, (50, 70))
    assigned = pa.concat_tables(desk.tables["assign"])
    cluster, similarity = (assigned.column(name).to_numpy() for name in ("cluster", "similarity"))
    for entry in labels(desk):
        mine = np.flatnonzero(cluster == entry["cluster"])
        nearest = mine[np.argsort(-similarity[mine], kind="stable")][:3]
        assert entry["urls"] == [f"https://example.org/{i}" for i in nearest]
        assert entry["titles"] == [f"title {i}" for i in nearest]


def test_labels_do_not_depend_on_the_parts_and_come_largest_first(tmp_path):
    desk, _, _ = run(tmp_path, (50, 70))
    whole = Desk(tmp_path, {name: [pa.concat_tables(parts)] for name, parts in desk.tables.items()})
    clusters = np.asarray([0] * 20 + [1] * 60 + [2] * 40, np.int32)
    assigned = pa.table([pa.array(clusters), pa.array(np.ones(120, np.float32))], schema=Assign.writes)
    desk.tables["assign"], whole.tables["assign"] = cut(assigned, (50, 70)), [assigned]
    first = labels(desk)
    assert first == labels(whole)
    assert [entry["cluster"] for entry in first] == [1, 2, 0]


def test_a_topic_without_words_gets_its_number(tmp_path):
    docs = corpus(1)[0].set_column(5, "text", pa.array(["12 34", None, ""], pa.large_string()))
    assigned = pa.table([pa.array([7, 7, 7], pa.int32()), pa.array([1, 1, 1], pa.float32())], schema=Assign.writes)
    entries = labels(Desk(tmp_path, {"docs": [docs], "assign": [assigned]}))
    assert [(entry["label"], entry["words"], entry["rows"]) for entry in entries] == [("topic 7", [], 3)]


def test_a_word_of_one_long_document_does_not_name_a_topic(tmp_path):
    texts = ["alice " * 50 + "river", "river boat", "river boat", "boat"]
    docs = corpus(2)[0].slice(0, 4).set_column(5, "text", pa.array(texts, pa.large_string()))
    assigned = pa.table([pa.array([0] * 4, pa.int32()), pa.array([1] * 4, pa.float32())], schema=Assign.writes)
    (entry,) = labels(Desk(tmp_path, {"docs": [docs], "assign": [assigned]}))
    assert entry["words"] == ["boat", "river"]


def test_tables_of_other_documents_are_refused():
    with pytest.raises(ValueError, match="same base object"):
        LabelClusters(docs=Docs(), clusters=ASSIGN, words_per_label=1, nearest=1, documents_per_cluster=1)


def test_the_map_keeps_neighbours_and_is_the_same_every_time(tmp_path):
    desk, _, _ = run(tmp_path, (50, 70))
    stage = ClusterMap(docs=DOCS, embeddings=VECTORS, clusters=ASSIGN, max_rows=90, seed=5)
    assert stage.make(desk) == {"rows": 120, "drawn": 90}
    first = (tmp_path / "map.parquet").read_bytes()
    stage.make(desk)
    assert (tmp_path / "map.parquet").read_bytes() == first
    points = pq.read_table(tmp_path / "map.parquet")
    assert points.schema == POINT
    assigned = pa.concat_tables(desk.tables["assign"]).column("cluster")
    numbers = [int(url.rsplit("/", 1)[1]) for url in points.column("url").to_pylist()]
    clusters = points.column("cluster").to_numpy()
    assert clusters.tolist() == assigned.take(pa.array(numbers)).to_pylist()
    places = np.stack([points.column(axis).to_numpy() for axis in "xy"], axis=1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (clusters[apart.argmin(axis=1)] == clusters).mean() > 0.95


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 12])
def test_small_maps_are_finite(rows):
    points = project(np.random.default_rng(0).normal(size=(rows, DIMENSIONS)).astype(np.float32), 0)
    assert points.shape == (rows, 2)
    assert np.isfinite(points).all()


def test_equal_vectors_lie_in_one_place():
    assert not project(np.ones((40, DIMENSIONS), np.float32), 0).any()
