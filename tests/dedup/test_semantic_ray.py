"""Semantic duplicates on Ray: the same bytes as the plain loop in one process."""

import json

import numpy as np
import pytest

from hare_ray.dedup.semantic_steps import bytes_per_row
from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from tests.dedup.semantic_ray import graph
from tests.frame.graph import digest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]

DIMENSIONS = 8


def test_the_number_of_workers_does_not_matter(tmp_path):
    """Four files of 60 documents in three clusters that no task can hold; every third is an edit of another."""
    draw = np.random.default_rng(3)
    vectors = draw.standard_normal((240, DIMENSIONS))
    vectors[2::3] = vectors[1::3] + 0.2 * vectors[2::3]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    lines = [json.dumps({"cluster": n // 3 % 3, "vector": vector.tolist()}) for n, vector in enumerate(vectors)]
    for number in range(4):
        (crawl / f"{number}.txt").write_text("\n".join(lines[number::4]))
    stages = graph(crawl, DIMENSIONS, memory_bytes=50 * bytes_per_row(DIMENSIONS))
    run(*stages, root=str(tmp_path / "calm"))
    calm = digest(tmp_path / "calm")
    manifest = json.loads((tmp_path / "calm" / "semantic_duplicates" / "manifest.json").read_text())
    assert manifest["books"]["reasons"]["semantic_duplicate"] >= 80
    run(*stages, root=str(tmp_path / "on_ray"), executor=lambda at: OnRay(at, 2))
    assert digest(tmp_path / "on_ray") == calm
