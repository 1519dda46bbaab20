"""What `tests.bench.synth` breaks: engines and actors killed in mid-run, and a server asked more than it can answer."""

import asyncio
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from hare_ray.synth.generate import Generate
from hare_ray.synth.serve import served
from tests.bench.synth_arms import Work, counted
from tests.synth.stages import answers

KILLS = 3
TITLES = {"batch": ("VLLM::EngineCor", "MapWorker"), "serve": ("VLLM::EngineCor", "ServeReplica")}
"""Processes to kill, in turn: the engine, and the actor around it."""
KILL_SECONDS = (0.5, 4.0)
"""After an engine has answered, at random."""
LATE_SECONDS = 30.0
"""After which a request that was to end with the load counts as hung."""


def processes(title: str) -> list[int]:
    """Numbers of the processes with this in their title."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                line = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if title.encode() in line:
                found.append(int(process.name))
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
            if now <= seen or not processes(title):
                continue
            time.sleep(self.draw.uniform(*KILL_SECONDS))
            if self.ended.is_set():
                return
            for process in processes(title):
                os.kill(process, signal.SIGKILL)
            self.killed.append(title)
            time.sleep(1)  # what was on its way to the journal arrives
            seen = time.time_ns()


def faults(work: Work, through: str, seed: int) -> dict[str, float]:
    """Rows lost and rows twice where the engine is killed KILLS times."""
    root = Path(tempfile.mkdtemp(prefix="hare-bench-"))
    stage = work.stage(through, seed)
    killer = Killer(root, stage, seed)
    killer.start()
    began = time.perf_counter()
    run(stage, root=str(root), executor=OnRay)
    seconds = time.perf_counter() - began
    killer.ended.set()
    killer.join()
    _, rows, lost = counted(str(root), stage)
    keys = Counter(row["request"] for part in answers(str(root), stage) for row in part)
    shutil.rmtree(root)
    twice = sum(count - 1 for count in keys.values())
    return {"rows_lost": work.rows - rows + lost, "rows_twice": twice, "kills": len(killer.killed), "seconds": seconds}


def load(work: Work, clients: int, seconds: float) -> dict[str, float]:
    """Shares of what the server says to `clients` that ask without pause, and the slowest answer."""
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
