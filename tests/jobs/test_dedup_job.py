"""jobs/dedup.py from files to files: what goes, what stays, and what a later run knows."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.dedup import main

FOX = "The quick brown fox jumps over the lazy dog while seven grey geese look on from the far side of the pond. "
HARBOUR = "Ships leave the old harbour at dawn, loaded with salt, rope and oranges, and none of them is back by night. "
ROWS = {
    "fox": FOX,
    "fox-shouted": FOX.upper(),
    "fox-bare": FOX.replace(".", "").replace(" ", "\n"),
    "fox-longer": FOX + "Nobody minds.",
    "harbour": HARBOUR,
    "short": "Good morning",
    "short-other": "Good evening",
    "short-again": "good morning!",
}
LIGHT = """
import sys
from hare_ray.cli import Choice, load_recipe
load_recipe("jobs/dedup.py")(Choice(source=sys.argv[1]))
heavy = {"ray", "torch", "numba", "fastwarc", "resiliparse", "jinja2"} & set(sys.modules)
assert not heavy, heavy
"""


def write(path, rows):
    path.write_text("".join(json.dumps({"url": url, "text": text}) + "\n" for url, text in rows.items()))
    return str(path)


def kept(root):
    files = sorted((root / "unique").rglob("part-*.parquet"))
    return {url for file in files for url in pq.read_table(file, columns=["url"])["url"].to_pylist()}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    assert main([write(folder / "in.jsonl", ROWS), "--root", str(folder / "root"), "--plain", "--index"]) == 0
    return folder / "root"


def test_one_copy_of_each_stays_and_it_is_the_longest(earlier):
    stays = kept(earlier)
    assert {"fox-longer", "harbour", "short-other"} < stays
    assert len(stays & {"short", "short-again"}) == 1
    assert len(stays) == 4


def test_parquet_in_two_files_of_another_order_gives_the_same(earlier, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    rows = list(ROWS.items())[::-1]
    for number, half in enumerate((rows[:3], rows[3:])):
        table = pa.table({"url": [url for url, _ in half], "text": [text for _, text in half]})
        pq.write_table(table, source / f"{number}.parquet")
    assert main([str(source), "--root", str(tmp_path / "root"), "--plain"]) == 0
    assert kept(tmp_path / "root") == kept(earlier)


def test_what_an_earlier_run_kept_is_known_to_a_later_one(earlier, tmp_path):
    new = {"harbour-again": HARBOUR.lower(), "new": "A text that nobody has seen before, about owls and lighthouses."}
    source = write(tmp_path / "in.jsonl", new)
    assert main([source, "--root", str(tmp_path / "root"), "--plain", "--known", str(earlier)]) == 0
    assert kept(tmp_path / "root") == {"new"}


def test_a_root_without_an_index_is_refused_with_the_cure(tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", ROWS)
    assert main([source, "--root", str(tmp_path / "root"), "--plain", "--known", str(tmp_path / "none")]) == 1
    assert "--index" in capsys.readouterr().err


def test_the_recipe_is_light_to_build(tmp_path):
    source = write(tmp_path / "in.jsonl", ROWS)
    done = subprocess.run([sys.executable, "-c", LIGHT, source], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
