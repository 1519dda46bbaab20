"""Checkpoints that are whole, and all the ways in which one is not."""

import json
import logging
import threading
import time

import pytest
import torch

from hare_ray.train.checkpoint import FOLDER, MANIFEST, Checkpoints, rank_file
from hare_ray.train.saving import Saver
from hare_ray.train.settings import Plan, Ranks
from hare_ray.train.stored import Stored, take
from tests.train.plans import plan


def tensors(step: int, rank: int) -> dict[str, torch.Tensor]:
    """What a rank owns."""
    return {
        f"weights/layer.{rank}": torch.full((3, 2), step + rank / 10),
        f"exp_avg/layer.{rank}": torch.arange(4.0) + step,
        **({"updates": torch.tensor(step), "empty": torch.empty(0)} if rank == 0 else {}),
    }


def saver(checkpoints: Checkpoints, made: Plan, rank: int, attempt: str = "aaaaaaaa") -> Saver:
    return Saver(made, Ranks(rank, 2, lambda value: [value]), checkpoints, attempt)


def saved(checkpoints: Checkpoints, made: Plan, step: int, attempt: str = "aaaaaaaa") -> None:
    """Two ranks save together."""
    savers = [saver(checkpoints, made, rank, attempt) for rank in (0, 1)]
    for rank, each in enumerate(savers):
        each.save(step, {"targets": 10 * step}, tensors(step, rank))
    for each in reversed(savers):
        each.wait()
        each.close()


@pytest.fixture
def made(tmp_path) -> Plan:
    return plan(tmp_path / "plan")


@pytest.fixture(params=["local", "memory"])
def checkpoints(request, tmp_path, made):
    found = Checkpoints(
        {"local": f"{tmp_path}/lasting", "memory": f"memory:/{tmp_path}/lasting"}[request.param], "f" * 64
    )
    for step in (4, 8):
        saved(found, made, step)
    return found


def step_of(checkpoints: Checkpoints) -> int | None:
    newest = checkpoints.newest()
    return None if newest is None else newest[1]["step"]


def of_step(checkpoints: Checkpoints, step: int) -> str:
    (name,) = (name for name in checkpoints.names() if f"{step:08d}" in name)
    return name


def test_the_newest_is_found_and_gives_every_tensor(checkpoints):
    name, manifest = checkpoints.newest()
    assert (manifest["step"], manifest["targets"]) == (8, 80)
    stored = Stored.opened(f"{checkpoints.lasting}/{name}")
    expected = {**tensors(8, 0), **tensors(8, 1)}
    assert stored.names() == sorted(expected)
    assert all(torch.equal(stored.read(name), tensor) for name, tensor in expected.items())
    assert all(stored.read(name).dtype == tensor.dtype for name, tensor in expected.items())
    with pytest.raises(ValueError, match="without weights/other"):
        stored.read("weights/other")


def test_safetensors_reads_what_is_written(checkpoints, tmp_path):
    from safetensors.torch import load_file

    take(checkpoints.lasting, of_step(checkpoints, 8), tmp_path / "copy")
    state = load_file(tmp_path / "copy" / "weights-00001-of-00002.safetensors")
    assert torch.equal(state["weights/layer.1"], tensors(8, 1)["weights/layer.1"])
    moments = load_file(tmp_path / "copy" / "moments-00000-of-00002.safetensors")
    assert (int(moments["updates"]), moments["empty"].shape) == (8, (0,))


def test_all_weights_go_to_one_file_under_the_names_of_parameters(checkpoints, tmp_path):
    from safetensors.torch import load_file

    Stored.opened(f"{checkpoints.lasting}/{of_step(checkpoints, 8)}").weights(tmp_path / "weights.safetensors")
    state = load_file(tmp_path / "weights.safetensors")
    assert sorted(state) == ["layer.0", "layer.1"]
    assert torch.equal(state["layer.1"], tensors(8, 1)["weights/layer.1"])


def test_the_last_two_are_kept(checkpoints, made):
    saved(checkpoints, made, 12)
    assert [name.split("-")[1] for name in checkpoints.names()] == ["00000008", "00000012"]


FILE = "weights-00001-of-00002.safetensors"

DAMAGED = {
    "empty manifest": b"",
    "zeros": b"\0" * 99,
    "more zeros": b"\0" * 100,
    "no text": b"\xff\xfe{",
    "no facts": b"{}",
    "a list": b"[]",
    "nothing": b"null",
    "no list of files": b'{"step": 8, "fingerprint": "f", "files": 1}',
    "no files": b'{"step": 8, "fingerprint": "f", "files": [1, {"name": "a"}]}',
}
"""How -> what stands in the manifest."""


