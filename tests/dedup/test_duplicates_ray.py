"""Duplicates on Ray: the same bytes for any number of workers and while they are killed; the same set for any order."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hare_ray.engine import run
from tests.dedup import drive
from tests.dedup.crawl import words
from tests.frame.graph import digest
from tests.frame.test_kills import below, task

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]

REPOSITORY = Path(__file__).parents[2]
FILES = 4
"""Also groups and partitions of the steps, at the memory that `drive` gives a task."""
KILLS = 5
"""Each costs the start of a worker."""


def crawl() -> list[str]:
    """Texts of 60 words, every third of them an edit of an earlier one, and some copies."""
    draw = random.Random(4)
    lines = []
    for number in range(480):
        text = words(120, number if number % 3 else draw.randrange(number + 1))
        if draw.random() < 0.5:
            text[draw.randrange(60)] = "edited"
        lines.append(f"https://example.org/{number} {' '.join(text)}")
    return [*lines, "https://empty ...", *lines[:7]]


def write_files(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True)
    lines = crawl()
    for number, name in enumerate(names):
        (folder / f"{name}.txt").write_text("\n".join(lines[number :: len(names)]) + "\n")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_files(tmp_path_factory.mktemp("crawl") / "in", [f"{n:02d}" for n in range(FILES)])


@pytest.fixture(scope="module")
def calm(source, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("calm") / "run"
    run(*drive.graph(str(source)), root=str(root))
    assert {reason for _, reason in verdicts(root)} == {
        None,
        "exact_duplicate",
        "near_duplicate",
        "same_record",
        "no_words",
    }
    return root


def verdicts(root: Path) -> set[tuple[bytes, str | None]]:
    """Id and reason of all rows."""
    found = []
    for name, columns in (("texts", ["id"]), ("duplicates", ["reason"])):
        place = json.loads((root / name / "manifest.json").read_text())["fingerprint"][:12]
        parts = [pq.read_table(path, columns=columns) for path in sorted((root / name / place).glob("part-*.parquet"))]
        found.append([value for part in parts for value in part.column(columns[0]).to_pylist()])
    return set(zip(*found, strict=True))


def start(root: Path, source: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.dedup.drive", str(root), str(source), str(workers)]
    with (root.parent / "driver.log").open("ab") as log:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log)


@pytest.mark.parametrize("workers", [1, 8])
def test_any_number_of_workers_makes_the_same_bytes(source, calm, tmp_path, workers):
    assert start(tmp_path / "run", source, workers).wait(timeout=120) == 0, (tmp_path / "driver.log").read_text()
    assert digest(tmp_path / "run") == digest(calm)


def test_workers_killed_at_random_moments_change_nothing(source, calm, tmp_path):
    moments = random.Random(5)
    driver = start(tmp_path / "run", source, 2)
    kills = Counter[str]()
    while driver.poll() is None:
        working = [(p, what) for p in below(driver.pid) if (what := task(p)) and kills[what] < 2]
        if working and kills.total() < KILLS:
            process, what = moments.choice(working)
            process.kill()
            kills[what] += 1
        time.sleep(moments.uniform(0.1, 0.4))
    assert driver.returncode == 0, (tmp_path / "driver.log").read_text()
    assert kills.total() >= 3
    assert digest(tmp_path / "run") == digest(calm)


def test_any_order_of_files_keeps_the_same_set(calm, tmp_path):
    names = [f"{n:02d}" for n in range(FILES)]
    random.Random(1).shuffle(names)
    run(*drive.graph(str(write_files(tmp_path / "in", names))), root=str(tmp_path / "run"))
    assert verdicts(tmp_path / "run") == verdicts(calm)
