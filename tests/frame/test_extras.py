"""Every missing package is named with an extra that exists, before anything runs."""

import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from hare_ray import cli, store

HERE = Path(__file__).parent.parent.parent
EXTRAS = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["optional-dependencies"]
RECIPE = """
from hare_ray.corpus.extract import Extract
from hare_ray.schema import RECORD
from hare_ray.stage import Map, Source

class Pages(Map):
    files: Source
    writes = RECORD

def recipe(choice):
    pages = Pages(files=Source(label="crawl", location=choice.source))
    rest = dict(max_payload_bytes=1000, max_depth=300, max_broken_share=0.01, min_chars=20)
    return (Extract(docs=pages, engine="trafilatura", **rest),)
"""


def test_every_extra_that_is_advised_exists_and_brings_what_is_missing():
    assert set(cli.EXTRAS.values()) | set(store.EXTRAS.values()) <= set(EXTRAS)
    assert EXTRAS[cli.EXTRAS["trafilatura"]] == ["trafilatura"]


def test_the_engine_that_a_recipe_names_is_looked_for_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "crawl.txt").write_text("a page")
    options = ["--source", str(tmp_path / "crawl.txt"), "--root", str(tmp_path / "run")]
    assert cli.main(["run", str(tmp_path / "recipe.py"), *options]) == 1
    assert "pip install 'hare_ray[trafilatura]'" in capsys.readouterr().err
    assert not list((tmp_path / "run").rglob("*.parquet"))
    assert not (tmp_path / "run" / "pages").exists()


def test_a_missing_driver_of_the_hub_is_named_with_an_extra_that_exists(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(import_module("fsspec.registry")._registry, "hf", raising=False)  # it remembers its drivers
    with pytest.raises(ValueError, match="needs a driver for hf://") as told:
        store.filesystem("hf://datasets/owner/name")
    advised = re.search(r"hare_ray\[(\w+)\]", str(told.value))
    assert advised
    assert EXTRAS[advised[1]] == ["huggingface_hub"]
