"""Rows of metrics: each step once, also after a run that was killed and went back."""

import json

import pytest

from hare_ray.train.metrics import KEYS, Metrics, cut, hooked, rows
from tests.train import stages


def row(step: int) -> dict[str, float]:
    return {key: float(step) for key in KEYS} | {"step": step, "more": 1}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 8)))
    return path


def test_rows_beyond_the_checkpoint_are_cut(path):
    cut(path, 4)
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
    first = Metrics(str(tmp_path), 0, "")
    for step in (1, 2, 3, 4, 5):
        first.add(row(step))
    first.close()
    second = Metrics(str(tmp_path), 3, "tests.train.stages:see")
    for step in (4, 5, 6):
        second.add(row(step))
    second.close()
    found = rows(tmp_path / "metrics.jsonl")
    assert [one["step"] for one in found] == [1, 2, 3, 4, 5, 6]
    assert all(tuple(one) == KEYS for one in found)
    assert stages.SEEN == [4, 5, 6]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_tensorboard_shows_each_step_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, steps in ((0, (1, 2, 3, 4, 5)), (3, (4, 5, 6))):
        metrics = Metrics(str(tmp_path), first, "")
        for step in steps:
            metrics.add(row(step))
        metrics.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6]


def test_a_hook_without_a_function_is_refused():
    assert hooked("") is None
    with pytest.raises(ValueError, match="module:function"):
        hooked("tests.train.stages")
