"""Assignment: brute force, two levels, rows without text, broken vectors."""

import numpy as np
import pytest

from hare_ray.cluster import Assign
from hare_ray.cluster.assign import Cells
from tests.cluster.planted import ASSIGN, DIMENSIONS, column, unit


def test_assignment_equals_brute_force(tmp_path, monkeypatch):
    monkeypatch.setattr("hare_ray.cluster.lloyd.PRODUCT_ROWS", 7)
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


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_broken_vectors_are_refused_with_their_number(tmp_path, broken):
    np.save(tmp_path / "centroids.npy", np.ones((3, DIMENSIONS), np.float32))
    vectors = np.ones((9, DIMENSIONS), np.float16)
    vectors[[2, 7], 3] = broken
    with pytest.raises(ValueError, match=r"Vectors\(vectors\).*NaN or infinite numbers in the vectors of 2 of 9 rows"):
        ASSIGN.prepare(lambda stage: tmp_path)(column(vectors))


def test_a_part_without_rows_stays_one(tmp_path):
    np.save(tmp_path / "centroids.npy", np.ones((3, DIMENSIONS), np.float32))
    assign = ASSIGN.prepare(lambda stage: tmp_path)
    assert assign(column(np.empty((0, DIMENSIONS)))) == Assign.writes.empty_table()


def cells(rng, count=9, each=6):
    coarse = unit(rng.normal(size=(count, DIMENSIONS))).astype(np.float32)
    sizes = rng.integers(1, 2 * each, count)
    fine = unit(np.repeat(coarse, sizes, axis=0) + 0.3 * rng.normal(size=(sizes.sum(), DIMENSIONS)))
    return coarse, np.concatenate([[0], np.cumsum(sizes)]), fine.astype(np.float32)


def test_all_cells_probed_are_brute_force_and_fewer_are_nearly():
    rng = np.random.default_rng(5)
    coarse, offsets, fine = cells(rng)
    vectors = unit(fine[rng.integers(len(fine), size=500)] + 0.1 * rng.normal(size=(500, DIMENSIONS)))
    vectors = vectors.astype(np.float32)
    both = Cells(coarse, offsets, fine)
    expected = vectors @ fine.T
    cluster, score = both.nearest(vectors, probed=9)
    np.testing.assert_array_equal(cluster, expected.argmax(axis=1))
    np.testing.assert_allclose(score, expected.max(axis=1), atol=1e-6)
    fewer, _ = both.nearest(vectors, probed=3)
    assert 0.95 < (fewer == cluster).mean() < 1


def test_two_levels_are_read_from_the_files_and_rows_without_text_go_to_the_first(tmp_path):
    coarse, offsets, fine = cells(np.random.default_rng(6))
    for name, array in (("coarse", coarse), ("offsets", offsets), ("centroids", fine)):
        np.save(tmp_path / f"{name}.npy", array)
    vectors = np.concatenate([fine, np.zeros((2, DIMENSIONS))]).astype(np.float16)
    found = ASSIGN.prepare(lambda stage: tmp_path)(column(vectors))
    np.testing.assert_array_equal(found.column("cluster").to_numpy(), [*range(len(fine)), 0, 0])
    assert found.column("similarity").to_pylist()[-2:] == [0, 0]
