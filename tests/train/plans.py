"""Plans of a toy training without Ray; as a program, one of its processes.

python -m tests.train.plans FOLDER JSON      the plan in FOLDER with these changes; RANK and so on as of torchrun
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from hare_ray.model.initial import Initial
from hare_ray.storage import arrow
from hare_ray.store import Root
from hare_ray.train.order import Order
from hare_ray.train.schedule import Schedule
from hare_ray.train.sequences import PackedTable
from hare_ray.train.settings import METRICS, Plan
from tests.train.stages import BATCH, SHAPE, TRAINING, T, corpus

REPOSITORY = Path(__file__).parents[2]
ROWS = 48
TIMED = ("tokens_per_second", "real_tokens_per_second", "seconds", "eta_seconds", "workers", "mfu", "mfu_true")


def plan(folder: Path, *, steps: int = 12, **changes: Any) -> Plan:
    """Training on the toy's rows; everything lies in the folder."""
    packed = folder / "packed"
    if not packed.exists():
        packed.mkdir(parents=True)
        made = corpus(folder / "in").made(pa.table({})).drop_columns(["reason"])
        (packed / "part-00000.arrow").write_bytes(arrow(made))
    given = bare(
        tables=(PackedTable(str(packed), (ROWS,)),),
        order=Order((steps * BATCH,), (ROWS,), 1),
        sequence_tokens=T,
        shape=SHAPE,
        training=TRAINING,
        schedule=Schedule(4 * BATCH * T, 0.0),
        batch_sequences=BATCH,
        lasting=str(folder / "stage" / "lasting"),
    )
    return replace(given, **changes)


def bare(**given: Any) -> Plan:
    """A plan of which only what is given means something."""
    of_any = {
        "fingerprint": "f" * 64,
        "tables": (),
        "token_bytes": 2,
        "initial": Initial(),
        "schedule": Schedule(0, 0.0),
        "seed": 1,
        "micro_batch": 2,
        "workers": (1, 1),
        "start": None,
        "before": None,
        "lasting": "",
        "checkpoint_steps": 4,
        "checkpoints": 2,
        "log_steps": 1,
        "hook": "",
        "gpu": False,
    }
    return Plan(**{**of_any, **given})


def metrics(made: Plan) -> list[dict[str, float]]:
    """Rows without what depends on the clock and on who worked."""
    rows = [json.loads(line) for line in Root(made.lasting).read(METRICS).splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def processes(folder: Path, count: int, **changes: Any) -> list[subprocess.Popen[bytes]]:
    """Start as many ranks as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(count):
        group = {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "tests.train.plans", str(folder), json.dumps(changes)]
        log = (folder / f"rank-{rank}.log").open("wb")
        started.append(subprocess.Popen(command, env={**os.environ, **group, **where}, stdout=log, stderr=log))
    return started


if __name__ == "__main__":
    import torch

    from hare_ray.train.alone import run

    torch.set_num_threads(1)
    run(plan(Path(sys.argv[1]), **json.loads(sys.argv[2])))
