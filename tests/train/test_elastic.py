"""Any number of workers sees the same batches, and takes up what any other number has saved."""

import json
from pathlib import Path

import pytest
import torch

from hare_ray.train.alone import run
from hare_ray.train.checkpoint import Checkpoints
from hare_ray.train.settings import Plan
from tests.train.plans import metrics, plan, processes
from tests.train.stages import KILLS

TOLERANCE = 2e-3
"""Of a loss of some 5 nats: two workers add gradients in another order, and the weights that are seen are bfloat16."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]


def losses(made: Plan) -> list[float]:
    return [row["loss"] for row in metrics(made)]


def together(folder: Path, count: int, **changes) -> list[int]:
    return [rank.wait(timeout=120) for rank in processes(folder, count, **changes)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Plan:
    torch.set_num_threads(1)
    made = plan(tmp_path_factory.mktemp("calm"))
    run(made)
    return made


def test_two_then_one_then_two(calm, tmp_path, monkeypatch):
    monkeypatch.setenv(KILLS, str(tmp_path))
    hook = {"hook": "tests.train.stages:die_when_saved"}
    (tmp_path / "die").write_text("6 4")
    assert any(together(tmp_path, 2, **hook))
    (tmp_path / "die").write_text("10 8")
    assert any(together(tmp_path, 1, **hook))
    told = together(tmp_path, 2)
    assert not any(told), (tmp_path / "rank-0.log").read_text()[-3000:]
    made = plan(tmp_path)
    result = json.loads((Path(made.lasting) / "result.json").read_text())
    assert result["groups"] == [[1, 2], [5, 1], [9, 2]]
    assert losses(made) == pytest.approx(losses(calm), abs=TOLERANCE)
    assert [row["real_tokens"] for row in metrics(made)] == [row["real_tokens"] for row in metrics(calm)]


def test_more_workers_than_a_batch_can_be_divided_among_equally(calm, tmp_path):
    """Three workers share eight sequences: three, three, two."""
    told = together(tmp_path, 3)
    assert not any(told), (tmp_path / "rank-0.log").read_text()[-3000:]
    made = plan(tmp_path)
    assert losses(made) == pytest.approx(losses(calm), abs=TOLERANCE)
    (last,) = Checkpoints(made.lasting, made.fingerprint).committed()[-1:]
    files = Checkpoints(made.lasting, made.fingerprint).manifest(last)["files"]
    assert sum(entry["name"].startswith("weights-") for entry in files) == 3
    names = [name for entry in files for name in entry["tensors"]]
    assert len(names) == len(set(names))
