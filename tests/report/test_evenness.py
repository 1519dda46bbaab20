"""Topics, coverage and quality on the page: with all that newer stages tell, and with what older ones leave out."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from hare_ray import engine
from hare_ray.priors.topics import TopicTarget
from hare_ray.report import diagrams, render
from hare_ray.report.funnel import funnel
from hare_ray.report.quality import Bin
from hare_ray.report.reading import Run
from hare_ray.report.tally import Rows, Side, Tally, tally
from hare_ray.report.topics import LISTED, Topic, coverage, topic_table
from tests.report.pages import NAMES, Reader, plain, section
from tests.report.stages import Balance, StaticModel, Titles, Wanted


def rewritten(whole: Path, to: Path, name: str, file: str, change) -> Path:
    """A copy of the run in which a JSON file of a stage is changed."""
    shutil.copytree(whole, to)
    (path,) = (to / name).glob(f"*/{file}")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return to


def with_stage(whole: Path, to: Path, stage) -> Path:
    """A copy of the run with one more stage."""
    shutil.copytree(whole, to)
    engine.run(stage, root=str(to))
    return to


def test_sources_are_shown_with_their_share_and_examples_as_text(html: str) -> None:
    text = section(html, "topics")
    assert "a.org 75 % b & c 5 %" in plain(text)
    assert "A &lt;b&gt;bold&lt;/b&gt; title\nhow it begins" in text


def test_a_title_comes_before_the_words(whole: Path, tmp_path: Path) -> None:
    labels = [
        {"cluster": n, "label": name, "words": [name], "rows": 20, "urls": [], "titles": []}
        for n, name in enumerate(NAMES)
    ]
    labels[0]["title"] = "Water & its <edges>"
    root = with_stage(whole, tmp_path / "run", Titles(label="topic_titles", content={"labels.json": labels}))
    html = render(str(root))
    assert "Water & its <edges> rivers and banks" in plain(section(html, "topics"))
    names = json.loads(Reader(html).scripts[0])["names"]
    assert names == ["Water & its <edges>", *NAMES[1:]]


def test_what_selection_did_to_coverage_is_told_with_its_reasons(whole: Path, html: str) -> None:
    run = Run.of(str(whole))
    found = coverage(run, funnel(run), tally(run))
    assert found is not None
    assert found.after is not None
    dropped = run.books("d1")["dropped"]
    assert found.dropped == [
        ("below the quality asked for", dropped["below_quality"]),
        ("over the cap on their topic", dropped["over_topic_cap"]),
    ]
    sizes = sorted(tally(run).after.sizes.tolist())  # pyright: ignore[reportOptionalMemberAccess]
    assert (found.after.smallest, found.after.median, found.after.largest) == (sizes[0], sizes[1], sizes[2])
    assert found.after.effective == pytest.approx(2**found.after.entropy)
    text = plain(section(html, "topics"))
    assert f"{dropped['below_quality']} below the quality asked for" in text
    assert "100 % of 3 centroids" in text
    assert 'class="ranked before"' in html
    assert 'class="ranked after"' in html


def test_the_share_of_centroids_counts_those_without_documents(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.of(str(whole))
    monkeypatch.setattr("hare_ray.report.topics._centroids", lambda run: 12)
    found = coverage(run, funnel(run), tally(run))
    assert found is not None
    assert found.before.share_of_centroids == 3 / 12


def test_what_is_read_and_not_what_is_there_makes_shares_and_entropy() -> None:
    before, after = Side(), Side()
    edges = np.linspace(0, 1, 3)
    cluster = np.repeat([0, 1], [90, 10])
    before.add(Rows(cluster, None, None), edges)
    after.add(Rows(cluster, None, None, np.repeat([1.0, 9.0], [90, 10])), edges)
    assert before.entropy == pytest.approx(0.469, abs=1e-3)
    assert after.entropy == pytest.approx(1.0)
    assert after.rows.tolist() == [90, 10]
    found = Tally(edges, before, after, scored=False, clustered=True, judged=False)
    lines = topic_table([Topic(n, f"topic {n}", 1) for n in range(2)], found)
    assert [line.share_before for line in lines] == pytest.approx([0.9, 0.1])
    assert [line.share_after for line in lines] == pytest.approx([0.5, 0.5])
    assert [line.after for line in lines] == [90, 10]


def test_bars_are_shares_of_what_is_read(whole: Path, html: str) -> None:
    found = tally(Run.of(str(whole)))
    assert found is not None
    assert found.after is not None
    read = found.after.weight / found.after.weight.sum()
    assert read.max() > found.after.rows.max() / found.after.total  # one topic is repeated
    drawn = re.findall(r'class="bar after" style="width:([\d.]+)%', section(html, "topics"))
    assert sorted(map(float, drawn)) == pytest.approx(sorted(100 * read / read.max()), abs=0.01)


def test_every_target_tells_what_it_found_and_got(whole: Path, html: str, tmp_path: Path) -> None:
    assert "Share wanted for" not in section(html, "topics")
    books = {
        "target_0_topics": 2, "target_0_wanted": 3000, "target_0_reached": 600,
        "target_1_topics": 0, "target_1_wanted": 50, "target_1_reached": 0,
    }  # fmt: skip
    targets = (TopicTarget("rivers|<banks>", 0.3), TopicTarget("ovens", 0.005))
    root = with_stage(whole, tmp_path / "run", Balance(prior=Wanted(targets), told=books))
    text = plain(section(render(str(root)), "topics"))
    assert "Topics found Wanted Reached rivers|<banks> 2 30 % 6 % ovens 0 0.5 % 0 %" in text


def test_repeats_are_shown_only_where_any_differs_from_one(whole: Path, html: str, tmp_path: Path) -> None:
    assert "Repeats" in section(html, "topics")
    side = Side()
    side.grow(2)
    side.rows += np.asarray([3, 4])
    side.weight += np.asarray([3, 4 + 1e-7])
    assert not side.repeated
    side.weight += np.asarray([0.5, 0])
    assert side.repeated


def test_evenness_and_disputes_are_told(whole: Path, html: str) -> None:
    found = tally(Run.of(str(whole)))
    assert found is not None
    assert found.after is not None
    text = plain(section(html, "quality"))
    assert f"{found.before.within:.3f} \u2192 {found.after.within:.3f} spread within topics" in text
    assert "disputed" in text
    assert found.before.disagreeing > found.after.disagreeing


def test_a_committee_of_today_shows_f1_calibration_and_where_labels_are_from(whole: Path, tmp_path: Path) -> None:
    def newer(report: dict) -> dict:
        for member in (*report["members"].values(), report["committee"]):
            member |= {"f1": 88.8, "ece": 4.4}
        bins = [
            {"from": 0.0, "to": 0.1, "rows": 30, "mean_predicted": 0.05, "share_good": 0.1},
            {"from": 0.1, "to": 0.2, "rows": 0, "mean_predicted": 0.0, "share_good": 0.0},
            {"from": 0.9, "to": 1.0, "rows": 50, "mean_predicted": 0.95, "share_good": 0.9},
        ]
        return {**report, "calibration": bins, "groups": {"examples": 70, "llm": 30}}

    text = section(render(str(rewritten(whole, tmp_path / "run", "committee", "report.json", newer))), "quality")
    assert "meaning 91.2 % 96.3 % 88.8 % 4.4 % 0.550" in plain(text)
    assert "Labels are from examples (70), llm (30)." in plain(text)
    assert text.count("good were") == 2
    assert "said 0.95, good were 0.90 of 50" in text


def test_a_committee_of_an_older_run_shows_what_it_has(html: str) -> None:
    text = section(html, "quality")
    assert "Calibration" not in text
    assert "F1" not in text


def test_a_static_model_tells_how_far_it_is_from_its_teacher(whole: Path, tmp_path: Path) -> None:
    report = {"neighbours": 10, "recall": 0.62, "cosine": 0.874}
    root = with_stage(whole, tmp_path / "run", StaticModel(label="fast", content={"report.json": report}))
    text = plain(section(render(str(root)), "topics"))
    assert (
        "of the 10 documents nearest to each under that, it finds 62 %, and its vectors have a cosine of 0.87" in text
    )
    (path,) = (root / "fast").glob("*/report.json")
    path.write_text(json.dumps({**report, "recall": None}))
    assert "distilled from a larger one: its vectors" not in plain(section(render(str(root)), "topics"))


def test_without_d1_what_select_left_is_after(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    with_d1 = tally(Run.of(str(root)))
    shutil.rmtree(root / "d1")
    without = tally(Run.of(str(root)))
    assert with_d1 is not None
    assert without is not None
    assert with_d1.after is not None
    assert without.after is not None
    assert with_d1.after.rows.tolist() == without.after.rows.tolist()
    assert not without.after.repeated


def test_d1_counts_and_not_select_where_other_verdicts_drop_too(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    shutil.rmtree(root / "select")
    found = tally(Run.of(str(root)))
    assert found is not None
    assert found.after is not None
    assert found.after.total == Run.of(str(root)).rows("d1")


def test_many_topics_leave_a_table_of_bounded_length() -> None:
    topics = [Topic(n, f"topic {n}", 1) for n in range(LISTED + 50)]
    side = Side()
    side.grow(len(topics))
    side.rows += 1
    side.weight += 1
    run = type("Found", (), {"before": side, "after": None, "scored": False, "clustered": True})
    assert len(topic_table(topics, run)) == LISTED  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("count", [1, 2, 199, 30_000])
def test_ranked_sizes_are_drawn_from_the_first_to_the_last_and_stay_few(count: int) -> None:
    sizes = np.sort(np.random.default_rng(0).integers(1, 10**6, count))[::-1]
    drawn = diagrams.rank_sizes(sizes, None)
    (points,) = re.findall(r'points="([^"]+)"', str(drawn))
    places = [tuple(map(float, point.split(","))) for point in points.split()]
    assert len(places) <= diagrams.MAX_POINTS
    assert all(0 <= x <= diagrams.WIDTH and 0 <= y <= diagrams.BASE for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert f"{sizes[0]:,} documents in the largest topic, {sizes[-1]:,} in the smallest" in str(drawn)


def test_a_calibrated_committee_lies_on_the_diagonal() -> None:
    drawn = str(diagrams.reliability([Bin(10, 0.25, 0.25), Bin(40, 0.75, 0.75)]))
    (ideal,) = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="([\d.]+)" class="ideal"', drawn)
    x1, x2, y1, y2 = map(float, ideal)
    for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn):
        assert (float(y) - y1) / (y2 - y1) == pytest.approx((float(x) - x1) / (x2 - x1), abs=0.002)
