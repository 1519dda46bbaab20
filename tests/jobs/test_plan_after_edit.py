"""A person edits a prior of a copy of the package and asks what would be made anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[2]

AS_IF_DONE = """
import sys
from pathlib import Path
from hare_ray.cli import Choice, load_recipe
from hare_ray.manifest import describe, encode
from hare_ray.stage import upstream

for stage in upstream(*load_recipe("jobs/hare.py")(Choice(scale="demo"))):
    folder = Path(sys.argv[1]) / stage.name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(encode({**describe(stage), "run": {}}))
"""
"""Manifests of a run of all stages, without what they made: all that a plan looks at."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for name in ("hare_ray", "jobs"):
        shutil.copytree(HERE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    called(folder, "-c", AS_IF_DONE, str(folder / "run"))
    return folder


def called(folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else done.stderr


def planned(folder: Path, file: str, was: str, now: str) -> list[str]:
    """The plan after an edit of one of the priors, which is taken back."""
    path = folder / "hare_ray" / "priors" / file
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, now))
    try:
        return called(folder, "jobs/hare.py", "--plan", "--scale", "demo", "--root", "run").strip().split("\n")
    finally:
        path.write_text(text)


def test_an_edited_weight_remakes_the_mixture_and_what_is_trained_on_it(copy):
    edits = planned(copy, "sources.yaml", "weight_percent: 7.7\n", "weight_percent: 7.9\n")
    told = [line for line in edits if not line.startswith((" ", "\u251c", "\u2514", "\u2502"))]
    assert "edited: stage_2_mixture weights[1]: 13.63 -> 13.83" in told
    (anew,) = (line for line in told if "would be made anew: " in line)
    names = anew.split(": ")[1].split("; ")[0].split(", ")
    assert names[0] == "stage_2_mixture"
    assert {"stage_2", "model", "evaluate"} <= set(names)
    assert not {"d1", "d2", "d3", "stage_1"} & set(names)
    assert told[-1].startswith("say --redo stage_2_mixture to make them anew here, or --root NEW --reuse run")


@pytest.mark.parametrize(
    ("file", "was", "now"),
    [("rubric.yaml", "max_words: 400", "max_words: 401"), ("topic_title.yaml", "Keywords: ", "Its keywords: ")],
)
def test_an_edit_that_nothing_reads_is_told_to_change_nothing(copy, file, was, now):
    told = planned(copy, file, was, now)
    stages = len(list((copy / "run").glob("*/manifest.json")))
    assert told[-1] == f"nothing would be made anew: {stages} of {stages} stages stay as they are"
    assert not told[-2].startswith("edited")


def test_a_slip_in_a_prior_is_one_line_with_file_and_line(copy):
    told = planned(copy, "sources.yaml", "weight_percent: 7.7\n", "weight_percent: seven\n")
    assert len(told) == 1
    assert told[0].startswith("error: sources.yaml, line ")
    assert told[0].endswith("weight_percent: given seven, expected a number such as 1.0")
