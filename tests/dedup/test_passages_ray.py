"""Passages on Ray: the same bytes as the plain loop, for any number of workers."""

import json
import random

import pytest

from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from tests.dedup.passage_stages import graph
from tests.frame.graph import digest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]


def test_the_number_of_workers_does_not_matter(tmp_path):
    draw = random.Random(2)
    pool = [f"this is line {n} of all the lines" for n in range(200)]
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    for name in range(5):
        texts = ["\n".join(draw.sample(pool, draw.randrange(1, 9))) for _ in range(30)]
        (crawl / f"{name}.txt").write_text("\n".join(json.dumps(text) for text in texts))
    run(*graph(crawl, 1, memory_bytes=100_000), root=str(tmp_path / "calm"))
    calm = digest(tmp_path / "calm")
    root = tmp_path / "on_ray"
    run(*graph(crawl, 1, memory_bytes=100_000), root=str(root), executor=lambda at: OnRay(at, 2))
    assert digest(root) == calm
