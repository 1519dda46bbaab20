"""What numba compiled of other sources is never taken: the folder it looks in follows the sources."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hare_ray
from hare_ray.compiled import KEPT, PREFIX, UNUSED_SECONDS, VARIABLE

SAY = f"import hare_ray, os; print(os.environ.get({VARIABLE!r}))"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a copy of the package."""
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(hare_ray.__file__).parent, tmp_path / "site" / "hare_ray", ignore=left_out)
    return tmp_path / "site"


def said(site: Path, program: str = SAY, **variables: str) -> str:
    """What a fresh process prints that imports the copy."""
    given = {name: value for name, value in os.environ.items() if name != VARIABLE}
    given |= {"XDG_CACHE_HOME": str(site.parent / "cache"), "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    given |= variables
    command = [sys.executable, "-P", "-c", program]
    return subprocess.run(command, env=given, cwd=site, check=True, capture_output=True, text=True).stdout.strip()


def changed(site: Path, name: str) -> None:
    file = site / "hare_ray" / name
    file.write_text(f"{file.read_text()}\nADDED = 1\n")


def test_every_process_names_the_same_folder_in_the_user_s_cache(site):
    first = said(site)
    assert first == said(site)
    assert Path(first).parent == site.parent / "cache" / "hare_ray"
    assert Path(first).is_dir()


def test_another_copy_of_the_package_takes_what_the_first_compiled(site, tmp_path):
    """As on the nodes of a submitted job. Of each kernel: compiled anew, taken from the cache."""
    count = (
        "import pyarrow as pa; from hare_ray.text import words_of; from hare_ray.text import word_kernel as k; "
        "words_of(pa.array(['one two three'])); stats = [f.stats for f in vars(k).values() if hasattr(f, 'stats')]; "
        "print(sum(sum(s.cache_misses.values()) for s in stats), sum(sum(s.cache_hits.values()) for s in stats))"
    )
    compiled, taken = map(int, said(site, count).split())
    assert compiled > 0
    assert taken == 0
    shutil.copytree(site / "hare_ray", tmp_path / "elsewhere" / "hare_ray", copy_function=shutil.copyfile)
    elsewhere = {"PYTHONPATH": str(tmp_path / "elsewhere")}
    assert said(site, "import hare_ray; print(hare_ray.__file__)", **elsewhere).startswith(elsewhere["PYTHONPATH"])
    compiled, taken = map(int, said(site, count, **elsewhere).split())
    assert compiled == 0
    assert taken > 0


@pytest.mark.parametrize(
    "name", ["corpus/page_scan.py", "corpus/page_tags.py", "text/fold.py", "corpus/rules_marks.py"]
)
def test_a_change_of_a_kernel_or_of_a_table_that_it_holds_names_another_folder(site, name):
    before = said(site)
    changed(site, name)
    assert said(site) != before


def test_a_change_of_what_no_kernel_holds_costs_no_compiling(site):
    before = said(site)
    changed(site, "cli.py")
    assert said(site) == before


def test_a_folder_that_the_user_names_is_left_alone(site, tmp_path):
    assert said(site, **{VARIABLE: str(tmp_path)}) == str(tmp_path)


def test_a_folder_inherited_from_a_process_with_other_sources_is_not_taken(site):
    before = said(site)
    changed(site, "corpus/page_tags.py")
    assert said(site, **{VARIABLE: before}) != before


def test_where_the_user_s_cache_cannot_be_written_it_lies_beside_the_bytecode(site, tmp_path):
    (tmp_path / "cache").write_text("no folder can be made here, not even by root")
    found = Path(said(site))
    assert found.parent == site / "hare_ray" / "__pycache__"
    assert found.is_dir()


def test_where_nothing_can_be_written_importing_still_works(site, tmp_path):
    for place in (site / "hare_ray" / "__pycache__", tmp_path / "cache"):
        place.write_text("no folder can be made here, not even by root")
    assert said(site) == "None"


def test_a_numba_that_was_imported_before_is_told(site):
    told = said(site, f"import numba, hare_ray, os; print(numba.config.CACHE_DIR == os.environ[{VARIABLE!r}])")
    assert told == "True"


def test_folders_of_former_sources_go(site):
    """The longest unused, but none that a process may still be compiling into."""
    long_ago = time.time() - UNUSED_SECONDS - 60
    former = []
    for back in range(KEPT + 2):
        former.append(Path(said(site)))
        changed(site, "corpus/page_tags.py")
        os.utime(former[-1], (long_ago, long_ago - 1000 * back))
    os.utime(former[-1])  # of all the oldest, if it were not in use
    newest = Path(said(site))
    assert set(newest.parent.glob(f"{PREFIX}*")) == {newest, former[-1], *former[: KEPT - 1]}


def test_a_folder_in_use_stays_however_many_follow(site):
    first = Path(said(site))
    for _ in range(KEPT + 2):
        changed(site, "corpus/page_tags.py")
        said(site)
    assert first.is_dir()
