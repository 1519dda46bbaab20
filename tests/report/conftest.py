import json
import shutil
from pathlib import Path

import pytest

from hare_ray.report import render
from tests.report.later import finish
from tests.report.pages import pages, recipe, run


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("report")
    crawl = folder / "crawl"
    crawl.mkdir()
    for part in range(3):
        (crawl / f"{part}.jsonl").write_text("\n".join(json.dumps(p) for p in pages()[part::3]))
    stages = recipe(crawl)
    run(stages, folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def html(whole: Path) -> str:
    return render(str(whole))


@pytest.fixture(scope="session")
def both(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its second half: synthesis, training, evaluation."""
    root = tmp_path_factory.mktemp("later") / "run"
    shutil.copytree(whole, root)
    finish(recipe(whole.parent / "crawl"), root)
    return root


@pytest.fixture(scope="session")
def page(both: Path) -> str:
    return render(str(both))
