"""The commands as a person uses them: what they print, and one clear line for a wrong input."""

from pathlib import Path

import cloudpickle
import pyarrow as pa
import pytest

from hare_ray.catalog import Catalog
from hare_ray.cli import Choice, closing, load_recipe, main, parser
from hare_ray.isolated import survive
from hare_ray.schema import DOCUMENT
from hare_ray.work import Limits

RECIPE = """
from hare_ray.cli import Choice
from hare_ray.stage import Keep, Source
from tests.frame.stages import Lines, Longer

def recipe(choice):
    docs = Lines(files=Source(label="crawl", location=choice.source or "nowhere"))
    return (Keep(label="clean", docs=docs, verdicts=(Longer(docs=docs, min_chars=5),)),)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "crawl.txt").write_text("a long document\ntiny\n\nanother long document")
    return str(tmp_path / "recipe.py")


@pytest.fixture
def root(recipe: str, tmp_path: Path) -> str:
    """A finished run, made without Ray."""
    from hare_ray.cli import Choice, load_recipe
    from hare_ray.engine import run

    run(*load_recipe(recipe)(Choice(source=str(tmp_path / "crawl.txt"))), root=str(tmp_path / "run"))
    return str(tmp_path / "run")


def test_plan_prints_stages_numbers_and_inputs_and_runs_nothing(recipe, tmp_path, capsys):
    assert main(["plan", recipe, "--source", str(tmp_path / "crawl.txt"), "--root", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "longer annotate <- lines (passes on)  min_chars=5" in told
    assert not (tmp_path / "run").exists()


def test_plan_marks_what_is_done_and_what_another_recipe_made(recipe, root, tmp_path, capsys):
    assert main(["plan", recipe, "--source", str(tmp_path / "crawl.txt"), "--root", root]) == 0
    assert "done longer annotate" in capsys.readouterr().out
    Path(recipe).write_text(RECIPE.replace("min_chars=5", "min_chars=6"))
    assert main(["plan", recipe, "--source", str(tmp_path / "crawl.txt"), "--root", root]) == 0
    told = capsys.readouterr().out
    assert "done lines map" in told
    assert "stale longer annotate" in told


def test_status_why_and_show_tell_what_happened(root, capsys):
    assert main(["status", root]) == 0
    assert main(["why", root, "https://example.org/crawl.txt/1"]) == 0
    assert main(["show", root, "clean", "--rows", "1"]) == 0
    told = capsys.readouterr().out
    assert "clean" in told
    assert "dropped: short" in told
    assert "a long document" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["status", "/nowhere/at/all"], "holds no finished stage"),
        (["plan", "nothing.py"], "is not a Python file"),
        (["why", "ROOT", "https://example.org/unheard"], "knows no page"),
        (["show", "ROOT", "clean", "--reason", "unheard"], "longer: short"),
        (["run", "RECIPE", "--root", "ROOT", "--source", "nowhere/*.warc"], "no files at"),
        (["run", "RECIPE", "--root", "ROOT", "--source", "CRAWL", "--reuse", "/nowhere"], "holds no finished stage"),
        (["run", "RECIPE", "--root", "ROOT", "--source", "CRAWL", "--redo", "unheard"], "no such stage"),
    ],
)
def test_a_wrong_input_is_one_clear_line_and_a_non_zero_exit(words, told, root, recipe, tmp_path, capsys):
    places = {"ROOT": root, "RECIPE": recipe, "CRAWL": str(tmp_path / "crawl.txt")}
    assert main([places.get(word, word) for word in words]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


@pytest.mark.parametrize("share", ["0", "2", "-1", "many"])
def test_a_sample_that_is_no_share_is_refused(share, recipe, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", recipe, "--sample", share])
    assert stop.value.code != 0
    assert "--sample" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_extra(monkeypatch, root, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    for name in [name for name in sys.modules if name.startswith("hare_ray.report")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["report", root]) == 1
    assert "pip install 'hare_ray[report]'" in capsys.readouterr().err


def test_plan_and_run_take_at_most_the_agreed_flags():
    commands = parser()._subparsers._group_actions[0].choices
    flags = {flag for name in ("plan", "run") for flag in commands[name]._option_string_actions}
    assert flags == {"-h", "--help", "--root", "--reuse", "--redo", "--scale", "--source", "--sample", "--llm"}


def test_a_stage_of_a_recipe_travels_to_a_process_that_cannot_import_it(tmp_path):
    """As it does to Ray's workers, and from there to the child processes that look for poison."""
    recipe = RECIPE.replace("def recipe", "class Mine(Longer):\n    own: int = 3\n\ndef recipe").replace(
        "(Longer(", "(Mine("
    )
    (tmp_path / "own.py").write_text(recipe)
    (clean,) = load_recipe(str(tmp_path / "own.py"))(Choice(source=str(tmp_path)))
    mine = cloudpickle.loads(cloudpickle.dumps(clean.verdicts[0]))
    row = {"id": b"1" * 16, "url": "u", "file": "f", "offset": 0, "title": None, "text": "tiny"}
    got = survive(mine, Catalog(), [pa.Table.from_pylist([row], schema=DOCUMENT)], Limits())
    assert got.column("reason").to_pylist() == ["short"]


def test_a_sample_shows_the_share_kept_of_what_was_read():
    books = {"dropped": {"not_sampled": 90}, "in": 0, "made": 100, "out": 10}
    manifest = {
        "name": "clean",
        "inputs": {},
        "members": [{"name": "read", "inputs": {}, "books": books}],
        "parts": [{"rows": 8, "ledger_rows": 92}],
        "books": {"dropped": {"short": 2}, "characters": 1234},
        "run": {"started": "now", "seconds": 1.0, "peak_mib": 5},
    }
    cells = [list(column.cells) for column in closing([manifest]).columns]
    assert [cell[0] for cell in cells] == ["clean", "8", "2", "80.0%", "1,234", "1.0", "5"]
