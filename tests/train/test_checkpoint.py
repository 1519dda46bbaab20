"""Checkpoints that are whole, and all the ways in which one is not."""

import json
import threading
from pathlib import Path

import fsspec
import pytest

from hare_ray.train.checkpoint import MANIFEST, Checkpoints, fetched, name_of, take
from hare_ray.train.settings import Ranks


def saved(checkpoints: Checkpoints, step: int) -> None:
    """Two ranks save together."""
    barrier, values = threading.Barrier(2), [None, None]

    def rank(number: int) -> None:
        def together(value):
            values[number] = value
            barrier.wait()
            found = list(values)
            barrier.wait()
            return found

        def write(folder: Path) -> None:
            (folder / "state").mkdir()
            (folder / "state" / f"rank-{number}.pt").write_bytes(bytes([step, number]) * 1000)

        checkpoints.save(step, {"targets": 10 * step}, write, Ranks(number, together))

    threads = [threading.Thread(target=rank, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture(params=["local", "memory"])
def checkpoints(request, tmp_path):
    if request.param == "memory":
        fsspec.filesystem("memory").rm("/", recursive=True)
    made = Checkpoints(str(tmp_path) if request.param == "local" else "memory://run/lasting", "fp")
    for step in (4, 8):
        saved(made, step)
    return made


def step_of(checkpoints: Checkpoints) -> int | None:
    newest = checkpoints.newest()
    return None if newest is None else newest["step"]


def test_the_newest_is_found_with_what_was_said_of_it(checkpoints):
    newest = checkpoints.newest()
    assert (newest["step"], newest["targets"]) == (8, 80)
    assert [entry["name"] for entry in newest["files"]] == ["state/rank-0.pt", "state/rank-1.pt"]
    folder = fetched(checkpoints.lasting, name_of(8))
    assert (folder / "state" / "rank-1.pt").read_bytes() == bytes([8, 1]) * 1000


def test_the_last_two_are_kept(checkpoints):
    saved(checkpoints, 12)
    assert checkpoints.steps() == [8, 12]


def test_a_truncated_file_sends_back_to_the_one_before(checkpoints):
    checkpoints.root.write(f"{name_of(8)}/state/rank-1.pt", bytes([8, 1]) * 900)
    assert step_of(checkpoints) == 4
    assert checkpoints.steps() == [4]


def test_a_changed_byte_is_seen(checkpoints):
    checkpoints.root.write(f"{name_of(8)}/state/rank-0.pt", bytes([8, 0]) * 999 + b"\x08\x01")
    assert step_of(checkpoints) == 4


@pytest.mark.parametrize("missing", [MANIFEST, "state/rank-0.pt"])
def test_without_manifest_or_file_it_does_not_count(checkpoints, missing):
    checkpoints.root.delete(f"{name_of(8)}/{missing}")
    assert step_of(checkpoints) == 4


def test_a_cut_off_manifest_does_not_count(checkpoints):
    data = checkpoints.root.read(f"{name_of(8)}/{MANIFEST}")
    checkpoints.root.write(f"{name_of(8)}/{MANIFEST}", data[:-20])
    assert step_of(checkpoints) == 4


def test_none_is_left_where_all_are_broken(checkpoints):
    for step in (4, 8):
        checkpoints.root.delete(f"{name_of(step)}/{MANIFEST}")
    assert step_of(checkpoints) is None


def test_that_of_another_stage_is_not_resumed(checkpoints):
    assert step_of(Checkpoints(checkpoints.lasting, "other")) is None


def test_a_file_of_an_unfinished_save_is_no_checkpoint(checkpoints):
    checkpoints.root.write(f"{name_of(12)}/state/rank-0.pt", b"half")
    assert step_of(checkpoints) == 8


def test_taking_leaves_the_original(checkpoints, tmp_path):
    take(checkpoints.lasting, name_of(8), tmp_path / "out" / "checkpoint")
    manifest = json.loads((tmp_path / "out" / "checkpoint" / MANIFEST).read_text())
    assert manifest["step"] == 8
    assert (tmp_path / "out" / "checkpoint" / "state" / "rank-0.pt").read_bytes() == bytes([8, 0]) * 1000
    assert step_of(checkpoints) == 8
