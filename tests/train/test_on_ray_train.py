"""What is decided before and beside Ray Train; no Ray is started."""

import logging
import threading
import time
from dataclasses import replace

import pytest

from hare_ray.store import Root
from hare_ray.train import on_ray_train
from hare_ray.train.on_ray_train import (
    SETTLE_SECONDS,
    TRIES,
    Arrivals,
    awaited,
    check_room,
    told_while_none_begins,
    trainer,
)
from hare_ray.train.saving import COMMIT_SECONDS
from hare_ray.train.settings import Plan
from tests.train.plans import plan


@pytest.fixture
def made(tmp_path) -> Plan:
    return plan(tmp_path, workers=(2, 2))


def test_a_ray_of_this_process_without_room_for_the_fewest_is_refused(made):
    with pytest.raises(ValueError, match=r"given 2 workers with 1 CPU each.* has a Ray with 1 CPU; expected 2; give"):
        check_room(made, {"CPU": 1.0})
    check_room(made, {"CPU": 16.0})
    on_gpus = replace(made, gpu=True)
    with pytest.raises(ValueError, match=r"given 2 workers with 1 GPU each.* 0 GPU; expected 2; .* gpu=False"):
        check_room(on_gpus, {"CPU": 16.0})
    check_room(on_gpus, {"CPU": 16.0, "GPU": 2.0})


def test_while_none_has_begun_it_says_what_there_is_for_them(made, monkeypatch, caplog):
    monkeypatch.setattr(on_ray_train, "WAITING_SECONDS", 0.05)
    before, root, there = threading.active_count(), Root(made.lasting), {"CPU": 16.0}
    with told_while_none_begins(root, lambda: awaited(replace(made, gpu=True), there, {"CPU": 12.0})):
        until(lambda: caplog.records)
        root.write(f"{TRIES}/00000", b"")
        until(lambda: threading.active_count() == before)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "2 need 2 CPU (16 in the cluster, 12 free), 2 GPU (0 in the cluster, 0 free)" in caplog.text


def test_ray_starts_anew_without_limit_and_ranks_bear_a_wait_longer_than_that_for_files(made):
    begun = trainer(made)
    assert begun.run_config.failure_config.max_failures == -1
    assert begun.backend_config.timeout_s > COMMIT_SECONDS


def test_of_nodes_that_came_it_is_told_when_no_more_come():
    arrivals, later = Arrivals(frozenset("ab")), SETTLE_SECONDS + 1
    assert not arrivals.settled(frozenset("a"), 100.0)
    assert not arrivals.settled(frozenset("ab"), 200.0)  # it was away
    assert not arrivals.settled(frozenset("abc"), 300.0)
    assert not arrivals.settled(frozenset("abcd"), 300.0 + SETTLE_SECONDS - 1)
    assert not arrivals.settled(frozenset("abcd"), 300.0 + later)
    assert arrivals.settled(frozenset("abcd"), 300.0 + 2 * later)


def until(true) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
