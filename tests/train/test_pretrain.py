"""Training under Ray Train: it learns, a kill changes nothing, a second stage goes on, and the export says the same."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hare_ray.engine import run
from hare_ray.model.export_stage import Export
from hare_ray.on_ray import OnRay
from tests.train.stages import BATCH, KILLS, SHAPE, T, corpus, too_fast, trained

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

STEPS = 14
TIMED = ("tokens_per_second", "seconds")
REPOSITORY = Path(__file__).parents[2]


def metrics(stage, root: Path) -> list[dict[str, float]]:
    """Rows without what depends on the clock."""
    path = root / stage.name / stage.fingerprint[:12] / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def summary(stage, root: Path):
    return json.loads((root / stage.name / stage.fingerprint[:12] / "summary.json").read_text())


def go(stage, root: Path) -> None:
    run(stage, root=str(root), executor=lambda place: OnRay(place, 2))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with the corpus, and Ray whose workers know where the order to die lies."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    ray.shutdown()
    folder = tmp_path_factory.mktemp("pretrain")
    os.environ[KILLS] = str(folder)
    yield folder
    del os.environ[KILLS]
    ray.shutdown()


@pytest.fixture(scope="module")
def calm(base):
    """A stage that was left alone, its root, and its rows."""
    stage = trained(corpus(base / "in"), steps=STEPS)
    go(stage, base / "calm")
    return stage, base / "calm"


def test_it_learns_and_says_what_it_did(calm):
    stage, root = calm
    rows, told = metrics(stage, root), summary(stage, root)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert abs(rows[0]["loss"] - math.log(SHAPE.vocabulary)) < 0.2
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert rows[-1]["tokens"] == told["tokens"] == STEPS * BATCH * T
    assert told["targets"] == STEPS * BATCH * (19 + 7)
    assert (told["steps"], told["restarts"], told["final_loss"]) == (STEPS, 0, rows[-1]["loss"])
    assert told["parameters"] == SHAPE.parameters


def test_a_killed_worker_changes_nothing(calm, base):
    stage = trained(corpus(base / "in"), steps=STEPS, hook="tests.train.stages:die_once")
    (base / "die").write_text("10")
    go(stage, base / "killed")
    assert not (base / "die").exists()
    assert summary(stage, base / "killed")["restarts"] == 1
    assert metrics(stage, base / "killed") == metrics(*calm)


def test_a_killed_driver_changes_nothing(calm, base):
    root = base / "stopped"
    log = (base / "driver.log").open("wb")
    command = [sys.executable, "-m", "tests.train.stages", str(base / "in"), str(root)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "token"}
    driver = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    end = time.monotonic() + 90
    while not any(len(path.read_text().splitlines()) > 5 for path in root.glob("stage_1/*/metrics.jsonl")):
        assert driver.poll() is None and time.monotonic() < end, (base / "driver.log").read_text()[-3000:]
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    log.close()
    time.sleep(3)  # its Ray ends with it
    stage = trained(corpus(base / "in"), steps=STEPS)
    go(stage, root)
    assert summary(stage, root)["restarts"] == 1
    assert metrics(stage, root) == metrics(*calm)


def test_a_second_stage_goes_on_and_its_export_has_the_same_loss(calm):
    stage, root = calm
    toy = stage.sources[0]
    second = trained(toy, steps=4, before=stage, label="stage_2")
    export = Export(trained=second, tokenizer=second.tokenizer, dtype="float32", context_tokens=T)
    go(export, root)
    first = metrics(stage, root)[-1]["loss"]
    rows = metrics(second, root)
    assert abs(rows[0]["loss"] - first) < 0.3
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == stage.training.learning_rate and rates[-1] < rates[0] / 2
    assert (
        abs(loss_in_transformers(root / export.name / export.fingerprint[:12], seen(second)) - rows[-1]["loss"]) < 0.3
    )


def seen(stage) -> list[list[int]]:
    """The pieces of the corpus."""
    import numpy as np
    import pyarrow as pa

    table = stage.sources[0].made(pa.table({}))
    rows = [np.frombuffer(tokens, "<u2").astype(int) for tokens in table["tokens"].to_pylist()]
    return [piece.tolist() for row in rows for piece in (row[:20], row[20:28])]


def loss_of_weights(folder: Path, pieces: list[list[int]]) -> float:
    """With the decoder and its master weights."""
    import torch
    from safetensors.torch import load_file

    from hare_ray.model.attention import choose
    from hare_ray.model.decoder import Decoder

    model = Decoder(SHAPE, choose("cpu", torch.float32), 0)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    total = count = 0.0
    with torch.no_grad():
        for piece in pieces:
            at = torch.arange(len(piece))[None]
            loss, targets = model(torch.tensor([piece]), torch.zeros_like(at), at)
            total, count = total + float(loss), count + int(targets)
    return total / count


def loss_in_transformers(folder: Path, pieces: list[list[int]]) -> float:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    total = count = 0.0
    with torch.no_grad():
        for piece in pieces:
            loss = model(torch.tensor([piece]), labels=torch.tensor([piece])).loss
            total, count = total + float(loss) * (len(piece) - 1), count + len(piece) - 1
    return total / count


def test_a_loss_that_is_no_number_stops_with_the_step_and_the_last_good_checkpoint(base):
    stage = trained(corpus(base / "in"), steps=STEPS, training=too_fast(1e30), checkpoint_steps=1)
    with pytest.raises(ValueError, match=r"at step \d+, expected a number; the last good checkpoint is of step \d+"):
        go(stage, base / "diverged")
