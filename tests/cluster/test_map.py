"""The map of documents: neighbours, repeatability, samples too small for neighbourhoods."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hare_ray.cluster import ClusterMap
from hare_ray.cluster.cluster_map import POINT, project
from tests.cluster.planted import ASSIGN, DIMENSIONS, DOCS, VECTORS, run


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