def torn(checkpoints: Checkpoints, how: str) -> str:
    """Damage the newest; what the warning must name."""
    place, root = of_step(checkpoints, 8), checkpoints.root
    data = root.read(f"{place}/{FILE}")
    if how == "truncated":
        root.write(f"{place}/{FILE}", data[:-5])
    elif how == "changed byte":
        root.write(f"{place}/{FILE}", data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "missing file":
        root.delete(f"{place}/{FILE}")
    elif how == "cut manifest":
        root.write(f"{place}/{MANIFEST}", root.read(f"{place}/{MANIFEST}")[:-20])
        return MANIFEST
    elif how in DAMAGED:
        root.write(f"{place}/{MANIFEST}", DAMAGED[how])
        return MANIFEST
    else:
        root.delete(f"{place}/{MANIFEST}")
        return MANIFEST
    return FILE


@pytest.mark.parametrize("how", ["truncated", "changed byte", "missing file", "cut manifest", "no manifest", *DAMAGED])
def test_a_torn_one_is_left_out_with_a_warning_and_removed(checkpoints, how, caplog):
    named = torn(checkpoints, how)
    place = of_step(checkpoints, 8)
    with caplog.at_level(logging.WARNING):
        assert step_of(checkpoints) == 4
    (warning,) = caplog.records
    assert place in warning.getMessage() and named in warning.getMessage()
    assert [name.split("-")[1] for name in checkpoints.names()] == ["00000004"]


def test_an_orphan_before_the_newest_is_removed_too(checkpoints, caplog):
    checkpoints.root.delete(f"{of_step(checkpoints, 4)}/{MANIFEST}")
    assert step_of(checkpoints) == 8
    assert len(caplog.records) == len(checkpoints.names()) == 1


def test_what_a_killed_rank_left_aside_is_gone_after_its_next_save(checkpoints, made):
    left = checkpoints.aside(1)
    (left / FILE).write_bytes(b"half of it")
    checkpoints.clear()
    saved(checkpoints, made, 12)
    assert not left.exists()
    assert step_of(checkpoints) == 12


def test_a_folder_of_another_stage_is_refused_and_left_as_it_is(checkpoints, made):
    other = Checkpoints(checkpoints.lasting, "0" * 64)
    saved(other, made, 12)
    names = checkpoints.names()
    orphan = f"{FOLDER}/step-00000016-aaaaaaaa"
    checkpoints.root.write(f"{orphan}/{rank_file(0)}", b"[]")
    for mine in (checkpoints, other):
        with pytest.raises(ValueError, match=r"expected checkpoints of .* alone; take another `lasting`, or remove"):
            mine.newest()
    assert checkpoints.names() == [*names, orphan]


def test_a_damaged_one_to_go_on_from_is_refused(checkpoints):
    for damaged in DAMAGED.values():
        checkpoints.root.write(f"{of_step(checkpoints, 8)}/{MANIFEST}", damaged)
        with pytest.raises(ValueError, match="make the earlier stage anew"):
            Stored.opened(f"{checkpoints.lasting}/{of_step(checkpoints, 8)}")


def test_what_is_to_be_sent_is_there_before_the_manifest_and_else_there_is_none(checkpoints, made):
    def failing() -> None:
        raise OSError("no connection")

    two = [saver(checkpoints, made, rank) for rank in (0, 1)]
    two[1].save(12, {}, tensors(12, 1))
    two[0].save(12, {}, tensors(12, 0), failing)
    with pytest.raises(OSError, match="no connection"):
        two[0].wait()
    for each in two:
        each.close()
    assert step_of(checkpoints) == 8


def test_files_of_two_attempts_do_not_mix(checkpoints, made):
    """Rank 1 of a killed group and rank 0 of the next save the same step: neither is a checkpoint."""
    old, new = saver(checkpoints, made, 1, "aaaaaaaa"), saver(checkpoints, made, 0, "bbbbbbbb")
    old.save(12, {}, tensors(12, 1))
    new.save(12, {}, tensors(12, 0))
    old.wait()
    time.sleep(0.2)
    new.close()
    assert step_of(checkpoints) == 8


def test_a_rank_that_never_writes_does_not_hold_the_others(checkpoints, made):
    waiting = saver(checkpoints, made, 0)
    waiting.save(12, {}, tensors(12, 0))
    time.sleep(0.2)
    began = time.monotonic()
    waiting.close()
    assert time.monotonic() - began < 5
    assert step_of(checkpoints) == 8


def test_training_goes_on_while_a_save_is_under_way_and_the_next_waits_for_it(checkpoints, made):
    """Rank 1 is slow by 0.3 s: rank 0 is free at once, and its next save waits about that long."""
    first, second = saver(checkpoints, made, 0), saver(checkpoints, made, 1)
    began = time.monotonic()
    first.save(12, {}, tensors(12, 0))
    assert time.monotonic() - began < 0.2
    threading.Timer(0.3, lambda: second.save(12, {}, tensors(12, 1))).start()
    first.wait()
    assert 0.2 < first.waited < 5
    assert step_of(checkpoints) == 12
    second.close()
    first.close()


def test_a_failed_save_is_raised_at_the_next_look(tmp_path, made):
    (tmp_path / "file").write_text("")
    failing = saver(Checkpoints(str(tmp_path / "file"), "f" * 64), made, 1)
    failing.save(4, {}, tensors(4, 1))
    with pytest.raises(OSError):
        for _ in range(100):
            failing.check()
            time.sleep(0.05)
    failing.close()


def test_a_folder_without_our_manifest_is_refused(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(ValueError, match="make the earlier stage anew"):
        Stored.opened(str(tmp_path / "old"))


def test_taking_leaves_the_original(checkpoints, tmp_path):
    take(checkpoints.lasting, of_step(checkpoints, 8), tmp_path / "out" / "checkpoint")
    manifest = json.loads((tmp_path / "out" / "checkpoint" / MANIFEST).read_text())
    assert manifest["step"] == 8
    assert (tmp_path / "out" / "checkpoint" / rank_file(1)).exists()
    assert step_of(checkpoints) == 8
