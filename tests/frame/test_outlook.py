"""What `hare plan` says after an edit: what differs, what would be made anew because of it, what stays, what to say."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from hare_ray.cli import Choice, load_recipe, main
from hare_ray.engine import Settings, run
from hare_ray.manifest import describe, stale
from hare_ray.stage import Annotate, Table
from tests.frame.stages import Lines

RECIPE = """
from hare_ray.stage import Keep, Source
from tests.frame.stages import Count, Lines, Longer, Share

class Total(Count):
    factor: float

def recipe(choice):
    docs = Lines(files=Source(label="crawl", location=choice.source))
    clean = Keep(label="clean", docs=docs, verdicts=(Longer(docs=docs, min_chars=5),))
    count = Total(label="count", docs=clean, unit="characters", factor=1.0)
    share = Share(docs=clean, count=count)
    short = Keep(label="short", docs=docs, verdicts=(Longer(label="shorter", docs=docs, min_chars=3),))
    verdicts = (Longer(label="any", docs=clean, min_chars=0),)
    return Keep(label="last", docs=clean, verdicts=verdicts, opinions=(share,), carry=("share",)), short
"""
STAGES = 10


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "crawl.txt").write_text("a long document\ntiny\n\nanother long document")
    return tmp_path / "recipe.py"


def targets(recipe: Path) -> tuple:
    return load_recipe(str(recipe))(Choice(source=str(recipe.with_name("crawl.txt"))))


@pytest.fixture
def root(recipe: Path) -> str:
    run(*targets(recipe), root=str(recipe.with_name("run")))
    return str(recipe.with_name("run"))


@pytest.fixture
def plan(recipe: Path, capsys) -> Callable[..., list[str]]:
    def told(*flags: str) -> list[str]:
        assert main(["plan", str(recipe), "--source", str(recipe.with_name("crawl.txt")), *flags]) == 0
        return capsys.readouterr().out.strip().split("\n")

    return told


def edit(recipe: Path, *changes: tuple[str, str]) -> None:
    text = recipe.read_text()
    for was, now in changes:
        assert was in text
        text = text.replace(was, now)
    recipe.write_text(text)


def test_a_finished_run_of_the_same_recipe_has_nothing_to_say(root, plan):
    told = plan("--root", root)
    assert sum("done " in line for line in told) == STAGES
    assert told[-1] == "nothing would be made anew: 10 of 10 stages stay as they are"
    assert not [line for line in told[:-1] if line.startswith(("edited", "say")) or "anew" in line]


def test_of_an_unfinished_run_what_is_done_stays_and_what_is_not_is_told(root, recipe, plan):
    edit(recipe, ("opinions=(share,), carry", 'opinions=(share,), label="end", carry'), ('label="last", ', ""))
    assert plan("--root", root)[-2:] == [
        "nothing would be made anew: 9 of 10 stages stay as they are",
        "1 of 10 stages were not made yet: end",
    ]


def test_of_a_root_where_nothing_is_made_the_plan_alone_is_shown(recipe, plan, tmp_path):
    (tmp_path / "new").mkdir()
    assert "to do" in plan("--root", str(tmp_path / "new"))[-1]


def test_an_edit_is_told_with_what_follows_and_what_to_say(root, recipe, plan):
    edit(recipe, ("min_chars=5", "min_chars=6"))
    assert plan("--root", root)[-3:] == [
        "edited: longer min_chars: 5 -> 6",
        "6 of 10 stages would be made anew: longer, clean, any, count, share, last; 4 stay",
        f"say --redo longer to make them anew here, or --root NEW --reuse {root} to keep this run as it is",
    ]


def test_what_is_to_be_said_does_what_was_told(root, recipe, plan):
    edit(recipe, ("min_chars=5", "min_chars=6"), ("factor=1.0", "factor=2.0"), ("min_chars=3", "min_chars=4"))
    told = plan("--root", root)
    assert [line for line in told if line.startswith("edited")] == [
        "edited: longer min_chars: 5 -> 6",
        "edited: count factor: 1.0 -> 2.0",
        "edited: shorter min_chars: 3 -> 4",
    ]
    assert told[-1].startswith("say --redo longer --redo shorter to make")
    flags = [word for name in ("longer", "shorter") for word in ("--redo", name)]
    told = plan("--root", root, *flags)
    assert "8 of 10 stages would be made anew" in told[-1]
    assert sum("redo " in line for line in told) == 8
    before = {path: path.stat().st_mtime_ns for path in Path(root).glob("*/manifest.json")}
    run(*targets(recipe), root=root, settings=Settings(redo=("longer", "shorter")))
    assert {p.parent.name for p, t in before.items() if p.stat().st_mtime_ns != t} == {
        "any",
        "clean",
        "count",
        "short",
        "last",
    }
    assert not [line for line in plan("--root", root) if line.startswith(("edited", "say"))]


def test_another_root_is_compared_with_the_one_to_reuse(root, recipe, plan, tmp_path):
    edit(recipe, ("factor=1.0", "factor=2.0"))
    told = plan("--root", str(tmp_path / "new"), "--reuse", root)
    assert told[-2:] == [
        "edited: count factor: 1.0 -> 2.0",
        "3 of 10 stages would be made anew: count, share, last; 7 stay",
    ]
    assert sum("reused " in line for line in told) == 7
    assert sum("anew " in line for line in told[:-1]) == 3
    run(*targets(recipe), root=str(tmp_path / "new"), settings=Settings(reuse=root))
    assert sum("done " in line for line in plan("--root", str(tmp_path / "new"))) == STAGES


def test_new_stages_are_told_apart_from_those_made_anew(root, recipe, plan):
    edit(recipe, ("min_chars=0),", 'min_chars=0), Longer(label="extra", docs=clean, min_chars=9),'))
    told = plan("--root", root)
    assert told[-4:-1] == [
        "edited: last verdicts: any -> any, extra",
        "1 of 11 stages would be made anew: last; 9 stay",
        "1 of 11 stages were not made yet: extra",
    ]


def test_changed_files_are_an_edit(root, recipe, plan):
    recipe.with_name("crawl.txt").write_text("other text")
    told = plan("--root", root)
    assert told[-3].startswith("edited: crawl ")
    assert "crawl.txt" in told[-3]
    assert "10 of 10 stages would be made anew" in told[-2]


@pytest.mark.parametrize(
    ("flags", "told"), [(["--redo", "unheard"], "no such stage"), (["--reuse", "EMPTY"], "holds no finished stage")]
)
def test_flags_that_name_nothing_are_refused_as_by_a_run(root, recipe, flags, told, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    words = [str(tmp_path / "empty") if word == "EMPTY" else word for word in flags]
    assert main(["plan", str(recipe), "--source", str(tmp_path / "crawl.txt"), "--root", root, *words]) == 1
    assert told in capsys.readouterr().err


@dataclass(frozen=True)
class Item:
    name: str
    text: str = "same"


class Judge(Annotate):
    docs: Table
    items: tuple[Item, ...] = ()
    texts: tuple[str, ...] = ()
    long: str = ""
    limit: int | None = None
    writes: ClassVar[pa.Schema] = pa.schema([pa.field("x", pa.int32())])


LONG = "word " * 200


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ({"limit": None}, {"limit": 3}, "limit: null -> 3"),
        ({"texts": ("a", "b", "c")}, {"texts": ("a", "x", "y")}, 'texts[1]: "b" -> "x" (and 1 more)'),
        ({"texts": ("a", "b")}, {"texts": ("a", "c", "b")}, '2 -> 3 values, the first that differs is [1]: "b" -> "c"'),
        ({"texts": ("a", "b")}, {"texts": ("a",)}, '2 -> 1 values, the first that differs is [1]: "b" -> nothing'),
        ({"texts": ("a",)}, {"texts": ()}, 'texts: ["a"] -> []'),
        ({"items": (Item("a"), Item("b"))}, {"items": (Item("a"), Item("b", "new"))}, 'items[1].text: "same" -> "new"'),
        ({"long": f"{LONG}old {LONG}"}, {"long": f"{LONG}new {LONG}"}, 'word word word word old word'),
        ({"long": LONG}, {"long": f"{LONG}end"}, 'word end"'),
    ],
)  # fmt: skip
def test_of_a_long_value_the_place_that_differs_is_told(recipe, was, now, told):
    docs = next(stage for stage in targets(recipe)[1].parents if isinstance(stage, Lines))
    before = describe(Judge(docs=docs, **was))
    what = stale([Judge(docs=docs, **now)], {"judge": before})["judge"]
    assert told in what
    assert len(what) < 250


def test_a_field_that_the_code_has_gained_is_told_even_where_it_is_null(recipe):
    docs = next(stage for stage in targets(recipe)[1].parents if isinstance(stage, Lines))
    stage = Judge(docs=docs)
    before = {**describe(stage), "fingerprint": "older"}
    before["recipe"] = {
        **before["recipe"],
        "fields": {k: v for k, v in before["recipe"]["fields"].items() if k != "limit"},
    }
    assert stale([stage], {"judge": before}) == {"judge": 'limit: "(no such field)" -> null'}
