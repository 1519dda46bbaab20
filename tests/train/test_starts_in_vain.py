"""Starts of the workers from one and the same checkpoint are borne a few times only."""

import pytest

from hare_ray.store import Root
from hare_ray.train.on_ray_train import STARTS_WITHOUT_PROGRESS, note_start
from hare_ray.train.settings import REFUSED
from tests.train.plans import plan


@pytest.fixture(params=["local", "memory"])
def made(request, tmp_path):
    lasting = {"local": f"{tmp_path}/lasting", "memory": f"memory:/{tmp_path}/lasting"}[request.param]
    return plan(tmp_path / "plan", lasting=lasting)


def started(made, times: int, count: int = 2) -> bool:
    """Whether the last of so many starts was refused."""
    for _ in range(times):
        note_start(made, count)
    return Root(made.lasting).exists(REFUSED)


def commit(made, step: int) -> None:
    Root(made.lasting).write(f"checkpoints/step-{step:08d}-aaaaaaaa/manifest.json", b"{}")


def test_the_start_after_a_few_in_vain_is_refused_and_says_what_to_do(made):
    assert not started(made, STARTS_WITHOUT_PROGRESS)
    assert started(made, 1)
    told = Root(made.lasting).read(REFUSED).decode()
    assert "2 workers" in told and "from the first step" in told and "run the same command again" in told


def test_a_checkpoint_between_them_forgives_them(made):
    for step in range(1, 20):
        assert not started(made, STARTS_WITHOUT_PROGRESS)
        commit(made, step)
    assert not started(made, STARTS_WITHOUT_PROGRESS)
    assert started(made, 1)
    assert "checkpoint checkpoints/step-00000019" in Root(made.lasting).read(REFUSED).decode()


def test_another_number_of_workers_is_another_try(made):
    assert not started(made, STARTS_WITHOUT_PROGRESS)
    assert not started(made, 1, count=1)
    assert not started(made, STARTS_WITHOUT_PROGRESS)
    assert started(made, 1)
