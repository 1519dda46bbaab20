"""What the world outside says to a training: that it will end soon, or with other workers go on.

A batch system or a cloud sends SIGTERM to one process, or a cluster says that a node will be taken away. The loop looks
at both where it logs, and agrees among its ranks on one step to save at.
"""

from __future__ import annotations

import signal
import threading
from typing import Protocol


class Notice(Protocol):
    """Asked by every rank where it logs."""

    def told(self) -> bool:
        """Whether this process was told to end: all ranks save, and end. Each rank asks for itself."""
        ...

    def taken(self) -> frozenset[str]:
        """Nodes that will be taken away: all ranks save, and go on. All ranks ask together, and get the same."""
        ...

    def joined(self) -> bool:
        """Whether nodes came for a larger group: all ranks save, and end. Rank 0 alone asks."""
        ...


class Signals:
    """SIGTERM as a notice; heard while it is entered, in the main thread."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self._told = threading.Event()

    def __enter__(self) -> Signals:
        """Listen."""
        self._before = signal.signal(signal.SIGTERM, lambda *_: self._told.set())
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        signal.signal(signal.SIGTERM, self._before)

    def told(self) -> bool:
        """Whether SIGTERM came."""
        return self._told.is_set()

    def taken(self) -> frozenset[str]:
        """No nodes are known."""
        return frozenset()

    def joined(self) -> bool:
        """As many processes as there were."""
        return False
