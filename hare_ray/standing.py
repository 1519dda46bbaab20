"""How far a long Make is: told by whoever works at it and read by the driver, wherever both run.

    LASTING/standing.json    done, total, words

A Make runs in a task on some machine, and may have workers on others; a terminal is where the driver is. The folder
that outlives a killed run is what they share, so one small object in it, written anew every few seconds, is enough.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from hare_ray.store import Root

STANDING = "standing.json"


@dataclass(frozen=True)
class Standing:
    """How far a stage is."""

    done: int
    total: int
    words: str
    """What else a person wants to see, in a line."""


def tell(lasting: str, standing: Standing) -> None:
    """Say it, in the lasting folder of a stage: a path or URL."""
    Root(lasting.rstrip("/")).write(STANDING, json.dumps(asdict(standing)).encode())


def told(root: Root, lasting: str) -> Standing | None:
    """What was said last, in a folder below the root; None where nothing was, or where it cannot be read now.

    Nobody waits for it: what a broken connection or half an object hides for now is there at the next look.
    """
    try:
        return Standing(**json.loads(root.read(f"{lasting}/{STANDING}")))
    except (OSError, ValueError, TypeError):
        return None
