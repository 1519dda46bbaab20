"""Every missing package is named with an extra that exists, before anything runs."""

import contextlib
import re
import sys
import tomllib
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pyarrow as pa
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hare_ray import cli, store
from hare_ray.cluster import KMeans
from hare_ray.priors.scales import SCALES
from hare_ray.stage import Table, upstream

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


def brought_by(extra: str) -> set[str]:
    """Names of the distributions that an extra of ours brings, as far as they are installed, with theirs."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in EXTRAS[extra]]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name == "hare-ray":
            waiting += [Requirement(line) for of in one.extras for line in EXTRAS[of]]
        elif name not in found:
            found.add(name)
            with contextlib.suppress(PackageNotFoundError):
                needs = [Requirement(line) for line in requires(name) or ()]
                waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def declared(tmp_path_factory) -> set[str]:
    """All packages that stages of the recipe ask for."""
    model = tmp_path_factory.mktemp("model")  # the folder of a model, which a plan does not open
    (model / "config.json").write_text("{}")
    recipe = cli.load_recipe(str(HERE / "jobs" / "hare.py"))
    choices = [cli.Choice(scale=name, source=None, llm=llm) for name in SCALES for llm in (None, str(model))]
    return {
        package for choice in choices for stage in upstream(*recipe(choice)) for package in stage.required_packages()
    }


def test_every_package_that_a_stage_of_the_recipe_asks_for_has_an_extra_that_brings_it(declared):
    assert {"numba", "threadpoolctl", "sklearn", "msgspec", "faiss"} <= declared
    assert not declared - cli.EXTRAS.keys()
    names = packages_distributions() | {"faiss": ["faiss-gpu-cu12"]}  # the one that KMeans on a GPU asks for
    for package in sorted(declared):
        brought = {canonicalize_name(name) for name in names.get(package, [package])}
        assert brought & brought_by(cli.EXTRAS[package]), package


def test_kmeans_asks_for_faiss_on_a_gpu_only():
    class Vectors(Table):
        writes = pa.schema([pa.field("embedding", pa.list_(pa.float16(), 2))])

    numbers = {"clusters": 2, "sample_rows": 10, "iterations": 1, "seed": 1, "spherical": True}
    one, other = (KMeans(embeddings=Vectors(), gpus=gpus, **numbers) for gpus in (0, 1))
    assert set(other.required_packages()) - set(one.required_packages()) == {"faiss"}
    assert cli.EXTRAS["faiss"] == "gpu"


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
