"""Select and Balance on Ray: the same bytes as the plain loop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hare_ray.engine import run
from tests.cluster import ranked
from tests.frame.graph import digest

pytestmark = pytest.mark.ray

REPOSITORY = Path(__file__).parents[2]


def test_workers_make_the_same_bytes(tmp_path):
    run(*ranked.graph(tmp_path / "docs"), root=str(tmp_path / "plain"))
    command = [sys.executable, "-m", "tests.cluster.ranked", str(tmp_path / "ray"), str(tmp_path / "docs")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = digest(tmp_path / "ray")
    assert found == digest(tmp_path / "plain")
    assert {name.split("/")[0] for name in found} >= {"select", "balance"}
