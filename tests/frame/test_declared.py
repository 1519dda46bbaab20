"""The stages of topics and quality declare what they import, so that what is missing is named before anything runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hare_ray.cli import EXTRAS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_stages_import_what_they_declare_and_nothing_else(tmp_path):
    words = [sys.executable, "-m", "tests.frame.declared", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "imported.jsonl").read_text().splitlines()]
    used = {one["stage"]: set(one["imported"]) & EXTRAS.keys() for one in lines}
    assert {"kmeans", "assign", "committee", "score", "label_clusters", "cluster_map"} <= used.keys()
    assert used == {one["stage"]: set(one["declared"]) for one in lines}
