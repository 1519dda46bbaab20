"""What `tests.bench.synth` breaks: engines and actors killed in mid-run, and a server asked more than it can answer."""

import asyncio
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from hare_ray.engine import run
from hare_ray.gather import Desk
from hare_ray.on_ray import OnRay
from hare_ray.synth.generate import Generate
from hare_ray.synth.prompt import ERROR
from hare_ray.synth.serve import served
from tests.bench.synth_arms import Work
from tests.synth.processes import ours
from tests.synth.stages import answers

KILLS = 3
TITLES = {"batch": ("VLLM::EngineCor", "MapWorker"), "serve": ("VLLM::EngineCor", "ServeReplica")}
"""Processes to kill, in turn: the engine, and the actor around it."""
KILL_SECONDS = (0.2, 1.5)
"""After an engine has answered, at random: in mid-work, which lasts some seconds."""
LATE_SECONDS = 30.0
"""After which a request that was to end with the load counts as hung."""


class Recorded(Generate):
    """Keeps a copy of each segment of the journal in the folder `copies`: segments are deleted with their part."""

    copies: str
    unidentified: ClassVar[frozenset[str]] = Generate.unidentified | {"copies"}

    def gather(self, desk: Desk) -> dict[str, int]:
        """With a desk that copies."""
        return super().gather(_Recording(**{field.name: getattr(desk, field.name) for field in fields(desk)}))


class _Recording(Desk):
    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        if name.endswith(".arrow"):
            assert isinstance(self.stage, Recorded)
            part = name.split("/", 1)[0]
            (Path(self.stage.copies) / f"{part}-{uuid.uuid4().hex}").write_bytes(data)


def times_kept(copies: Path) -> Counter[tuple[str, int]]:
    """How often each row (part, row) was put into the journal."""
    found: Counter[tuple[str, int]] = Counter()
    for path in copies.iterdir():
        part = path.name.split("-", 1)[0]
        rows = pa.ipc.open_file(path.read_bytes()).read_all()["row"].to_pylist()
        found.update((part, row) for row in rows)
    return found


class Killer(threading.Thread):
    """Kills one process after the other, each a while after new answers were journaled."""

    def __init__(self, root: Path, stage: Generate, seed: int) -> None:
        super().__init__(daemon=True)
        self.place = root / stage.name / stage.fingerprint[:12]
        self.titles = TITLES[stage.through]
        self.draw = random.Random(seed)
        self.killed: list[str] = []
        self.ended = threading.Event()

    def progress(self) -> int:
        """The newest file of the journal or of a part: grows with answers only."""
        files = [*self.place.glob("scratch/[0-9]*/*.arrow"), *self.place.glob("part-*.json")]
        times = [0]
        for path in files:
            try:
                times.append(path.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
        return max(times)

    def run(self) -> None:
        """KILLS times."""
        seen = 0
        while len(self.killed) < KILLS and not self.ended.wait(0.1):
            now = self.progress()
            title = self.titles[len(self.killed) % len(self.titles)]
            if now <= seen or not ours(title):
                continue
            time.sleep(self.draw.uniform(*KILL_SECONDS))
            if self.ended.is_set():
                return
            for process in ours(title):
                os.kill(process, signal.SIGKILL)
            self.killed.append(title)
            time.sleep(1)  # what was on its way to the journal arrives
            seen = time.time_ns()


def asked(work: Work, through: str, seed: int, kills: bool) -> tuple[list[str | None], dict[str, float]]:
    """The answers, None for a row without one; and how often rows were kept, what was killed, and the time."""
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    copies = root / "copies"
    copies.mkdir()
    plain = work.stage(through, seed)
    named = {field.name: getattr(plain, field.name) for field in fields(plain)}
    stage = Recorded(**named, copies=str(copies))
    killer = Killer(root, stage, seed)
    if kills:
        killer.start()
    began = time.perf_counter()
    run(stage, root=str(root), executor=OnRay)
    seconds = time.perf_counter() - began
    killer.ended.set()
    if kills:
        killer.join()
    rows = [row for part in answers(str(root), stage) for row in part]
    kept = times_kept(copies)
    shutil.rmtree(root)
    texts = [None if row["finish"].startswith(ERROR) else row["answer"] for row in rows]
    twice = sum(kept.values()) - len(kept)
    return texts, {"rows_kept": len(kept), "rows_twice": twice, "kills": len(killer.killed), "seconds": seconds}


def faults(work: Work, through: str, seed: int, undisturbed: list[str | None]) -> dict[str, float]:
    """What an engine that is killed KILLS times costs, against the answers of a run in which none was.

    At temperature 0 a row's answer is its own: one that is another row's is told as `rows_swapped`. An answer that only
    differs (`rows_changed`) may come of sums whose last bits depend on which rows the engine had beside it.
    """
    texts, said = asked(work, through, seed, kills=True)
    given = set(undisturbed)
    changed = [text for text, right in zip(texts, undisturbed, strict=True) if text is not None and text != right]
    lost = work.rows - sum(text is not None for text in texts)
    swapped = sum(text in given for text in changed)
    told = {"rows_lost": lost, "rows_changed": len(changed), "rows_swapped": swapped}
    return {**told, "distinct_answers": len(given), **said}


def load(work: Work, clients: int, seconds: float) -> dict[str, float]:
    """Shares of what the server says to `clients` who ask at the same time, and the slowest answer."""
    with served(str(work.model), "bench", 0.0, work.gpus) as (url, key):
        return asyncio.run(_load(url, key, work.max_tokens, clients, seconds))


async def _load(url: str, key: str, max_tokens: int, clients: int, seconds: float) -> dict[str, float]:
    import aiohttp

    said: Counter[int] = Counter()
    slowest = 0.0
    until = time.monotonic() + seconds
    asked = {"model": "bench", "max_tokens": max_tokens, "temperature": 0.8}
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal slowest
        while time.monotonic() < until:
            began = time.monotonic()
            async with session.post(f"{url}/completions", json={**asked, "prompt": f"the cat {number}"}) as reply:
                await reply.read()
                said[reply.status] += 1
                pause = reply.headers.get("Retry-After", "0")
            slowest = max(slowest, time.monotonic() - began)
            if reply.status != 200:
                await asyncio.sleep(min(float(pause or 0), 2.0) or 0.1)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        tasks = [asyncio.create_task(client(session, number)) for number in range(clients)]
        done, hung = await asyncio.wait(tasks, timeout=seconds + LATE_SECONDS)
        for task in hung:
            task.cancel()
        failed = sum(task.exception() is not None for task in done)
    total = max(1, sum(said.values()))
    shares = {f"share_{status}": count / total for status, count in sorted(said.items())}
    return {**shares, "requests": total, "slowest_seconds": slowest, "hung": len(hung), "broken": failed}
