"""What a person sees of a training."""

import logging

import pytest

from hare_ray.standing import Standing, told
from hare_ray.store import Root
from hare_ray.train.metrics import Metrics
from hare_ray.train.progress import clock, line, words
from tests.train.test_metrics import plan_of, row

ROW = {
    "step": 120, "loss": 3.2141, "learning_rate": 3e-3, "grad_norm": 0.913, "tokens_per_second": 8259.4, "skipped": 0,
    "mfu": 0.3121, "mfu_true": 0.2789, "eta_seconds": 4980.2,
}  # fmt: skip


def test_a_line_says_all():
    assert line(ROW, 6000) == (
        "step 120/6000  loss 3.214  lr 3.0e-03  norm 0.91  8,259 tok/s  "
        "MFU 31.2 % (PaLM) 27.9 % (true)  spikes 0  ETA 1:23:00"
    )
    unknown = {**ROW, "grad_norm": None, "mfu": None, "mfu_true": None, "skipped": 2}
    assert "no loss" in line({**ROW, "loss": None}, 6000) and "no loss" in words({**ROW, "loss": None})
    assert line(unknown, 6000) == "step 120/6000  loss 3.214  lr 3.0e-03  8,259 tok/s  spikes 2  ETA 1:23:00"


def test_beside_the_bar_stands_what_it_does_not_show():
    assert words({**ROW, "mfu_true": None}) == "loss 3.214  8,259 tok/s  MFU 31.2 % (PaLM)  ETA 1:23:00"
    assert "spikes 1" in words({**ROW, "skipped": 1})


@pytest.mark.parametrize("seconds, expected", [(0, "0:00:00"), (59.6, "0:01:00"), (360_000, "100:00:00")])
def test_a_clock_carries_over(seconds, expected):
    assert clock(seconds) == expected


def test_a_training_tells_first_and_last_how_far_it_is(tmp_path, caplog):
    """Between the two are less than TELL_SECONDS."""
    lasting = tmp_path / "stage_1" / "abc-lasting"
    with caplog.at_level(logging.INFO, "hare_ray.train"):
        metrics = Metrics(plan_of(lasting), 0, "cpu", 1)
        for step in range(1, 6):
            metrics.add(row(step))
        metrics.close()
    assert [record.message.split()[1] for record in caplog.records] == ["1/10", "5/10"]
    now = told(Root(str(tmp_path)), "stage_1/abc-lasting")
    assert isinstance(now, Standing)
    assert now.total == 10
    assert now.done in (1, 5)  # the last is left out where the first is still on its way
