"""Two workers that are killed, between two looks at the loss and in the middle of a save, change no bit."""

import json
from pathlib import Path

import pytest
import torch

from hare_ray.train.checkpoint import MANIFEST, Checkpoints
from hare_ray.train.settings import Plan
from hare_ray.train.stored import Stored
from tests.train.plans import metrics, plan, processes
from tests.train.stages import KILLS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]

LOG_STEPS = 3
"""The loss is looked at every third step, and where is saved, every fourth."""


def together(folder: Path, **changes) -> list[int]:
    return [rank.wait(timeout=120) for rank in processes(folder, 2, log_steps=LOG_STEPS, **changes)]


def goes_on(folder: Path, calm: Plan) -> None:
    """From what is in the folder to the end, as if nothing had been."""
    assert together(folder) == [0, 0], (folder / "rank-0.log").read_text()[-3000:]
    made = plan(folder)
    assert json.loads((Path(made.lasting) / "result.json").read_text())["restarts"] == 1
    assert metrics(made) == metrics(calm)
    whole, resumed = states(calm), states(made)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def states(made: Plan) -> dict[str, torch.Tensor]:
    stored = Stored.opened(f"{made.lasting}/{Checkpoints(made.lasting, made.fingerprint).committed()[-1]}")
    return {name: stored.read(name) for name in stored.names()}


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Plan:
    folder = tmp_path_factory.mktemp("calm")
    assert together(folder) == [0, 0], (folder / "rank-0.log").read_text()[-3000:]
    return plan(folder)


def test_killed_between_two_looks(calm, tmp_path, monkeypatch):
    monkeypatch.setenv(KILLS, str(tmp_path))
    (tmp_path / "die").write_text("10")
    assert all(together(tmp_path, hook="tests.train.stages:die_once"))
    assert not (tmp_path / "die").exists()
    goes_on(tmp_path, calm)


def test_killed_in_the_middle_of_a_save(calm, tmp_path):
    assert all(together(tmp_path, hook="tests.train.stages:die_before_the_manifest"))
    made = plan(tmp_path)
    checkpoints = Checkpoints(made.lasting, made.fingerprint)
    good, half = checkpoints.names()
    assert ("00000004" in good, "00000008" in half) == (True, True)
    assert checkpoints.committed() == [good]
    there = {path.name for path in (Path(made.lasting) / half).iterdir()}
    assert len(there) == 6 and MANIFEST not in there  # weights, moments and word of two ranks
    goes_on(tmp_path, calm)
