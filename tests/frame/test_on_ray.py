"""What a person sees of a fault is the same on Ray as in a plain loop."""

from pathlib import Path

import pytest

from hare_ray.engine import FailedError, run
from hare_ray.on_ray import OnRay
from hare_ray.stage import Source
from tests.frame.stages import Dying, Refusing

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "a.txt").write_text("x")
    return Source(location=str(tmp_path / "a.txt"))


def test_a_value_error_two_tasks_down_comes_up_as_itself(source, tmp_path):
    with pytest.raises(ValueError, match=r"^given 3, expected less; give less$"):
        run(Refusing(files=source), root=str(tmp_path / "run"), executor=lambda root: OnRay(root, 2))


def test_a_stage_whose_worker_dies_every_time_is_named(source, tmp_path):
    with pytest.raises(FailedError, match="dying: the worker died every time"):
        run(Dying(files=source), root=str(tmp_path / "run"), executor=lambda root: OnRay(root, 2))
