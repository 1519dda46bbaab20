"""What a person sees of a fault is the same on Ray as in a plain loop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hare_ray.engine import FailedError, run
from hare_ray.executor import Operator
from hare_ray.on_ray import OnRay, check_fits
from hare_ray.stage import Needs, Source
from hare_ray.store import Root
from tests.frame.stages import Dying, Refusing

TASKS, POOL, HALF = Needs(), Needs(actors=1), Needs(cpus=0.5, actors=1)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "a.txt").write_text("x")
    return Source(location=str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("needs", "cpus", "fits"),
    [
        ([TASKS], 1, True),
        ([TASKS, POOL], 1, True),  # joined by Ray Data
        ([TASKS, HALF], 1, False),
        ([TASKS, HALF], 1.5, True),
        ([HALF, TASKS], 1, True),  # the tasks begin when the pool has ended
        ([TASKS, HALF, POOL], 2, False),
        ([TASKS, HALF, POOL], 2.5, True),
        ([POOL, TASKS, HALF], 1.5, True),
        ([Needs(actors=3)], 2, True),  # two of the three do the work
    ],
)
def test_pools_that_leave_no_cpu_to_what_feeds_them_are_refused(source, needs, cpus, fits):
    operators = [Operator([Refusing(files=source)], need) for need in needs]
    if fits:
        check_fits(operators, cpus)
    else:
        with pytest.raises(ValueError, match=rf"a task of refusing and .* at a time; this Ray has {cpus}; give"):
            check_fits(operators, cpus)


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_program_that_imported_ray_before_gets_a_cluster_that_asks_for_tokens():
    """Ray reads RAY_AUTH_MODE when it is imported: set after that, cluster and driver would disagree."""
    program = (
        "import ray, os; from hare_ray.on_ray import ray_map, start; start(1); "
        "print(ray_map(abs, [-3]), os.environ['RAY_AUTH_MODE'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stdout.split() == ["[3]", "token"], done.stderr


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_ray_of_another_size_in_this_process_is_told(tmp_path):
    OnRay(Root(str(tmp_path)), 2)
    with pytest.raises(ValueError, match=r"asked for 3 workers, this process has a Ray with 2; call ray.shutdown"):
        OnRay(Root(str(tmp_path)), 3)


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_value_error_two_tasks_down_comes_up_as_itself(source, tmp_path):
    with pytest.raises(ValueError, match=r"^given 3, expected less; give less$"):
        run(Refusing(files=source), root=str(tmp_path / "run"), executor=lambda root: OnRay(root, 2))


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_stage_whose_worker_dies_every_time_is_named(source, tmp_path):
    with pytest.raises(FailedError, match="dying: the worker died every time"):
        run(Dying(files=source), root=str(tmp_path / "run"), executor=lambda root: OnRay(root, 2))
