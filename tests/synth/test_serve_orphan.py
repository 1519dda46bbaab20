"""What a killed driver leaves behind ends by itself."""

import os
import subprocess
import sys

import pytest

from hare_ray.on_ray import start
from tests.synth.asking import wait_until
from tests.synth.processes import ours
from tests.synth.stages import prompts
from tests.synth.test_serve import nothing_is_left

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.xfail(strict=False, reason="not run since it was moved")
def test_a_killed_drivers_server_ends_by_itself(tmp_path):
    """A cluster that outlives its driver, and the driver killed while its answers come."""
    import ray
    from ray.cluster_utils import Cluster

    start(2)  # sets how Ray asks for tokens
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    prompts(tmp_path / "in", 4000)
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.synth.drive", str(tmp_path / "run"), str(tmp_path / "in")],
        env={**os.environ, "RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "token"},
    )
    try:
        wait_until(lambda: any((tmp_path / "run").glob("generate/*/scratch/*/*.arrow")), 240)
        driver.kill()
        driver.wait()
        assert ours("VLLM::")
        ray.init(address=cluster.address, log_to_driver=False)
        wait_until(nothing_is_left, 90)
    finally:
        driver.kill()
        ray.shutdown()
        cluster.shutdown()
