"""The request cache on Ray: its tasks travel."""

import pytest

from hare_ray.engine import Settings, run
from hare_ray.on_ray import OnRay
from hare_ray.synth import cache
from tests.synth.test_cache import EDITED, cut, expected, lines, prompts, texts
from tests.synth.upper import Upper

__all__ = ["lines"]

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("bucket_bytes", [1 << 20, 700])
def test_answers_are_found_and_fetched_by_tasks(lines, tmp_path, monkeypatch, bucket_bytes):
    root, new = tmp_path / "run", tmp_path / "new"
    run(Upper(prompts=prompts(lines)), root=str(root))
    monkeypatch.setattr(cache, "Join", cut(bucket_bytes))
    stage = Upper(prompts=prompts(lines, EDITED))
    made = run(stage, root=str(new), settings=Settings(reuse=str(root)), executor=lambda root: OnRay(root, 2))
    assert texts(new, stage) == expected(stage)
    assert made["upper"]["books"]["reused"] == 12
