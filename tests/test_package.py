"""The package as it is shipped, and the size budget of its files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent


def test_no_file_is_longer_than_400_lines():
    files = [*HERE.glob("hare_ray/**/*.py"), *HERE.glob("jobs/*.py"), *HERE.glob("tests/**/*.py")]
    lengths = {str(path.relative_to(HERE)): len(path.read_text().splitlines()) for path in files}
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hare_ray installed from a wheel, alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves its folder behind, and the next one would take old modules from it
    for name in ("hare_ray", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(HERE / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(folder.glob("hare_ray-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return folder / "site"


def test_hare_works_from_an_installed_wheel(site, tmp_path):
    program = (
        "import hare_ray, sys; from hare_ray.cli import main; from hare_ray.priors.quality import load_examples; "
        "print(hare_ray.__file__, len(load_examples())); sys.exit(main(['status', 'nowhere']))"
    )
    environment = {"PYTHONPATH": str(site), "PATH": ""}
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    where, examples = done.stdout.split()
    assert where.startswith(str(site))
    assert int(examples) >= 50
    assert done.returncode == 1
    assert "holds no finished stage" in done.stderr


def test_the_wheel_brings_priors_and_the_report_page(site):
    shipped = {path.name for path in (site / "hare_ray").rglob("*") if path.suffix not in (".py", ".pyc")}
    written = {
        path.name
        for room in ("priors", "report")
        for path in (HERE / "hare_ray" / room).iterdir()
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert written
    assert written <= shipped
