"""k-means on Ray: the centroids and assignments of the plain loop, byte for byte, for one worker and for two."""

import json

import numpy as np
import pytest
import ray

from hare_ray.cluster.blocks import LOCAL_ROWS
from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from hare_ray.stage import Source
from tests.cluster.kmeans_ray import graph
from tests.frame.graph import digest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]

CLUSTERS = 70
ROWS = LOCAL_ROWS + 1000
"""Two blocks, and every row is sampled."""


def test_the_number_of_workers_does_not_matter(tmp_path):
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    numbers = np.random.default_rng(0).permutation(ROWS).astype(str)
    for part, some in enumerate(np.array_split(numbers, 3)):
        (crawl / f"{part}.txt").write_text("\n".join(some))
    stages = graph(Source(label="crawl", location=str(crawl), part_bytes=1), CLUSTERS)
    run(*stages, root=str(tmp_path / "plain"))
    plain = digest(tmp_path / "plain")
    books = json.loads((tmp_path / "plain" / "kmeans" / "manifest.json").read_text())["books"]
    assert books["sampled"] == ROWS
    for workers in (1, 2):
        ray.shutdown()  # a process has one Ray of one size
        run(*stages, root=str(tmp_path / str(workers)), executor=lambda at, workers=workers: OnRay(at, workers))
        assert digest(tmp_path / str(workers)) == plain
