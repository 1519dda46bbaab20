"""Labels and prompts for titles on Ray: the same bytes as the plain loop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hare_ray.engine import run
from tests.cluster.titled import prompts

pytestmark = pytest.mark.ray

REPOSITORY = Path(__file__).parents[2]


def made(root: Path) -> dict[str, bytes]:
    """What the stages wrote, without the books."""
    files = [path for name in ("*.parquet", "labels.json") for path in root.rglob(name)]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_workers_make_the_same_bytes(tmp_path):
    run(prompts(tmp_path / "docs"), root=str(tmp_path / "plain"))
    command = [sys.executable, "-m", "tests.cluster.titled", str(tmp_path / "ray"), str(tmp_path / "docs")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = made(tmp_path / "ray")
    assert found == made(tmp_path / "plain")
    assert {name.split("/")[0] for name in found} >= {"label_clusters", "title_prompts"}
