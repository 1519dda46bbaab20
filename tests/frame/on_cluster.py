"""Run the toy graph on a Ray cluster of three nodes made for it, then with a root that only the driver sees.

    python -m tests.frame.on_cluster FOLDER SOURCE

The head has no CPUs, so all work runs on the other two nodes. Prints what became of each run.
"""

import os
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from tests.frame.graph import build


def main(folder: Path, source: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = cluster.address
    run(build(source), root=str(folder / "run"), executor=OnRay)
    print("shared root: done")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)  # the nodes stay where they were, so this root is another folder for each process
    try:
        run(build(source), root="/proc/self/cwd/run", executor=OnRay)
    except ValueError as error:
        print(f"own root: {error}")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
