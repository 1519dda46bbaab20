"""Train on a Ray cluster made for it, and take a node away on which a worker is, or bring one.

    python -m tests.train.on_cluster killed|drained|grown FOLDER

`killed`: without a word; of three nodes two are left. `drained`: with notice, and of two nodes one is left. `grown`: to
one node a second one comes. In the last two, checkpoints are only saved for what happens. Prints what the training said
of itself.
"""

import os
import sys
import threading
import time
from pathlib import Path

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2
from ray.util import placement_group_table

from hare_ray.store import Root
from hare_ray.train.checkpoint import Checkpoints
from hare_ray.train.loop import starts_of
from hare_ray.train.on_ray_train import fit
from hare_ray.train.settings import METRICS, RESULT, Plan
from tests.train.plans import plan
from tests.train.stages import KILLS

DEADLINE_SECONDS = 60


def until(true) -> None:
    end = time.monotonic() + 90
    while not true():
        if time.monotonic() > end:
            os._exit(3)
        time.sleep(0.05)


def busy(nodes: list):
    """One of the nodes that has a worker of the training."""
    placed = [group["bundles_to_node_id"] for group in placement_group_table().values() if group["state"] == "CREATED"]
    return next(node for node in nodes if any(node.node_id in bundles.values() for bundles in placed))


def take_away(what: str, cluster: Cluster, nodes: list, made: Plan, slow: Path) -> None:
    until((Path(made.lasting) / METRICS).exists)
    node, checkpoints = busy(nodes), Checkpoints(made.lasting, made.fingerprint)
    if what == "drained":
        GcsClient(address=cluster.gcs_address).drain_node(
            node.node_id,
            autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
            "taken away",
            int((time.time() + DEADLINE_SECONDS) * 1000),
        )
    until(checkpoints.committed)
    cluster.remove_node(node, allow_graceful=False)
    slow.unlink()


def bring(cluster: Cluster, made: Plan, slow: Path) -> None:
    until((Path(made.lasting) / METRICS).exists)
    cluster.add_node(num_cpus=1)
    root = Root(made.lasting)
    until(lambda: len(root.names(starts_of(made))) == 2)
    slow.unlink()


def main(what: str, folder: Path) -> None:
    slow = folder / "slow"
    slow.touch()
    os.environ[KILLS] = str(folder)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range({"killed": 3, "drained": 2, "grown": 1}[what])]
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = cluster.address
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "60" if what == "killed" else "10"
    made = plan(
        folder,
        steps=100,
        workers=(2, 2) if what == "killed" else (1, 2),
        checkpoint_steps=4 if what == "killed" else 1000,
        hook="tests.train.stages:slowly_while",
    )
    # Only the main thread may start a node.
    training = threading.Thread(target=fit, args=(made,), daemon=True)
    training.start()
    if what == "grown":
        bring(cluster, made, slow)
    else:
        take_away(what, cluster, nodes, made, slow)
    training.join()
    print(Root(made.lasting).read(RESULT).decode())
    os._exit(0)  # what is left of the cluster ends with this process


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
