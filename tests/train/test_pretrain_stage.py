"""The stage around a training, without one: what its workers are told, and what it says of them."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hare_ray.train.pretrain import Pretrain
from tests.train.plans import plan
from tests.train.stages import BATCH, TRAINING, T, corpus, trained


@pytest.fixture
def stage(tmp_path) -> Pretrain:
    return trained(corpus(tmp_path / "in"), steps=4)


def test_a_training_of_other_sequences_than_the_mixture_has_is_refused(stage, tmp_path):
    (tmp_path / "mixture.json").write_text(json.dumps({"sequence_tokens": T}))
    half = replace(stage, training=replace(TRAINING, sequence_tokens=T // 2, batch_tokens=BATCH * T // 2))
    with pytest.raises(ValueError, match=r"given training\.sequence_tokens=16, but the mixture has sequences of 32"):
        half.plan(SimpleNamespace(files=lambda of: tmp_path))  # pyright: ignore[reportArgumentType]


def test_what_is_no_step_is_counted_of_the_driver_that_ended_it(stage, tmp_path):
    """A hundred steps of 10 s; this driver did the last thirty of them, in 400 s."""
    rows = [
        {"step": step, "loss": 1.0, "seconds": 10.0, "tokens_per_second": 1.0, "mfu": None, "mfu_true": None}
        for step in range(1, 101)
    ]
    names = ("real_tokens", "targets", "spikes", "workers", "restarts", "waited_seconds", "peak_mib", "device_peak_mib")
    result = {**dict.fromkeys(names, 0), "groups": [], "device": "cpu", "attention": "reference"}
    told = stage.summary(plan(tmp_path), result, rows, took=400.0, since=70)
    assert (told["seconds"], told["overhead_seconds"]) == (1000.0, 100.0)
