"""Nodes that go and come while it trains, on a cluster of several nodes on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.plans import metrics, plan, processes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

REPOSITORY = Path(__file__).parents[2]
STEPS = 100


def trained(what: str, folder: Path) -> dict:
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "token"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.on_cluster", what, str(folder)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=360,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_killed_node_changes_no_bit(tmp_path):
    result = trained("killed", tmp_path / "killed")
    assert result["restarts"] == 1
    (tmp_path / "calm").mkdir()
    assert [rank.wait(timeout=100) for rank in processes(tmp_path / "calm", 2, steps=STEPS)] == [0, 0]
    assert metrics(plan(tmp_path / "killed", steps=STEPS)) == metrics(plan(tmp_path / "calm", steps=STEPS))


@pytest.mark.parametrize(("what", "workers"), [("drained", [2, 1]), ("grown", [1, 2])])
def test_a_node_that_goes_with_notice_or_comes_costs_no_step_before_the_save(tmp_path, what, workers):
    """And as many workers go on as there are nodes."""
    result = trained(what, tmp_path / what)
    (first, before), (later, after) = result["groups"]
    assert (first, [before, after]) == (1, workers) and 1 < later < STEPS
    rows = metrics(plan(tmp_path / what, steps=STEPS))
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert rows[-1]["loss"] < 0.1
