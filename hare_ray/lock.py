"""One driver per root.

Local: an flock on `.lock`, which the kernel drops with the process. Object store: a lease object made by a
conditional PUT, renewed every 20 s, taken over once it is 60 s old; `still_held` is asked before each manifest.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from hare_ray.store import ASIDE, Root

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20.0
TAKEOVER_SECONDS = 60.0
LEASE = ".lease"


class LockedError(RuntimeError):
    """Another driver works on the root."""


StillHeld = Callable[[], None]
"""Raises LockedError where the lease was lost."""


@contextlib.contextmanager
def only_driver(root: Root) -> Iterator[StillHeld]:
    """Hold the root for the block; LockedError where another driver has it."""
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
    with _flock(root, owner) if root.local is not None else _lease(root, owner) as held:
        yield held


def _busy(root: Root, owner: dict[str, Any]) -> LockedError:
    ends = ""
    if "time" in owner:
        left = max(0, TAKEOVER_SECONDS - (time.time() - owner["time"]))
        ends = f" (if it was killed: the root is free in {left:.0f} s)"
    return LockedError(
        f"another run works on {root.url}: process {owner.get('pid')} on {owner.get('host')}; "
        f"wait for it{ends}, end it, or choose another --root"
    )


@contextlib.contextmanager
def _flock(root: Root, owner: dict[str, Any]) -> Iterator[StillHeld]:
    assert root.local is not None
    root.local.mkdir(parents=True, exist_ok=True)
    with (root.local / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _busy(root, json.loads(file.read() or "{}")) from None
        file.truncate(0)
        file.write(json.dumps(owner))
        file.flush()
        try:
            shutil.rmtree(root.local / ASIDE, ignore_errors=True)
            yield lambda: None
        finally:
            shutil.rmtree(root.local / ASIDE, ignore_errors=True)


@contextlib.contextmanager
def _lease(root: Root, owner: dict[str, Any]) -> Iterator[StillHeld]:
    def stamp() -> bytes:
        return json.dumps({**owner, "time": time.time()}).encode()

    def still_held() -> None:
        found = _owner(root)
        if found.get("token") != owner["token"]:
            raise _busy(root, found)

    _take(root, stamp)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            try:
                if _owner(root).get("token") == owner["token"]:
                    root.write(LEASE, stamp())
            except Exception as error:  # the next beat tries again, and `still_held` has the last word
                logger.warning("the lease of %s was not renewed: %s", root.url, error)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield still_held
    finally:
        stop.set()
        thread.join()
        if _owner(root).get("token") == owner["token"]:
            root.delete(LEASE)


def _take(root: Root, stamp: Callable[[], bytes]) -> None:
    if root.create(LEASE, stamp()):
        return
    found = _owner(root)
    if time.time() - float(found.get("time", 0)) < TAKEOVER_SECONDS:
        raise _busy(root, found)
    root.delete(LEASE)
    if not root.create(LEASE, stamp()):
        raise _busy(root, _owner(root))


def _owner(root: Root) -> dict[str, Any]:
    try:
        return json.loads(root.read(LEASE))
    except FileNotFoundError:
        return {}
