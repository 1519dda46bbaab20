"""Training under Ray Train: it learns, a kill changes nothing, a second stage goes on, and the export says the same."""

import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hare_ray.engine import run
from hare_ray.model.export_stage import Export
from hare_ray.model.inherit_stage import Inherit
from hare_ray.on_ray import OnRay
from hare_ray.store import Root
from hare_ray.train.settings import Speed
from tests.frame.test_object_store import VARIABLES, moto
from tests.train.stages import BATCH, KILLS, SHAPE, T, corpus, too_fast, trained

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

STEPS = 14
TIMED = ("tokens_per_second", "real_tokens_per_second", "seconds", "eta_seconds")
REPOSITORY = Path(__file__).parents[2]


def written(stage, root: Path | str, name: str) -> bytes:
    return Root(str(root)).read(f"{stage.name}/{stage.fingerprint[:12]}/{name}")


def metrics(stage, root: Path | str) -> list[dict[str, float]]:
    """Rows without what depends on the clock."""
    rows = [json.loads(line) for line in written(stage, root, "metrics.jsonl").splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def summary(stage, root: Path | str):
    return json.loads(written(stage, root, "summary.json"))


def go(*stages, root: Path | str) -> None:
    run(*stages, root=str(root), executor=lambda place: OnRay(place, 2))


@pytest.fixture(scope="module")
def store():
    """Variables of the environment with which S3 is a server of this process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {**VARIABLES, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    server.stop()


@pytest.fixture(scope="module")
def base(tmp_path_factory, store):
    """A folder with the corpus, and Ray whose workers know where the order to die lies, and a store of objects."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    ray.shutdown()
    folder = tmp_path_factory.mktemp("pretrain")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**store, KILLS: str(folder)}.items():
            patch.setenv(name, value)
        yield folder
    ray.shutdown()


@pytest.fixture(scope="module")
def calm(base):
    """A stage that was left alone, its root, and its rows."""
    stage = trained(corpus(base / "in"), steps=STEPS)
    go(stage, root=base / "calm")
    return stage, base / "calm"


def test_it_learns_and_says_what_it_did(calm):
    stage, root = calm
    rows, told = metrics(stage, root), summary(stage, root)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert abs(rows[0]["loss"] - math.log(SHAPE.vocabulary)) < 0.2
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert rows[-1]["tokens"] == told["tokens"] == STEPS * BATCH * T
    assert told["targets"] == STEPS * BATCH * (19 + 7)
    assert told["sources"] == [
        {"name": "toy", "tokens": STEPS * BATCH * 28, "sequences": STEPS * BATCH, "epochs": STEPS * BATCH / 48}
    ]
    assert told["groups"] == [{"first_step": 1, "workers": 2}]
    assert (told["steps"], told["restarts"], told["final_loss"]) == (STEPS, 0, rows[-1]["loss"])
    assert told["parameters"] == SHAPE.parameters


def test_a_killed_worker_changes_nothing(calm, base):
    stage = trained(corpus(base / "in"), steps=STEPS, hook="tests.train.stages:die_once")
    (base / "die").write_text("10")
    go(stage, root=base / "killed")
    assert not (base / "die").exists()
    assert summary(stage, base / "killed")["restarts"] == 1
    assert metrics(stage, base / "killed") == metrics(*calm)


def test_a_killed_worker_changes_nothing_where_all_lies_in_an_object_store(calm, base):
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    S3FileSystem().mkdir("s3://bucket")
    stage = trained(corpus(base / "in"), steps=STEPS, hook="tests.train.stages:die_once")
    (base / "die").write_text("10")
    go(stage, root="s3://bucket/run")
    assert not (base / "die").exists()
    assert summary(stage, "s3://bucket/run")["restarts"] == 1
    assert metrics(stage, "s3://bucket/run") == metrics(*calm)
    S3FileSystem.clear_instance_cache()


def test_a_killed_driver_changes_nothing(calm, base):
    root = base / "stopped"
    log = (base / "driver.log").open("wb")
    command = [sys.executable, "-m", "tests.train.stages", str(base / "in"), str(root)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "token"}
    driver = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    end = time.monotonic() + 90
    while not any(root.glob("stage_1/*/checkpoints/step-*/manifest.json")):
        assert driver.poll() is None and time.monotonic() < end, (base / "driver.log").read_text()[-3000:]
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    log.close()
    time.sleep(3)  # its Ray ends with it
    stage = trained(corpus(base / "in"), steps=STEPS)
    go(stage, root=root)
    assert summary(stage, root)["restarts"] == 1
    assert metrics(stage, root) == metrics(*calm)


def test_a_second_stage_goes_on_and_its_export_has_the_same_loss_and_starts_others(calm):
    """The second has its states divided by DeepSpeed, and takes up what plain PyTorch left."""
    stage, root = calm
    toy = stage.sources[0]
    second = trained(toy, steps=4, before=stage, label="stage_2", speed=Speed(zero_stage=1))
    export = Export(trained=second, tokenizer=second.tokenizer, dtype="float32", context_tokens=T)
    go(export, root=root)
    first = metrics(stage, root)[-1]["loss"]
    rows = metrics(second, root)
    assert abs(rows[0]["loss"] - first) < 0.3
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == stage.training.learning_rate and rates[-1] < rates[0] / 2
    last = loss_in_transformers(root / export.name / export.fingerprint[:12], seen(second))
    assert abs(last - rows[-1]["loss"]) < 0.3
    assert abs(loss_of_weights(root / second.name / second.fingerprint[:12], seen(second)) - last) < 1e-3
    third = trained(toy, steps=2, start=export, label="stage_3", tokenizer=second.tokenizer, workers=(1, 2))
    half = replace(SHAPE, mlp_hidden=48)
    inherited = Inherit(parent=export, shape=half, layers="middle", neurons="l1", seed=1)
    fourth = trained(toy, steps=2, start=inherited, label="stage_4", tokenizer=second.tokenizer, shape=half, workers=1)
    go(third, fourth, root=root)
    assert abs(metrics(third, root)[0]["loss"] - last) < 0.3
    assert metrics(fourth, root)[0]["loss"] < math.log(SHAPE.vocabulary) / 2  # half of the neurons are enough here


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


def test_what_the_recipe_got_wrong_is_raised_here_and_tried_once_more_at_most(base):
    stage = trained(corpus(base / "in"), steps=STEPS, hook="nonsense:see")
    with pytest.raises(ValueError, match="given hook='nonsense:see', expected a function see in a module nonsense"):
        go(stage, root=base / "refused")
    lasting = next((base / "refused" / stage.name).glob("*-lasting"))
    assert len(list(lasting.glob("starts-*/*"))) == 1


def test_a_loss_that_is_no_number_stops_with_the_step_and_the_last_good_checkpoint(base):
    stage = trained(corpus(base / "in"), steps=STEPS, training=too_fast(1e30), checkpoint_steps=1, workers=1)
    with pytest.raises(
        ValueError, match=r"at step \d+ and those after it, expected a number; the last good checkpoint is of step \d+"
    ):
        go(stage, root=base / "diverged")
