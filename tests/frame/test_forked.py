"""Several processes without Ray: the same bytes, and a process that dies ends the run, not its record for ever."""

from pathlib import Path

import pytest

from hare_ray.engine import FailedError, Settings, run
from hare_ray.executor import WorkerDiedError
from hare_ray.forked import Forked
from hare_ray.work import Limits
from tests.frame.graph import build, digest, reader, write_source


def double(item: int) -> int:
    return 2 * item


def refuse(item: int) -> int:
    if item == 3:
        raise ValueError(f"given {item}, expected less")
    return item


def die(item: int) -> int:
    import os

    os._exit(item)


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_processes_writes_the_same_bytes(tmp_path, workers):
    source = write_source(tmp_path / "in", files=5)
    run(build(source), root=str(tmp_path / "alone"))
    run(build(source), root=str(tmp_path / "forked"), executor=lambda root: Forked(workers))
    assert digest(tmp_path / "forked") == digest(tmp_path / "alone")


def test_a_map_keeps_the_order_and_raises_what_was_raised():
    mapper = Forked(2).mapper
    assert mapper(double, list(range(7))) == [double(item) for item in range(7)]
    with pytest.raises(ValueError, match="given 3, expected less"):
        mapper(refuse, list(range(5)))
    with pytest.raises(WorkerDiedError, match="the same command goes on"):
        mapper(die, [1, 2])


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="given 0 workers, expected at least 1"):
        Forked(0)


@pytest.mark.slow
def test_a_record_that_kills_is_found_by_running_again(tmp_path: Path):
    source = write_source(tmp_path / "in", files=3)
    with (source / "1.txt").open("a") as file:
        file.write("kill judge\n")
    limits = Limits(attempts=2, part_seconds=30, record_seconds=10, start_seconds=20)
    for _ in range(5):
        try:
            manifests = run(
                reader(source), root=str(tmp_path / "run"), settings=Settings(limits=limits),
                executor=lambda root: Forked(2),
            )  # fmt: skip
            break
        except FailedError as died:
            assert "the process died" in str(died)
    assert manifests["clean"]["books"]["dropped"].get("crashed") == 1
