"""Who starts the workers under Ray Train; no Ray is started."""

import json
import logging
import sys
import threading
import time
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch

from hare_ray.store import Root
from hare_ray.train import loop, on_ray_train, process_group
from hare_ray.train.on_ray_train import STARTS_WITHOUT_PROGRESS, TRIES, join, told_while_none_begins, trainer, worker
from hare_ray.train.saving import COMMIT_SECONDS
from hare_ray.train.settings import REFUSED, Plan, Ranks
from tests.train.plans import plan


@pytest.fixture
def made(tmp_path) -> Plan:
    return plan(tmp_path, workers=(2, 2))


@pytest.fixture
def resources(monkeypatch) -> dict[str, float]:
    """What a Ray of this process has, which is none."""
    found: dict[str, float] = {}
    ray, train, of_torch = (ModuleType(name) for name in ("ray", "ray.train", "ray.train.torch"))
    for name in ("cluster_resources", "available_resources"):
        setattr(ray, name, lambda: found)
    ray.is_initialized = lambda: True  # pyright: ignore[reportAttributeAccessIssue]
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 2)
    train.get_context = lambda: context  # pyright: ignore[reportAttributeAccessIssue]
    of_torch.get_device = lambda: torch.device("cpu")  # pyright: ignore[reportAttributeAccessIssue]
    for module in (ray, train, of_torch):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(on_ray_train, "start", lambda workers: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return found


def test_a_ray_of_this_process_without_room_for_the_fewest_is_refused(made, resources, monkeypatch):
    resources.update({"CPU": 1.0})
    with pytest.raises(ValueError, match=r"given 2 workers with 1 CPU each.* has a Ray with 1 CPU; expected 2; give"):
        join(made)
    resources.update({"CPU": 16.0})
    join(made)
    on_gpus = replace(made, gpu=True)
    with pytest.raises(ValueError, match=r"given 2 workers with 1 GPU each.* 0 GPU; expected 2; .* gpu=False"):
        join(on_gpus)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # nodes may come
    join(on_gpus)
    monkeypatch.delenv("RAY_ADDRESS")
    resources.update({"GPU": 2.0})
    join(on_gpus)


def test_while_none_has_begun_it_says_what_there_is_for_them(made, resources, monkeypatch, caplog):
    monkeypatch.setattr(on_ray_train, "WAITING_SECONDS", 0.05)
    resources.update({"CPU": 16.0})
    before = threading.active_count()
    with told_while_none_begins(replace(made, gpu=True)):
        until(lambda: caplog.records)
        Root(made.lasting).write(f"{TRIES}/00000", b"")
        until(lambda: threading.active_count() == before)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "2 need 2 CPU (16 in the cluster, 16 free), 2 GPU (0 in the cluster, 0 free)" in caplog.text


def test_ray_starts_anew_without_limit_and_ranks_bear_a_wait_longer_than_that_for_files(made):
    begun = trainer(made)
    assert begun.run_config.failure_config.max_failures == -1
    assert begun.backend_config.timeout_s > COMMIT_SECONDS


def test_what_fails_on_every_start_before_the_loop_is_ended(made, resources, monkeypatch):
    def absent() -> Ranks:
        raise ModuleNotFoundError("No module named 'absent'")

    monkeypatch.setattr(process_group, "members", absent)
    for _ in range(STARTS_WITHOUT_PROGRESS + 1):
        with pytest.raises(ModuleNotFoundError):
            worker({"plan": made})
    worker({"plan": made})
    assert b"starts of 2 workers in a row ended before a checkpoint" in Root(made.lasting).read(REFUSED)


def test_a_wrong_recipe_is_written_down_and_what_comes_half_is_not(made, resources, monkeypatch):
    monkeypatch.setattr(process_group, "members", lambda: Ranks(0, 2, lambda value: [value]))
    wrong: list[Exception] = [json.JSONDecodeError("cut", "", 0), UnicodeDecodeError("utf-8", b"", 0, 1, "cut")]

    def failing(*_: object) -> None:
        raise wrong.pop() if wrong else ValueError("given no sense")

    monkeypatch.setattr(loop, "train_loop", failing)
    for error in (UnicodeDecodeError, json.JSONDecodeError, ValueError):
        assert not Root(made.lasting).exists(REFUSED)
        with pytest.raises(error):
            worker({"plan": made})
    assert Root(made.lasting).read(REFUSED) == b"given no sense"
    worker({"plan": made})


def until(true) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
