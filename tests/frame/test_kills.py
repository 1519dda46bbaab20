"""A run that is killed and started again ends like one that was left alone, and does no committed part twice."""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from hare_ray.engine import Settings, run
from hare_ray.executor import Executor
from hare_ray.on_ray import OnRay
from hare_ray.store import Root
from tests.frame import drive
from tests.frame.graph import build, digest, halves, in_a_process, write_source

REPOSITORY = Path(__file__).parents[2]
SECONDS_TO_DIE = 20
"""How long a worker with a task may outlive its driver; most end at once, on a busy machine a little later."""
IDLE_SECONDS = 90
"""The same for the rest of Ray: agents, and workers about to start, try for 60 s to reach their head, dead as well."""
AGENTS = ("DashboardAgent", "RuntimeEnvAgent")


def two_workers(root: Root) -> Executor:
    return OnRay(root, 2)


def killed_at(step: int, root: Path, source: Path) -> int | None:
    """Exit code of a plain run that was to be killed at a step; 0 where it ended before that."""
    return in_a_process(drive.main, [str(root), str(source), "--die-at", str(step)])


def committed(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each file of a committed part."""
    found = {}
    for commit in root.rglob("part-*.json"):
        for path in commit.parent.glob(f"*-{commit.stem[5:]}.*"):
            found[str(path.relative_to(root))] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def partwise(files: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Only what passes commit: a gather starts over."""
    return {name: mark for name, mark in files.items() if name.split("/")[0] in ("clean", "unique", "share")}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "in", files=2, rows=3)


@pytest.mark.slow
def test_a_driver_killed_before_any_of_its_steps_is_continued(source, tmp_path):
    run(build(source), root=str(tmp_path / "calm"))
    calm = digest(tmp_path / "calm")
    step, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        step += 1
        root = tmp_path / f"killed-{step}"
        code = killed_at(step, root, source)
        assert not halves(root, calm), f"killed before step {step}"
        before = partwise(committed(root))
        run(build(source), root=str(root))
        assert digest(root) == calm, f"killed before step {step}"
        after = committed(root)
        assert {name: after[name] for name in before} == before, f"killed before step {step}"
    assert code == 0
    assert step > 40, "the run has more steps than that; the kills did not reach it"


@pytest.mark.parametrize("step", [4, 12, 25, 40])
def test_parts_of_a_killed_run_are_never_served_to_another_recipe(source, tmp_path, step):
    assert killed_at(step, tmp_path / "run", source) == -signal.SIGKILL
    other = build(source, min_chars=22)
    run(other, root=str(tmp_path / "calm"))
    run(other, root=str(tmp_path / "run"), settings=Settings(redo=("longer",)))
    assert digest(tmp_path / "run") == digest(tmp_path / "calm")


def test_parts_of_a_killed_run_stay_aside_where_no_manifest_vouched_for_them(source, tmp_path):
    assert killed_at(9, tmp_path / "run", source) == -signal.SIGKILL
    old = set(digest(tmp_path / "run"))
    assert any(name.startswith("clean/") for name in old)
    other = build(source, min_chars=22)
    run(other, root=str(tmp_path / "calm"))
    run(other, root=str(tmp_path / "run"))
    calm, now = digest(tmp_path / "calm"), digest(tmp_path / "run")
    assert {name: now[name] for name in calm} == calm
    assert set(now) - set(calm) <= old


def test_a_finished_stage_under_another_name_is_made_anew(source, tmp_path):
    root = tmp_path / "run"
    run(build(source), root=str(root))
    renamed = build(source, min_chars=22, prefix="strict_")
    run(renamed, root=str(root))
    run(renamed, root=str(tmp_path / "calm"))
    calm, now = digest(tmp_path / "calm"), digest(root)
    assert {name: now[name] for name in calm} == calm


def start_driver(root: Path, source: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.frame.drive", root, source, "--workers", 2, "--slow", 0.3]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "token"}
    with (source.parent / "driver.log").open("ab") as log:
        return subprocess.Popen([str(c) for c in command], env=environment, cwd=REPOSITORY, stdout=log, stderr=log)


def below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def still_alive(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that did not end by themselves in time."""
    end = time.monotonic() + seconds
    while (alive := [process for process in processes if lives(process)]) and time.monotonic() < end:
        time.sleep(0.1)
    return alive


def lives(process: psutil.Process) -> bool:
    """Whether the process runs; one that ended and was not asked for its status yet does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_driver_on_ray_killed_at_random_moments_is_continued_and_takes_ray_with_it(tmp_path):
    source = write_source(tmp_path / "in", files=12, rows=5)
    run(build(source), root=str(tmp_path / "calm"))
    root = tmp_path / "run"
    moments = random.Random(11)
    kept: dict[str, tuple[int, int]] = {}
    left: list[list[psutil.Process]] = []
    try:
        for _ in range(2):
            driver = start_driver(root, source)
            goal = len(list(root.rglob("part-*.json"))) + moments.randint(1, 6)
            while driver.poll() is None and len(list(root.rglob("part-*.json"))) < goal:
                time.sleep(0.02)
            time.sleep(moments.uniform(0, 0.3))
            assert driver.poll() is None, (tmp_path / "driver.log").read_text()
            processes = below(driver.pid)
            busy = [process for process in processes if task(process)]
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            left.append(processes)
            assert not still_alive(busy, SECONDS_TO_DIE)
            now = partwise(committed(root))
            assert {name: now[name] for name in kept} == kept
            kept = now
        assert start_driver(root, source).wait(timeout=120) == 0, (tmp_path / "driver.log").read_text()
        after = committed(root)
        assert {name: after[name] for name in kept} == kept
        assert digest(root) == digest(tmp_path / "calm")
        assert not still_alive(left[0], IDLE_SECONDS)
    finally:
        for process in itertools.chain.from_iterable(left):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_workers_killed_at_random_moments_change_nothing(tmp_path):
    source = write_source(tmp_path / "in", files=12, rows=5)
    run(build(source), root=str(tmp_path / "calm"))
    root = tmp_path / "run"
    moments = random.Random(5)
    driver = start_driver(root, source)
    kills = Counter[str]()
    while driver.poll() is None:
        working = [(p, what) for p in below(driver.pid) if (what := task(p))]
        # Ray gives up on a barrier after the fourth death; a part it tries for ever.
        working = [(p, what) for p, what in working if kills[what] < (6 if "MapBatches" in what else 2)]
        if working:
            process, what = moments.choice(working)
            process.kill()
            kills[what] += 1
        time.sleep(moments.uniform(0.2, 0.8))
    assert driver.returncode == 0, (tmp_path / "driver.log").read_text()
    assert kills.total() >= 5
    assert digest(root) == digest(tmp_path / "calm")


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def task(process: psutil.Process) -> str:
    """What a Ray worker works on, as its title says; nothing for idle ones, agents and Ray's own actors."""
    name = title(process)
    own = any(mark in name for mark in (*AGENTS, "ray::IDLE", "ray::_"))
    return name if name.startswith("ray::") and not own else ""
