"""The page about runs that are sampled, empty, checked against nothing, of one topic, or reused; what was dropped."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from hare_ray import engine
from hare_ray.inspect import examples
from hare_ray.manifest import load_all
from hare_ray.report import render
from hare_ray.report.funnel import funnel
from hare_ray.report.reading import Run
from hare_ray.report.records import spent, wall_seconds
from hare_ray.store import Root
from tests.report.pages import NAMES, crawled, headline, page, pages, plain, recipe, run, section, tiles
from tests.report.stages import build


def test_records_outside_the_sample_are_neither_crawled_nor_dropped(tmp_path: Path) -> None:
    outside = [page(1000 + n, f"unsampled {n}") for n in range(120)]
    stages = recipe(crawled(tmp_path, pages() + outside))
    run(stages, tmp_path / "run")
    assert load_all(Root(str(tmp_path / "run")))["clean"]["members"][0]["books"]["dropped"]["not_sampled"] == 120
    html = render(str(tmp_path / "run"))
    told = f"sample of {len(pages())} of {len(pages()) + 120} records"
    assert tiles(html)["Pages crawled"] == (str(len(pages())), f"{told}, read from crawl")
    assert headline(html).startswith(f"{len(pages())} pages in,")
    d1 = load_all(Root(str(tmp_path / "run")))["d1"]["books"]["out"]
    assert tiles(html)["Documents in D1"][1] == f"{100 * d1 / len(pages()):.0f} % of what was crawled"
    found = section(html, "funnel")
    assert told in found
    assert "not_sampled" not in found
    assert "not sampled" not in found
    step = funnel(Run.of(str(tmp_path / "run"))).steps[0]
    assert (step.rows_in, step.rows_out, step.dropped) == (len(pages()), len(pages()) - 4, 4)


def test_a_run_that_took_every_record_says_nothing_of_a_sample(html: str) -> None:
    assert "sample of" not in plain(html)


@pytest.mark.parametrize(
    ("coverage", "reason"),
    [
        ({}, "the leak index has no items"),
        ({"arc": {"all": {"items": 0, "ngram": 0, "short_exact": 0, "joined": 0, "unchecked": 0}}}, "has no items"),
        ({"arc": {"all": {"items": 3, "ngram": 0, "short_exact": 0, "joined": 0, "unchecked": 3}}}, "none of its 3"),
    ],
)
def test_a_leak_check_over_nothing_does_not_read_as_clean(
    whole: Path, tmp_path: Path, coverage: dict[str, Any], reason: str
) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    next(root.glob("leak_index/*/coverage.json")).write_text(json.dumps(coverage))
    for ledger in root.glob("leak_free/*/ledger-*.parquet"):
        ledger.unlink()
    html = render(str(root))
    figure, note = tiles(html)["Leaks removed"]
    assert figure == "\N{EN DASH}"
    assert note.startswith("nothing to check against")
    assert reason in note
    text = plain(section(html, "leakage"))
    assert f"nothing to check against: {note.split(': ')[1]}" in text
    assert "No document held an item" not in text


def test_an_empty_d1_is_called_empty(tmp_path: Path) -> None:
    stages = build(crawled(tmp_path, pages()), NAMES, cap=8, min_quality=2.0)
    with pytest.raises(ValueError, match="d1 kept no document"):
        run(stages, tmp_path / "run")
    html = render(str(tmp_path / "run"))
    assert headline(html) == f"{len(pages())} pages in, no document left"
    assert tiles(html)["Documents in D1"] == ("0", "0 % of what was crawled")
    assert "\N{RIGHTWARDS ARROW}" not in section(html, "quality")
    assert "&rarr;" not in section(html, "quality") + section(html, "topics")
    assert 'class="area after"' not in html
    assert "nan" not in plain(html).split()


def test_a_run_with_one_topic_compares_no_topics(tmp_path: Path) -> None:
    found = [page(n, f"topic=0 quality=0.5 words of document {n}") for n in range(12)]
    run(build(crawled(tmp_path, found), NAMES[:1], cap=20, min_quality=0.3), tmp_path / "run")
    html = render(str(tmp_path / "run"))
    assert tiles(html)["Topics"][0] == "1"
    assert headline(html) == "12 pages in, 12 documents worth training on"
    topics = plain(section(html, "topics"))
    assert "1 of 1 topic left" in topics
    assert "entropy" not in topics
    text = plain(section(html, "quality"))
    assert "0.500 \N{RIGHTWARDS ARROW} 0.500 mean quality" in text
    assert "spread between topics" not in text
    assert "Mean quality of every topic" not in text


def test_seconds_and_memory_of_a_pass_are_shown_once(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    seconds = 0.0
    for path in root.glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        together = manifest["name"] in ("assign", "score")
        took = {"seconds": 7.0 if together else 1.0, "peak_mib": 70, "pass": "assign+score" if together else None}
        path.write_text(json.dumps(manifest | {"run": manifest["run"] | took | {"started": "then"}}))
        seconds += 0.0 if manifest["name"] == "score" else took["seconds"]
    found = Run.of(str(root))
    lines = {line.name: line for line in spent(found)}
    pair = sorted((lines["assign"], lines["score"]), key=lambda line: line.inside is not None)
    assert [(line.seconds, line.peak_mib) for line in pair] == [(7.0, 70), (None, None)]
    assert pair[1].inside == pair[0].name
    assert wall_seconds(found) == pytest.approx(seconds)


def test_stages_of_another_root_that_is_gone_are_named_with_the_cure(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "old")
    stages = recipe(whole.parent / "crawl")
    settings = engine.Settings(reuse=str(tmp_path / "old"))
    engine.run(stages["d1"], root=str(tmp_path / "new"), settings=settings)
    assert "worth training on" in render(str(tmp_path / "new"))
    shutil.rmtree(tmp_path / "old")
    told = rf"of {tmp_path}/old, where they are gone; .*--root {tmp_path}/new --redo clean"
    with pytest.raises(ValueError, match=told) as error:
        render(str(tmp_path / "new"))
    with pytest.raises(ValueError, match=told):
        examples(Root(str(tmp_path / "new")), "language", "other_language", 1)
    redo = tuple(re.findall(r"--redo (\w+)", str(error.value)))
    engine.run(stages["d1"], root=str(tmp_path / "new"), settings=engine.Settings(redo=redo))
    assert "worth training on" in render(str(tmp_path / "new"))


def test_rows_that_were_dropped_are_rows_of_the_ledger(whole: Path) -> None:
    root = Root(str(whole))
    rows = examples(root, "language", "other_language", 4)
    assert len(rows) == 4
    assert list(rows[0]) == ["id", "url", "stage", "reason", "detail", "snippet"]
    assert all(row["snippet"].startswith("lingua fr") for row in rows)
    with pytest.raises(ValueError, match="given 0 rows"):
        examples(root, "language", "other_language", 0)
