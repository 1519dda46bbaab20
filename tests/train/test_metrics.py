"""Rows of metrics: each step once, also after a run that was killed and went back; and what follows from them."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hare_ray.model.shape import PEAK_FLOPS, Shape
from hare_ray.standing import told
from hare_ray.store import Root
from hare_ray.train.metrics import CURVES, KEYS, Metrics, cut, hooked, rows, true_flops
from hare_ray.train.order import Order
from hare_ray.train.sequences import PackedTable
from hare_ray.train.settings import Plan
from tests.train import stages
from tests.train.plans import bare

SHAPE = Shape(layers=22, hidden=2048, heads=32, kv_heads=8, mlp_hidden=5632, vocabulary=32000, tied=False)
BATCH, T = 8, 2048


def plan_of(folder: Any, **other: Any) -> Plan:
    told = bare(
        tables=(PackedTable("packed", (80,)),),
        order=Order((80,), (80,), 1),
        sequence_tokens=T,
        shape=SHAPE,
        training=stages.TRAINING,
        batch_sequences=BATCH,
        lasting=str(folder),
    )
    return replace(told, **other)


def row(step: int, **other: Any) -> dict[str, Any]:
    """A step of half a second; a hundredth of its tokens are padding."""
    told = {"step": step, "tokens": step * BATCH * T, "real_tokens": step * (BATCH * T - 164), "seconds": 0.5}
    told |= {"loss": 9.0 / step, "learning_rate": 1e-3, "grad_norm": 1.0, "skipped": int(step > 4)}
    return {**told, "tokens_per_second": 2.0 * BATCH * T, "more": 1, **other}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 8)))
    return path


def test_rows_beyond_the_checkpoint_are_cut(path):
    assert cut(path, 4) == rows(path)
    assert [one["step"] for one in rows(path)] == [1, 2, 3, 4]


def test_half_a_line_is_left_out_and_cut(path):
    path.write_text(path.read_text() + '{"step": 8')
    assert [one["step"] for one in rows(path)] == [1, 2, 3, 4, 5, 6, 7]
    cut(path, 9)
    assert path.read_text().endswith('{"step": 7}\n')


def test_nothing_to_cut(tmp_path):
    cut(tmp_path / "metrics.jsonl", 0)
    assert rows(tmp_path / "metrics.jsonl") == []


def test_a_run_that_goes_on_has_each_step_once(tmp_path):
    stages.SEEN.clear()
    first = Metrics(plan_of(tmp_path), 0, "cpu", 1)
    for step in (1, 2, 3, 4, 5):
        first.add(row(step))
    first.close()
    second = Metrics(plan_of(tmp_path, hook="tests.train.stages:see"), 3, "cpu", 2)
    for step in (4, 5, 6):
        second.add(row(step))
    second.close()
    found = rows(tmp_path / "metrics.jsonl")
    assert [one["step"] for one in found] == [1, 2, 3, 4, 5, 6]
    assert [one["workers"] for one in found] == [1, 1, 1, 2, 2, 2]
    assert all(set(one) == set(KEYS) for one in found)
    assert {one["real_tokens_per_second"] for one in found} == {2.0 * (BATCH * T - 164)}
    assert stages.SEEN == [4, 5, 6]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_tensorboard_shows_each_step_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, steps in ((0, (1, 2, 3, 4, 5)), (3, (4, 5, 6))):
        metrics = Metrics(plan_of(tmp_path), first, "NVIDIA H100 80GB HBM3", 1)
        for step in steps:
            metrics.add(row(step, pairs=1, grad_norm=None if step == 5 else 1.0))
        metrics.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in board.Scalars("grad_norm")] == [1, 2, 3, 4, 6]
    assert set(board.Tags()["scalars"]) == set(CURVES)


ALONE = """
import logging, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorboard", "ray", "deepspeed", "numba"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
logging.basicConfig(level=logging.INFO)
from hare_ray.train.metrics import Metrics
from tests.train.test_metrics import plan_of, row
metrics = Metrics(plan_of(sys.argv[1]), 0, "cpu", 1)
metrics.add(row(1))
metrics.close()
"""


def test_without_tensorboard_and_ray_the_rest_is_there(tmp_path):
    ran = subprocess.run([sys.executable, "-c", ALONE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("tensorboard is not installed") == 1
    assert "INFO:hare_ray.train:step 1/10  loss 9.000" in ran.stderr
    assert [one["step"] for one in rows(tmp_path / "metrics.jsonl")] == [1]
    assert not (tmp_path / "tensorboard").exists()


def test_mfu_in_both_conventions_against_known_numbers(tmp_path):
    """HARE's 1.1 B at T = 2048: 66.4k tokens/s on an H100 are 50 % in PaLM's convention, 46.3 % of it causal."""
    count, speed = 4, 4 * 66.36e3
    metrics = Metrics(plan_of(tmp_path), 0, "NVIDIA H100 80GB HBM3", count)
    whole = row(1, seconds=BATCH * T / speed, tokens_per_second=speed, real_tokens=BATCH * T, pairs=BATCH * T**2)
    metrics.add(whole)
    metrics.add({**row(2), "pairs": None})
    metrics.close()
    first, second = rows(tmp_path / "metrics.jsonl")
    assert first["mfu"] == pytest.approx(0.5, abs=1e-3)
    assert first["mfu_true"] == pytest.approx(0.5 * 6.899 / 7.452, abs=1e-3)
    assert second["mfu_true"] is None
    assert second["mfu"] > 0


def test_true_flops_are_those_of_the_lengths():
    lengths = np.random.default_rng(1).integers(1, 700, 40).tolist()
    pairs = sum(length**2 for length in lengths)
    assert true_flops(SHAPE, sum(lengths), pairs) == SHAPE.true_flops(lengths)


def test_of_an_unknown_device_no_mfu_is_told(tmp_path):
    assert not [name for name, _ in PEAK_FLOPS if "cpu" in name.lower()]
    metrics = Metrics(plan_of(tmp_path), 0, "cpu (x86_64)", 1)
    metrics.add(row(1, pairs=7))
    metrics.close()
    (told,) = rows(tmp_path / "metrics.jsonl")
    assert (told["mfu"], told["mfu_true"]) == (None, None)


def test_the_time_left_is_steps_times_the_usual_step(tmp_path):
    metrics = Metrics(plan_of(tmp_path), 0, "cpu", 1)
    for step, seconds in enumerate((60.0, 0.5, 0.5, 0.5, 9.0), 1):  # the first one compiles
        metrics.add(row(step, seconds=seconds))
    metrics.close()
    assert rows(tmp_path / "metrics.jsonl")[-1]["eta_seconds"] == pytest.approx(5 * 0.5)


def test_rows_of_an_older_run_are_gone_on_from(tmp_path):
    old = {"step": 3, "tokens": 3 * BATCH * T, "loss": 3.0, "learning_rate": 1e-3, "grad_norm": 1.0, "seconds": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n")
    metrics = Metrics(plan_of(tmp_path), 3, "cpu", 1)
    for step in (4, 5):
        metrics.add(row(step))
    metrics.close()
    speeds = [one.get("real_tokens_per_second") for one in rows(tmp_path / "metrics.jsonl")]
    assert speeds == [None, None, 2.0 * (BATCH * T - 164)]


def test_on_an_object_store_rows_are_sent_with_every_checkpoint():
    place = "memory://run/stage_1/abc-lasting"
    for first, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        metrics = Metrics(plan_of(place), first, "cpu", 1)
        for step in steps:
            metrics.add(row(step))
        metrics.flush()
        metrics.send()
        metrics.close()
    sent = Root(place).read("metrics.jsonl").decode().splitlines()
    assert [json.loads(line)["step"] for line in sent] == [1, 2, 3, 4]
    assert len(Root(place).names("tensorboard")) == 2
    now = told(Root("memory://run"), "stage_1/abc-lasting")
    assert now is not None
    assert now.total == 10


def test_only_what_changed_is_sent_and_no_more_of_it_than_was_flushed(monkeypatch):
    written, write = [], Root.write
    monkeypatch.setattr(Root, "write", lambda root, name, data: written.append(name) or write(root, name, data))
    place = "memory://changed/stage_1/abc-lasting"
    metrics = Metrics(plan_of(place), 0, "cpu", 1)
    for step in (1, 2):
        metrics.add(row(step))
    metrics.flush()
    metrics.add(row(3))
    metrics._file.flush()
    for _ in range(2):
        metrics.send()
    sent = [name for name in written if "standing" not in name]
    assert sorted(name.partition("/")[0] for name in sent) == ["metrics.jsonl", "tensorboard"]
    assert [json.loads(line)["step"] for line in Root(place).read("metrics.jsonl").splitlines()] == [1, 2]
    metrics.close()
    assert [json.loads(line)["step"] for line in Root(place).read("metrics.jsonl").splitlines()] == [1, 2, 3]


def test_a_hook_that_is_no_function_is_refused():
    assert hooked("") is None
    for wrong in ("tests.train.stages", "tests.train.stages:", ":see"):
        with pytest.raises(ValueError, match="expected 'module:function'"):
            hooked(wrong)
    for wrong, why in (("nosuch_module:f", "No module named"), ("os:nosuch", "has no attribute")):
        with pytest.raises(ValueError, match=f"given hook='{wrong}', expected a function .*{why}.*; correct the name"):
            hooked(wrong)


EXPOSED = """
import json, sys, time, urllib.request
import ray
from hare_ray.on_ray import start
start(1)
from hare_ray.train.metrics import Metrics
from tests.train.test_metrics import plan_of, row
metrics = Metrics(plan_of(sys.argv[1] + "/stage_1/abc-lasting"), 0, "cpu", 1)
for step in range(1, 7):
    metrics.add(row(step))
metrics.close()
node = ray.nodes()[0]
url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
found, began = [], time.time()
while len(found) < 8 and time.time() - began < 60:
    time.sleep(1)
    text = urllib.request.urlopen(url).read().decode()
    found = [line for line in text.splitlines() if line.startswith("ray_hare_train_")]
print(json.dumps(found))
"""


@pytest.mark.ray
def test_ray_offers_the_metrics_to_prometheus(tmp_path):
    ran = subprocess.run([sys.executable, "-c", EXPOSED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    values = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in found}
    assert all('stage="stage_1"' in line for line in found)
    last = row(6)
    assert values["ray_hare_train_loss"] == pytest.approx(last["loss"])
    assert values["ray_hare_train_step"] == 6
    assert values["ray_hare_train_tokens_total"] == last["tokens"]
    assert values["ray_hare_train_real_tokens_total"] == last["real_tokens"]
    assert values["ray_hare_train_spikes_total"] == 1
