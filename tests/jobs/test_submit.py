"""`ray job submit --working-dir . -- python jobs/hare.py --root ...` on two nodes with token authentication."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.jobs.two_nodes import SECOND, Nodes, may_unshare, two_nodes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
TOO_LARGE = 1 << 30
"""Bytes of a sparse file that Ray would refuse to upload."""


@pytest.fixture(scope="module")
def folder():
    made = Path(tempfile.mkdtemp(prefix="hare-", dir="/tmp"))  # pytest's own are too long for the names of sockets
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def tree(folder) -> Path:
    """A copy of the working tree, with an environment and runs that must stay at home."""
    copy = folder / "tree"
    ours = shutil.ignore_patterns("__pycache__")
    for name in ("hare_ray", "jobs", "tests/jobs"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ours)
    for name in (".gitignore", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, copy / name)
    for heavy in (".venv/lib/torch.so", ".venv-gpu/lib/torch.so", "runs/smoke/d1/part-00000.parquet"):
        (copy / heavy).parent.mkdir(parents=True)
        with (copy / heavy).open("wb") as file:
            file.truncate(TOO_LARGE)
    return copy


@pytest.fixture(scope="module")
def nodes(folder):
    with two_nodes(folder) as started:
        yield started


def hare(nodes: Nodes, tree: Path, root: str) -> subprocess.CompletedProcess[str]:
    return nodes.submit(tree, "python", "jobs/hare.py", "--scale", "smoke", "--root", root)


def test_the_code_travels_to_every_node_and_environments_and_runs_do_not(nodes, tree):
    done = nodes.submit(tree, "python", "-m", "tests.jobs.where")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("TOLD "))[5:])
    assert Path(told["python"]).parent == Path(sys.executable).parent
    assert {"jobs/hare.py", "hare_ray/engine.py", "hare_ray/priors/open_points.yaml"} <= set(told["files"])
    assert not [name for name in told["files"] if name.startswith((".venv", "runs"))]
    packages = told["packages"]
    assert len(packages) == 2
    assert SECOND in packages
    assert all("/working_dir_files/" in where for where in packages.values()), packages
    assert len(set(packages.values())) == 2  # each node has a copy of its own


@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_without_the_token_nothing_is_submitted(nodes, tree, tmp_path, mode):
    done = nodes.submit(tree, "python", "-c", "print('ran')", HOME=str(tmp_path), RAY_AUTH_MODE=mode)
    assert done.returncode != 0
    assert "ran" not in done.stdout.splitlines()
    assert "token" in done.stderr


def test_another_token_is_refused(nodes, tree):
    done = nodes.submit(tree, "python", "-c", "print('ran')", RAY_AUTH_TOKEN="0" * 64)
    assert done.returncode != 0
    assert "ran" not in done.stdout.splitlines()
    assert "AuthenticationError" in done.stderr


def test_a_relative_root_is_refused(nodes, tree):
    done = hare(nodes, tree, "runs/smoke")
    assert done.returncode == 1
    assert "the root 'runs/smoke' is relative and would land in the uploaded copy of the code; give an" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.skipif(not may_unshare(), reason="no mount namespaces here: no node can be made blind to a folder")
def test_a_root_that_a_node_does_not_see_is_an_error_that_names_the_node(nodes, tree):
    done = hare(nodes, tree, str(nodes.head_only / "run"))
    assert done.returncode == 1
    assert f"the root {nodes.head_only}/run is not visible on {SECOND}; expected a folder that every" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (nodes.head_only / "run" / "demo_crawl").exists()  # the first stage that does any work


def test_the_whole_method_runs_as_a_submitted_job(nodes, tree):
    root = nodes.shared / "run"
    done = hare(nodes, tree, str(root))
    assert done.returncode == 0, done.stdout[-3000:]
    assert "succeeded" in done.stdout
    for name in ("d1", "stage_2", "model", "evaluate"):
        assert json.loads((root / name / "manifest.json").read_bytes())["name"] == name
    assert (root / "report.html").stat().st_size > 0
    summary = json.loads(next((root / "stage_2").rglob("summary.json")).read_bytes())
    assert summary["workers"] == 2  # each takes a CPU and each node has one, so training went over both
