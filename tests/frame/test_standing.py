"""A Make tells how far it is; the terminal where the driver is shows it, and an older word is none."""

import io
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from hare_ray import progress
from hare_ray.engine import run
from hare_ray.gather import Desk
from hare_ray.progress import Live, following
from hare_ray.stage import Make
from hare_ray.standing import STANDING, Standing, tell, told
from hare_ray.store import Root


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(progress, "SAY_SECONDS", 0.0)


class Counts(Make):
    """Tells three times how far it is."""

    def make(self, desk: Desk) -> dict[str, int]:
        for done in (1, 2, 3):
            tell(desk.lasting, Standing(done, 3, f"loss {10 - done}"))
            time.sleep(0.2)
        return {}


class Mute(Make):
    def make(self, desk: Desk) -> dict[str, int]:
        return {}


def shown(root: Path, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    run(Counts(), Mute(), root=str(root), progress=Live(console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_there_are_lines(tmp_path):
    lines = shown(tmp_path, terminal=False).splitlines()
    said = [line for line in lines if line.startswith("counts ")]
    assert said == [f"counts {done}/3  loss {10 - done}" for done in (1, 2, 3)]
    assert [line.split()[:2] for line in lines if line.startswith("done")] == [["done", "counts"], ["done", "mute"]]


def test_on_a_terminal_there_is_a_bar(tmp_path):
    text = shown(tmp_path, terminal=True)
    assert "2/3" in text
    assert "loss 8" in text
    assert "counts 2/3" not in text


def test_the_word_is_gone_with_the_stage(tmp_path):
    shown(tmp_path, terminal=False)
    assert not list(tmp_path.rglob(STANDING))


def test_what_a_killed_run_told_is_not_shown(tmp_path):
    root, seen, new = Root(str(tmp_path)), [], threading.Event()
    tell(f"{tmp_path}/old", Standing(7, 9, "before"))

    def show(now: Standing) -> None:
        seen.append(now)
        new.set()

    with following(lambda: told(root, "old"), show):
        time.sleep(0.1)
        assert seen == []
        tell(f"{tmp_path}/old", Standing(8, 9, "now"))
        assert new.wait(5)
    assert seen == [Standing(8, 9, "now")]


def test_nothing_is_told_where_nothing_was(tmp_path):
    assert told(Root(str(tmp_path)), "nowhere") is None
