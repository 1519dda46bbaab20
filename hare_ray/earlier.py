"""Answers that earlier recipes of a stage paid for: what --redo keeps of them, and until when.

A Gather whose rows hold the key of what was asked (`REQUEST`) finds by it, in the folders of its own earlier recipes
here and in a root to reuse, what it need not ask again. Where --redo makes anew what comes before such a stage, its
folders lose only what says "done": a part without its commit is never read as a part, but its rows are still answers.
They are deleted when the run that made them anew is through; a stage that --redo itself names loses all at once.

    root/<name>/<fp12>/part-00000.parquet     kept, its commit is gone
    root/<name>/<fp12>/aside/scratch/...      what `put` kept, in a place where nothing takes it for this run's
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from hare_ray.gather import LASTING
from hare_ray.manifest import folder
from hare_ray.stage import Gather, Stage
from hare_ray.store import Root

REQUEST = "request"
"""Column with the key of what was asked for a row."""

ASIDE = "aside"
"""Folder in a stage's own for what --redo keeps; being there, it says that parts without commits are whole."""

_MARK = "redone"
_FOLDER = re.compile(r"[0-9a-f]{12}")
_AT_ONCE = 16
"""Requests to an object store at a time."""


def recalls(stage: Stage) -> bool:
    """Whether answers of its earlier recipes serve a stage."""
    return isinstance(stage, Gather) and REQUEST in stage.schema().names


def folders(root: Root, name: str) -> list[str]:
    """The folders under `root` of all recipes of the stage called `name`, sorted."""
    return [f"{name}/{entry}" for entry in root.names(name) if _FOLDER.fullmatch(entry)]


def set_aside(root: Root, name: str) -> None:
    """Keep what the stage's recipes were answered, as nothing that is done. Stopped midway, it goes on when called."""
    for place in folders(root, name):
        root.write(f"{place}/{ASIDE}/{_MARK}", b"")
        done = [entry for entry in root.names(place) if entry.startswith("part-") and entry.endswith(".json")]
        _at_once(root.delete, [f"{place}/{entry}" for entry in done])
        _at_once(lambda path: _move(root, *path), list(_kept(root, place)))
        root.delete(f"{place}/scratch")
    for entry in root.names(name):
        if entry.endswith(LASTING):
            root.delete(f"{name}/{entry}")


def clear(root: Root, stages: Iterable[Stage]) -> None:
    """Delete what `set_aside` kept of stages that are made anew now."""
    for stage in filter(recalls, stages):
        own = folder(stage)
        for place in folders(root, stage.name):
            if place != own:
                root.delete(place)
        names = set(root.names(own))
        parts = (n for n in names if n.startswith("part-") and n.endswith(".parquet"))
        _at_once(root.delete, [f"{own}/{n}" for n in parts if n.replace(".parquet", ".json") not in names])
        root.delete(f"{own}/{ASIDE}")


def _kept(root: Root, place: str) -> Iterable[tuple[str, str]]:
    """Where each object of what scratch holds by part lies, and where it goes."""
    for inner in filter(str.isdigit, root.names(f"{place}/scratch")):
        for name in root.names(f"{place}/scratch/{inner}"):
            end = f"scratch/{inner}/{name}"
            yield f"{place}/{end}", f"{place}/{ASIDE}/{end}"


def _move(root: Root, source: str, target: str) -> None:
    root.write(target, root.read(source))
    root.delete(source)


def _at_once(act: Callable[..., None], items: Iterable[object]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(act, items))
