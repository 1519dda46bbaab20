"""Runs the toy graph in a process of its own, to be killed: python -m tests.frame.drive ROOT SOURCE [options].

`--workers 0` is the plain loop. `--die-at N` kills the process with SIGKILL when it is about to move into place or
remove the N-th file: between any two steps of a run that a later one can see. It needs no hook in the frame: the
interpreter itself reports each of them (an audit event).
"""

import argparse
import os
import signal
import sys
from typing import Any

from hare_ray.engine import Settings, run
from hare_ray.on_ray import OnRay
from tests.frame.graph import build

STEPS = ("os.rename", "os.remove", "shutil.rmtree")


def die_at(count: int) -> None:
    """Kill this process right before its `count`-th step."""
    seen = 0

    def watch(event: str, _: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in STEPS:
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser()
    options.add_argument("root")
    options.add_argument("source")
    options.add_argument("--workers", type=int, default=0)
    options.add_argument("--slow", type=float, default=0.0, help="seconds each part takes to read")
    options.add_argument("--min-chars", type=int, default=5)
    options.add_argument("--redo", action="append", default=[])
    options.add_argument("--die-at", type=int)
    return options


def main(arguments: list[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    if given.die_at:
        die_at(given.die_at)
    graph = build(given.source, min_chars=given.min_chars, slow_seconds=given.slow)
    executor = (lambda root: OnRay(root, given.workers)) if given.workers else None
    run(graph, root=given.root, settings=Settings(redo=tuple(given.redo)), executor=executor)


if __name__ == "__main__":
    main()
