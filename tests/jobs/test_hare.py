"""The recipe is light to build, and its plan prints every number of the paper."""

import subprocess
import sys

import pytest

PROGRAM = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, "jobs")  # as Python does for a script
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = {"ray", "torch", "numba", "sklearn", "faiss", "sentence_transformers", "resiliparse", "fastwarc", "jinja2"}
heavy &= set(sys.modules)
assert not heavy, heavy
"""


def plan(*words: str) -> str:
    command = [sys.executable, "-c", PROGRAM, "jobs/hare.py", *words, "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def paper() -> str:
    return plan("--scale", "1b", "--root", "s3://bucket/hare")


def test_the_demo_is_planned_without_ray_torch_or_any_extra():
    told = plan("--scale", "demo")
    assert "demo_crawl make  pages=3000" in told
    assert "bands=14  rows=8" in told
    assert "Gopher(min_words=50, max_words=100000" in " ".join(told.replace("│", " ").split())
    assert "stage_2 make" in told


@pytest.mark.parametrize(
    "number",
    [
        "1.123 B",  # arXiv 2406.11410, section 3: 22 x 2048, 32/8 heads, 32,000
        "52 B tokens",
        "548 B tokens",
        "2097152",
        "0.0003",
        "README says 5e-4",
        "46.5",
    ],
)
def test_the_plan_of_the_paper_prints_its_numbers(paper, number):
    assert number in paper


def test_every_source_says_where_it_is_or_that_it_is_not(paper):
    for name, status in (("RedPajama-C4", "substitute"), ("PG-19", "available"), ("Pubmed", "unavailable")):
        line = next(line for line in paper.splitlines() if name in line)
        assert status in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scale", "huge"], "there is no scale 'huge'; expected one of smoke, demo, 250m, 1b"),
        (["--scale", "1b"], "no files at 'your crawl: give --source'"),
        (["--source", "nowhere/*.warc.gz"], "no files at 'nowhere/*.warc.gz'"),
    ],
)
def test_a_wrong_choice_is_one_line_and_a_non_zero_exit(words, told, tmp_path):
    command = [sys.executable, "jobs/hare.py", *words, "--root", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
