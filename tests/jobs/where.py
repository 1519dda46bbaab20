"""Entry point of a submitted job: prints what has travelled, and where each node imports the package from.

python -m tests.jobs.where
"""

import json
import sys
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hare_ray.on_ray import start


def package() -> str:
    import hare_ray

    return str(hare_ray.__file__)


def main() -> None:
    start(None)
    remote = ray.remote(num_cpus=0)(package)
    answers = {
        node["NodeManagerAddress"]: remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
    }
    here = Path.cwd()
    print(
        "TOLD "
        + json.dumps(
            {
                "python": sys.executable,
                "files": sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()),
                "packages": {node: ray.get(answer) for node, answer in answers.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
