"""The same bytes whatever does the work: the plain loop, Ray with any number of workers, pools of actors."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hare_ray.engine import FailedError, Settings, checked_root, run
from hare_ray.executor import Executor
from hare_ray.manifest import load_all
from hare_ray.on_ray import OnRay
from hare_ray.stage import Needs
from hare_ray.store import Root
from tests.frame.graph import build, digest, lines, reader, write_source

REPOSITORY = Path(__file__).parents[2]


def two_workers(root: Root) -> Executor:
    return OnRay(root, 2)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_source(tmp_path_factory.mktemp("crawl") / "in", files=6, rows=8)


@pytest.fixture(scope="module")
def calm(source, tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("calm") / "run"
    run(build(source), root=str(root))
    return digest(root)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_in_which_files_were_made_and_their_place_change_nothing(calm, tmp_path, seed):
    shuffled = write_source(tmp_path / f"elsewhere-{seed}", files=6, rows=8, shuffle=seed)
    run(build(shuffled), root=str(tmp_path / "run"))
    assert digest(tmp_path / "run") == calm


def test_what_a_run_says_of_itself_names_no_folder_of_this_machine(source, tmp_path):
    run(build(source), root=str(tmp_path / "run"))
    for path in (tmp_path / "run").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert str(source) not in path.read_text()


def broken(folder: Path) -> Path:
    source = write_source(folder, files=6, rows=8)
    (source / "0003.txt").write_text("\n".join([*lines(3, 8), "raise judge"]))
    return source


def check_repair(tmp_path: Path, executor) -> None:
    """One part fails with an ordinary exception; the others stay, and only it is done after the repair."""
    source = broken(tmp_path / "in")
    graph = reader(source)
    with pytest.raises(FailedError, match=r"(?s)clean.*1 of 6 parts.*part 3.*ValueError: a fault of the stage"):
        run(graph, root=str(tmp_path / "run"), executor=executor)
    done = {path.name: path.stat().st_ino for path in (tmp_path / "run").rglob("part-*.*")}
    assert {name[:10] for name in done} == {f"part-0000{part}" for part in (0, 1, 2, 4, 5)}
    assert not (tmp_path / "run" / "clean" / "manifest.json").exists()
    # The same graph object: its listing stands, so the mended file passes for the one that was listed.
    (source / "0003.txt").write_text("\n".join([*lines(3, 8), "bears judge"]))
    run(graph, root=str(tmp_path / "run"), executor=executor)
    after = {path.name: path.stat().st_ino for path in (tmp_path / "run").rglob("part-*.*")}
    assert {name: after[name] for name in done} == done
    assert len(after) == 12


def test_a_part_that_raises_fails_alone_and_is_all_that_is_left_to_do(tmp_path):
    check_repair(tmp_path, None)


def test_parts_that_raise_are_not_taken_for_poison_however_often_they_are_tried(tmp_path):
    graph = reader(broken(tmp_path / "in"))
    for _ in range(5):
        with pytest.raises(FailedError, match="ValueError: a fault of the stage"):
            run(graph, root=str(tmp_path / "run"))
    assert not [path for path in (tmp_path / "run").rglob("*") if "attempts" in path.parts and path.is_file()]


def test_a_relative_root_is_refused_in_a_submitted_job(monkeypatch, source):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ValueError, match=r"'runs/demo' is relative.*absolute path"):
        run(build(source), root="runs/demo")
    assert checked_root("/runs/demo") == "/runs/demo"
    assert checked_root("s3://bucket/demo") == "s3://bucket/demo"
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR")
    assert checked_root("runs/demo") == str(Path("runs/demo").absolute())


def drive(root: Path, source: Path, workers: int, **variables: str) -> None:
    command = [sys.executable, "-m", "tests.frame.drive", str(root), str(source), "--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_four_ray_workers_make_the_same_bytes(source, calm, tmp_path):
    home = tmp_path / "home"  # without a token of earlier runs
    home.mkdir()
    drive(tmp_path / "run", source, 4, HOME=str(home))
    assert digest(tmp_path / "run") == calm
    if os.environ.get("RAY_AUTH_MODE", "token") == "token":
        assert (home / ".ray" / "auth_token").is_file(), "Ray was started without a token: its ports run code"


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_two_workers_in_this_process_make_the_same_bytes(source, calm, tmp_path):
    """Parts, rebalanced parts, and gathers that map over items and keep scratch objects."""
    run(build(source), root=str(tmp_path / "run"), executor=two_workers)
    assert digest(tmp_path / "run") == calm


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cpus", [1, 0.5], ids=["joined", "apart"])
@pytest.mark.parametrize("pool", ["longer", "lines"])
def test_a_pool_of_actors_in_a_pass_makes_the_same_bytes(source, calm, tmp_path, pool, cpus):
    """Ray Data joins operators of equal needs; with half a core the pool is an operator of its own."""
    settings = Settings(needs={pool: Needs(cpus=cpus, actors=1)})
    run(build(source), root=str(tmp_path / "run"), settings=settings, executor=two_workers)
    assert digest(tmp_path / "run") == calm


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_part_that_raises_on_ray_fails_alone_and_is_all_that_is_left_to_do(tmp_path):
    check_repair(tmp_path, two_workers)


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_part_that_raises_before_a_pool_of_actors_is_named(tmp_path):
    settings = Settings(needs={"clean": Needs(actors=1)})
    with pytest.raises(FailedError, match=r"(?s)1 of 6 parts.*part 3.*a fault of the stage"):
        run(
            reader(broken(tmp_path / "in")),
            root=str(tmp_path / "run"),
            settings=settings,
            executor=two_workers,
        )


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_thousand_small_parts_stay_a_thousand(tmp_path, record_property):
    """Ray Data joins small blocks where it may; a step refuses a block of two parts."""
    source = write_source(tmp_path / "in", files=1000, rows=1)
    run(reader(source), root=str(tmp_path / "plain"))
    OnRay(Root(str(tmp_path)), 2)
    began = time.perf_counter()
    run(reader(source), root=str(tmp_path / "run"), executor=two_workers)
    record_property("seconds_per_part", (time.perf_counter() - began) / 1000)
    assert len(load_all(Root(str(tmp_path / "run")))["clean"]["parts"]) == 1000
    assert digest(tmp_path / "run") == digest(tmp_path / "plain")


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_several_nodes_make_the_same_bytes_and_a_root_they_do_not_share_is_refused(source, calm, tmp_path):
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tests.frame.on_cluster", str(tmp_path), str(source)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "shared root: done" in done.stdout
    assert digest(tmp_path / "run") == calm
    assert "own root: the root /proc/self/cwd/run is not visible on" in done.stdout
