"""k-means: planted topics, a reference, other layouts of the same rows, bad input."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.cluster import KMeans, suggested_clusters
from hare_ray.cluster.blocks import hashes_of
from hare_ray.cluster.gpu import nearest_by_faiss
from hare_ray.cluster.lloyd import cut as blocks_of_rows
from hare_ray.cluster.lloyd import here, lloyd, nearest, plus_plus
from hare_ray.cluster.sample import stratified
from hare_ray.cluster.two_level import shares
from tests.cluster.planted import DIMENSIONS, VECTORS, Desk, centroids, column, cut, run, unit


def kmeans(clusters, sample_rows=10_000, **other):
    numbers = {"iterations": 20, "seed": 1, "spherical": True, **other}
    return KMeans(embeddings=VECTORS, clusters=clusters, sample_rows=sample_rows, **numbers)


def planted(topics, rows, seed=0, noise=0.03):
    rng = np.random.default_rng(seed)
    topic = rng.integers(topics, size=rows)
    centres = unit(rng.normal(size=(topics, DIMENSIONS)))
    return unit(centres[topic] + noise * rng.normal(size=(rows, DIMENSIONS))), topic


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


def small_blocks(monkeypatch, rows):
    for module in ("lloyd", "blocks"):
        monkeypatch.setattr(f"hare_ray.cluster.{module}.BLOCK_ROWS", rows)


def test_blocks_in_the_scratch_give_the_bits_of_blocks_in_the_process(tmp_path, monkeypatch):
    small_blocks(monkeypatch, 50)
    vectors, _ = planted(20, 1000)
    vectors[::9] = 0
    vectors[50:100] = 0  # a whole block
    table = column(vectors)
    own, lent = (Desk(tmp_path / name, {"vectors": cut(table, (300, 0, 700))}) for name in ("own", "lent"))
    for desk, rows in ((own, 1000), (lent, 999)):
        monkeypatch.setattr("hare_ray.cluster.blocks.LOCAL_ROWS", rows)
        desk.folder.mkdir()
        books = kmeans(20).make(desk)
        assert books["zero"] == np.count_nonzero(~vectors.any(axis=1))
    assert not own.scratch
    assert len(lent.scratch) == 21
    assert (own.folder / "centroids.npy").read_bytes() == (lent.folder / "centroids.npy").read_bytes()


@pytest.mark.parametrize("spherical", [True, False])
def test_iterations_are_those_of_the_textbook(spherical, monkeypatch):
    small_blocks(monkeypatch, 64)
    vectors, _ = planted(6, 500, noise=0.4)
    half = vectors.astype(np.float16)
    start = half[:6].astype(np.float32)
    expected = start.astype(np.float64)
    for _ in range(4):
        apart = ((half[:, None].astype(np.float64) - expected) ** 2).sum(axis=2)
        mine = apart.argmin(axis=1)
        expected = np.stack([half[mine == k].astype(np.float64).mean(axis=0) for k in range(6)])
        expected = unit(expected) if spherical else expected
    fit = lloyd(here(blocks_of_rows(half), spherical), start, 4, spherical)
    np.testing.assert_allclose(fit.centroids, expected, atol=1e-5)
    assert fit.iterations == 4


def test_it_ends_when_no_row_moves(tmp_path):
    vectors, _ = planted(4, 300)
    books = kmeans(4, iterations=1000).make(Desk(tmp_path, {"vectors": [column(vectors)]}))
    assert books["iterations"] < 10
    assert books["moved"] == 0
    assert books["empty"] == 0


def test_an_empty_cluster_gets_half_of_the_widest():
    vectors = np.repeat(np.eye(DIMENSIONS)[:3], (10, 30, 5), axis=0).astype(np.float16)
    vectors[10:25, 5] = 0.2  # two groups
    vectors = unit(vectors).astype(np.float16)
    start = np.eye(DIMENSIONS, dtype=np.float32)[[0, 1, 2, 9]]
    start[3] = -start[:3].sum(axis=0)
    fit = lloyd(here([vectors], True), start, 20, True)
    assert fit.empty == 0
    cluster, _ = nearest(vectors.astype(np.float32), fit.centroids)
    assert sorted(np.bincount(cluster)) == [5, 10, 15, 15]


def test_a_cluster_whose_rows_cancel_each_other_keeps_its_direction():
    rows = np.array([[1, 0], [-1, 0]], np.float16)
    start = np.array([[0.6, 0.8]], np.float32)
    found = lloyd(here([rows], spherical=True), start, 5, spherical=True)
    np.testing.assert_array_equal(found.centroids, start)
    assert not lloyd(here([rows], spherical=False), start, 5, spherical=False).centroids.any()


def test_centroids_of_opposite_rows_have_length_one(tmp_path):
    vectors = np.eye(DIMENSIONS)[np.zeros(2, int)] * [[1], [-1]]
    desk = Desk(tmp_path, {"vectors": [column(vectors)]})
    assert np.linalg.norm(centroids(desk, kmeans(1)), axis=1).tolist() == [1]


def test_the_start_has_a_row_of_every_group():
    vectors = np.repeat(np.eye(DIMENSIONS, dtype=np.float32)[:8], 30, axis=0)
    chosen = plus_plus(vectors, 8, np.random.default_rng(0))
    assert len(np.unique(chosen, axis=0)) == 8
    assert plus_plus(vectors, 12, np.random.default_rng(0)).shape == (12, DIMENSIONS)


def test_rows_without_text_move_nothing(tmp_path):
    vectors, _ = planted(5, 400)
    both = np.concatenate([vectors, np.zeros((400, DIMENSIONS))])
    rows = np.random.default_rng(0).permutation(800)
    desk = Desk(tmp_path, {"vectors": [column(both[rows])]})
    books = kmeans(5).make(desk)
    assert books["zero"] == 400
    found = np.load(tmp_path / "centroids.npy")
    assert ((vectors @ found.T).max(axis=1) > 0.95).all()


def test_broken_vectors_are_refused_with_part_and_number(tmp_path):
    vectors, _ = planted(2, 60)
    vectors[[33, 40], 1] = np.nan
    desk = Desk(tmp_path, {"vectors": cut(column(vectors), (30, 30))})
    with pytest.raises(ValueError, match=r"Vectors\(vectors\), part 1.*vectors of 2 of 30 rows"):
        kmeans(2).make(desk)


def test_fewer_different_vectors_than_clusters(tmp_path):
    equal = np.tile(unit(np.ones(DIMENSIONS)), (200, 1))
    equal[:50] *= -1
    desk = Desk(tmp_path, {"vectors": [column(equal)]})
    with pytest.raises(ValueError, match="clusters=3 for 2 different vectors in 200 sampled"):
        kmeans(3).make(desk)
    books = kmeans(None).make(desk)
    assert (books["distinct"], books["clusters"], books["empty"]) == (2, 2, 0)
    np.testing.assert_allclose(np.sort(np.load(tmp_path / "centroids.npy")[:, 0]), [-0.25, 0.25], atol=1e-3)


def test_nothing_to_cluster_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows at all"):
        kmeans(None).make(Desk(tmp_path, {"vectors": [column(np.empty((0, DIMENSIONS)))]}))
    with pytest.raises(ValueError, match="40 sampled rows that are all zero"):
        kmeans(None).make(Desk(tmp_path, {"vectors": [column(np.zeros((40, DIMENSIONS)))]}))


def test_one_document_is_one_cluster(tmp_path):
    desk = Desk(tmp_path, {"vectors": [column(unit(np.ones((1, DIMENSIONS))))]})
    np.testing.assert_allclose(centroids(desk, kmeans(None)), [[0.25] * DIMENSIONS], atol=1e-3)


def test_more_clusters_than_rows_are_refused_with_a_proposal(tmp_path):
    vectors = column(unit(np.random.default_rng(0).normal(size=(40, DIMENSIONS))))
    with pytest.raises(ValueError, match=r"clusters=41 for 40 sampled of 40 rows.* 2 is a good number"):
        kmeans(41, 100).make(Desk(tmp_path, {"vectors": [vectors]}))


def test_no_clusters_at_all_are_refused():
    with pytest.raises(ValueError, match="clusters=0"):
        kmeans(0)


@given(st.integers(0, 5000), st.integers(1, 6000), st.integers(0, 2**31 - 1))
def test_the_sample_is_spread_over_all_rows(rows, wanted, seed):
    sample = stratified(rows, wanted, seed)
    assert len(sample) == min(rows, wanted)
    edges = np.concatenate([[-1], sample, [rows]])
    assert (np.diff(edges) > 0).all()
    assert (np.diff(edges) <= 2 * -(-rows // wanted) + 1).all()


@pytest.mark.parametrize(("rows", "clusters"), [(1, 1), (100, 5), (400, 20), (1_000_000, 1000), (10**8, 10_000)])
def test_suggested_clusters_grow_as_the_square_root(rows, clusters):
    assert suggested_clusters(rows) == clusters


def test_no_more_rows_are_read_than_clusters_need(tmp_path):
    vectors, _ = planted(2, 3000)
    assert kmeans(2).make(Desk(tmp_path, {"vectors": [column(vectors)]}))["sampled"] == 512
    assert kmeans(2, 100).make(Desk(tmp_path, {"vectors": [column(vectors)]}))["sampled"] == 100


@pytest.mark.parametrize("sizes", [(2000,), (700, 0, 1300)])
def test_two_levels_find_planted_topics(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr("hare_ray.cluster.kmeans.MOST_ON_ONE_LEVEL", 30)
    small_blocks(monkeypatch, 128)
    vectors, topic = planted(40, 2000)
    vectors[5::100] = 0
    desk = Desk(tmp_path, {"vectors": cut(column(vectors), sizes)})
    books = kmeans(60).make(desk)
    fine, coarse, offsets = (np.load(tmp_path / f"{name}.npy") for name in ("centroids", "coarse", "offsets"))
    assert len(fine) == offsets[-1] == books["clusters"] == 60
    assert len(coarse) == len(offsets) - 1 == books["cells"] == 7
    assert (np.diff(offsets) > 0).all()
    filled = vectors.any(axis=1)
    found = (vectors @ fine.T).argmax(axis=1)
    pure = sum(np.bincount(topic[filled & (found == k)], minlength=40).max() for k in range(60))
    assert pure / filled.sum() > 0.98
    np.testing.assert_allclose(np.linalg.norm(fine, axis=1), 1, rtol=1e-6)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12), st.data())
def test_shares_add_up_and_keep_to_their_bounds(cells, data):
    sizes = np.array([size for size, _ in cells])
    most = np.minimum(np.maximum([cap for _, cap in cells], 1), sizes)
    total = data.draw(st.integers(int(np.minimum(sizes, 1).sum()), int(most.sum())))
    given_out = shares(sizes, most, total)
    assert given_out.sum() == total
    assert (given_out <= most).all()
    assert (given_out >= np.minimum(sizes, 1)).all()


def test_shares_are_proportional():
    sizes = np.array([600, 300, 100])
    assert shares(sizes, sizes, 10).tolist() == [6, 3, 1]
    assert shares(sizes, np.array([600, 2, 100]), 10).tolist() == [7, 2, 1]
    with pytest.raises(ValueError, match="11 clusters"):
        shares(sizes, np.array([4, 3, 3]), 11)


def test_equal_rows_have_equal_hashes_and_others_do_not():
    vectors = np.random.default_rng(0).normal(size=(5000, DIMENSIONS)).astype(np.float16)
    assert len(np.unique(hashes_of(vectors))) == 5000
    again = np.concatenate([vectors, vectors])
    assert len(np.unique(hashes_of(again))) == 5000
    minus = np.zeros((2, DIMENSIONS), np.float16)
    minus[1] = -0.0
    assert len(np.unique(hashes_of(minus))) == 1


@pytest.mark.parametrize("spherical", [True, False])
def test_faiss_finds_the_same_centroids_as_the_product(spherical):
    rng = np.random.default_rng(0)
    vectors, centroids = (rng.normal(size=(rows, 24)).astype(np.float32) for rows in (500, 40))
    cluster, score = nearest(vectors, centroids, spherical)
    found, theirs = nearest_by_faiss(vectors, centroids, spherical, gpu=False)
    assert (found == cluster).all()
    np.testing.assert_allclose(theirs, score, rtol=1e-4, atol=1e-4)


def test_a_gpu_that_is_not_there_is_named():
    import faiss

    if hasattr(faiss, "StandardGpuResources"):
        pytest.skip("this faiss can use GPUs")
    asked = KMeans(embeddings=VECTORS, clusters=2, sample_rows=10, iterations=2, seed=1, spherical=True, gpus=1)
    assert asked.needs.gpus == 1
    assert asked.fingerprint == dataclasses.replace(asked, gpus=0).fingerprint
    with pytest.raises(ValueError, match="install faiss-gpu-cu12"):
        asked.make(None)
    with pytest.raises(ValueError, match="expected 0 or 1"):
        dataclasses.replace(asked, gpus=2)
