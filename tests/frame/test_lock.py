"""One driver per root: a second is refused while the first lives, and let in when it is dead."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hare_ray.engine import run
from hare_ray.lock import LockedError, only_driver
from hare_ray.store import ASIDE, Root
from tests.frame.graph import build, write_source

REPOSITORY = Path(__file__).parents[2]
HOLD = """
import sys, time
from hare_ray.lock import only_driver
from hare_ray.store import Root
with only_driver(Root(sys.argv[1])):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the root `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0]
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_driver_is_refused_and_told_who_the_first_is(holder, tmp_path):
    graph = build(write_source(tmp_path / "in", files=1, rows=2))
    with pytest.raises(LockedError, match=rf"process {holder.pid} on .*--root"):
        run(graph, root=str(tmp_path / "run"))
    assert not list((tmp_path / "run").rglob("*.json"))


def test_the_root_is_free_once_its_driver_was_killed(holder, tmp_path):
    graph = build(write_source(tmp_path / "in", files=1, rows=2))
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert "share" in run(graph, root=str(tmp_path / "run"))


def test_a_run_inside_a_run_of_the_same_root_is_refused_and_another_root_is_not(tmp_path):
    with only_driver(Root(str(tmp_path / "run"))):
        with pytest.raises(LockedError, match=f"process {os.getpid()} "), only_driver(Root(str(tmp_path / "run"))):
            pass
        with only_driver(Root(str(tmp_path / "other"))):
            pass


def test_the_lock_names_the_driver_that_holds_it_now(holder, tmp_path):
    holder.kill()
    holder.wait()
    with only_driver(Root(str(tmp_path / "run"))):
        assert json.loads((tmp_path / "run" / ".lock").read_text())["pid"] == os.getpid()


def test_what_a_killed_driver_was_writing_is_removed(tmp_path):
    aside = tmp_path / "run" / ASIDE
    aside.mkdir(parents=True)
    (aside / "half").write_bytes(b"half a part")
    with only_driver(Root(str(tmp_path / "run"))):
        assert not aside.exists()
        Root(str(tmp_path / "run")).write("name", b"whole")
    assert not aside.exists()
    assert (tmp_path / "run" / "name").read_bytes() == b"whole"
