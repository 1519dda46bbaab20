"""The section on synthetic text: counts by template against the tables, bad prompts, costs, variants, samples."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hare_ray.catalog import place
from hare_ray.manifest import load_all
from hare_ray.report import render, write
from hare_ray.report.closing import closing
from hare_ray.report.cost import per_million
from hare_ray.report.lineage import generates, generates_again
from hare_ray.report.reading import Run
from hare_ray.report.synthesis import Synthetic, synthesis
from hare_ray.report.templates import upper_bound
from hare_ray.report.words import duration
from hare_ray.store import Root
from tests.report.pages import Reader, plain, section
from tests.report.written import TEMPLATES, TOLD, TOLD_AGAIN, ran


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    for last in ("plain", "joined", "packed"):
        ran(folder, last)
    return folder


def corpus(root: Path) -> Synthetic:
    (found,) = synthesis(Run.of(str(root)))
    return found


def rows(root: Path, name: str, begin: str = "part") -> list[dict[str, Any]]:
    where = place(Root(str(root)), load_all(Root(str(root)))[name])
    files = sorted((root / where.folder).glob(f"{begin}-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.mark.parametrize("last", ["plain", "joined"])
def test_counts_by_template_are_those_of_the_tables_also_where_rules_share_a_templates_name(
    folder: Path, last: str
) -> None:
    root = folder / last
    found = corpus(root).ways[0]
    asked, answers = rows(root, "asked"), rows(root, "answers")
    left = {row["id"]: row for row in rows(root, last)}
    holders = ("plain",) if last == "plain" else ("both", "joined")
    lost = {row["id"]: row["reason"] for name in (*holders, "written") if name in load_all(Root(str(root)))
            for row in rows(root, name, "ledger")}  # fmt: skip
    assert {line.name for line in found.lines} == set(TEMPLATES)
    for line in found.lines:
        mine = [(row, answer) for row, answer in zip(asked, answers, strict=True) if row["template"] == line.name]
        kept = [left[row["id"]] for row, _ in mine if row["id"] in left]
        assert line.count.asked == len(mine)
        assert line.count.completion_tokens == sum(answer["completion_tokens"] for _, answer in mine)
        assert line.count.accepted == len(kept)
        assert line.count.accepted_tokens == sum(row["tokens"] for row in kept)
        assert line.count.refused == Counter(lost[row["id"]] for row, _ in mine if row["id"] in lost)
        assert line.count.asked == line.count.accepted + line.count.refused.total()
        assert line.tokens_each == pytest.approx(line.count.completion_tokens / len(kept))
        assert line.task == "web"


def test_rules_and_open_data_are_ways_of_their_own_with_the_rest_of_the_corpus(folder: Path) -> None:
    found = corpus(folder / "joined")
    titles = {way.title: way for way in found.ways}
    assert set(titles) == {"by a/writer-8B", "by rule", "from instruction data"}
    left = rows(folder / "joined", "joined")
    by_model = sum(row["tokens"] is not None for row in left)
    assert (found.kept, found.accepted, found.joined) == (len(left), by_model, True)
    for title, template in (("by rule", "cloze"), ("from instruction data", "question")):
        (line,) = titles[title].lines
        mine = [row for row in left if row["tokens"] is None and row["template"] == template]
        assert (line.name, line.count.accepted, line.count.asked) == (template, len(mine), 90)
        assert set(line.count.refused) == {"refusal", "below_quality"}
        assert {sample.prompt for sample in line.kept} == {None}


def test_a_corpus_that_was_packed_without_being_written_counts_the_same(folder: Path) -> None:
    one, other = corpus(folder / "plain"), corpus(folder / "packed")
    assert other.last == "asked"
    assert other.accepted_tokens == one.accepted_tokens
    for line, same in zip(one.ways[0].lines, other.ways[0].lines, strict=True):
        assert line.count == same.count
        assert [sample.id for sample in line.kept] == [sample.id for sample in same.kept]
    assert other.ways[0].matrix == one.ways[0].matrix


def test_a_bad_prompt_comes_first_and_is_marked_and_no_other_is(folder: Path) -> None:
    lines = corpus(folder / "plain").ways[0].lines
    assert [line.low for line in lines] == [True, False, False, False]
    assert lines[0].name == "broken"
    shares = [line.count.accepted / line.count.asked for line in lines]
    assert shares == sorted(shares)
    text = section(render(str(folder / "plain")), "synthesis")
    assert text.count('<tr class="low">') == 1
    assert text.count("below the others<") == 1
    assert re.search(r'<tr class="low">\s*<td>broken', text)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.9999))
def test_the_bound_is_wilsons(counts: tuple[int, int], level: float) -> None:
    accepted, asked = counts
    expected = binomtest(accepted, asked).proportion_ci(level, "wilson").high
    assert upper_bound(accepted, asked, level) == pytest.approx(expected, abs=1e-9)


def test_variants_are_a_matrix_of_what_was_asked_and_kept(folder: Path) -> None:
    found = corpus(folder / "plain").ways[0].matrix
    assert found is not None
    assert (found.rows, found.columns) == (("children", "students"), ("chapter", "letter", "talk"))
    asked = Counter(row["variant"] for row in rows(folder / "plain", "asked"))
    kept = Counter(row["variant"] for row in rows(folder / "plain", "plain"))
    for row, cells in zip(found.rows, found.cells, strict=True):
        for column, cell in zip(found.columns, cells, strict=True):
            assert cell is not None
            assert (cell.asked, cell.accepted) == (asked[f"{row} / {column}"], kept[f"{row} / {column}"])


def test_samples_are_ten_of_each_with_prompt_seed_variant_and_the_whole_answer(folder: Path) -> None:
    way = corpus(folder / "joined").ways[0]
    answers = dict(zip((row["id"] for row in rows(folder / "joined", "asked")),
                       (row["answer"] for row in rows(folder / "joined", "answers")), strict=True))  # fmt: skip
    for kept, refused in [(line.kept, line.refused) for line in way.lines] + [(way.kept_samples, way.refused_samples)]:
        assert len(kept) == len(refused) == 10
        assert len({sample.id for sample in (*kept, *refused)}) == 20
        for sample in (*kept, *refused):
            assert sample.text == (answers[sample.id] or "").strip()
            assert sample.prompt is not None
            assert sample.seed is not None
            assert sample.prompt.endswith(sample.seed)
            assert f"<{sample.label[1]}> for {sample.variant} " in sample.prompt
            assert sample.url.endswith(f"#{sample.label[1]}")
    assert {sample.reason for sample in way.kept_samples} == {None}
    assert None not in {sample.reason for sample in way.refused_samples}


def test_costs_follow_from_the_books_and_the_prices(folder: Path, tmp_path: Path) -> None:
    found = corpus(folder / "plain")
    (writing,) = found.writings
    cost = writing.cost
    assert (cost.seconds, cost.accelerator_seconds) == (20.0, 40.0)
    now = 1 - TOLD["reused"] / found.prompts
    assert cost.tokens_per_second == found.tokens_per_second == pytest.approx(writing.completion_tokens * now / 20)
    assert cost.money == pytest.approx(2 * 2.5 * 20 / 3600 / now)
    each, millions = found.ways[0].per_million, (found.accepted_tokens or 0) / 1e6
    assert each.money == pytest.approx(2 * 2.5 * 20 / 3600 / now / millions)
    assert (each.seconds, each.accelerator_seconds) == pytest.approx((20 / now / millions, 40 / now / millions))
    text = plain(section(render(str(folder / "plain")), "synthesis"))
    assert "2.5 USD for an hour of one H100" in text
    assert "2 accelerators at most" in text
    assert "the most that its replicas could hold" in text
    assert "with the start of the model where it was not running yet" in text
    assert f"{cost.tokens_per_second:,.0f} tokens/s" in text
    (silent,) = corpus(ran(tmp_path, "plain", {})).writings
    assert (silent.cost.money, silent.cost.accelerator_seconds) == (None, None)
    assert "the start of the model included" in silent.cost.assumed
    assert silent.cost.tokens_per_second is not None


def test_a_run_on_cores_tells_seconds_for_a_million_accepted_tokens(tmp_path: Path) -> None:
    found = corpus(ran(tmp_path, "plain", {"milliseconds": 3000, "accelerator_seconds": 0}))
    each = found.ways[0].per_million
    assert each.seconds == pytest.approx(3e6 / (found.accepted_tokens or 0))
    assert (each.accelerator_seconds, each.money) == (None, None)
    text = plain(section(render(str(tmp_path / "plain")), "synthesis"))
    assert f"{duration(each.seconds)} per million accepted tokens of wall time" in text
    assert "at most" not in text


def test_accelerator_seconds_that_were_counted_are_what_is_charged(tmp_path: Path) -> None:
    told = {"milliseconds": 20_000, "gpus": 8, "accelerator_seconds": 30}
    (writing,) = corpus(ran(tmp_path, "plain", told)).writings
    assert (writing.cost.accelerator_seconds, writing.cost.accelerators) == (30, 1.5)
    assert writing.cost.money == pytest.approx(30 * 2.5 / 3600)
    text = plain(section(render(str(tmp_path / "plain")), "synthesis"))
    assert "1.5 accelerators on average" in text
    assert "could hold" not in text


def test_second_questions_cost_their_branch_and_are_no_way_of_writing(folder: Path, tmp_path: Path) -> None:
    root, alone = ran(tmp_path, "plain", None, "a/writer-8B", "again"), corpus(folder / "plain")
    found = corpus(root)
    assert (found.prompts, found.accepted, found.sentence) == (alone.prompts, alone.accepted, None)
    assert found.of_models == alone.of_models
    assert [way.title for way in found.ways] == ["by a/writer-8B"]
    (again,) = found.ways[0].again
    answers = [row for row in rows(root, "again") if row["finish"] != "not_asked"]
    assert 0 < len(answers) < found.prompts
    assert (again.stage, again.prompts) == ("again", len(answers))
    assert again.completion_tokens == sum(row["completion_tokens"] for row in answers)
    assert again.finishes == Counter(row["finish"].partition(":")[0] for row in answers)
    seconds, held = TOLD_AGAIN["milliseconds"] / 1000, TOLD_AGAIN["accelerator_seconds"]
    assert (again.cost.seconds, again.cost.accelerator_seconds) == (seconds, held)
    millions, first = (found.accepted_tokens or 0) / 1e6, alone.ways[0].per_million
    each = found.ways[0].per_million
    assert first.seconds is not None
    assert first.accelerator_seconds is not None
    assert first.money is not None
    assert each.seconds == pytest.approx(first.seconds + seconds / millions)
    assert each.accelerator_seconds == pytest.approx(first.accelerator_seconds + held / millions)
    assert each.money == pytest.approx(first.money + held * 2.5 / 3600 / millions)
    html = render(str(root))
    text = plain(section(html, "synthesis"))
    assert Reader(html).open == []
    assert text.count("Written by ") == 1
    assert f"tokens of second questions {len(answers):,} asked about these answers, 5.0 s" in text
    assert text.count("second questions included") == 2
    write(str(root))
    told = f"- Second questions to a/writer-8B (stage `again`): {len(answers):,} about answers"
    assert told in (root / "DATASET_CARD.md").read_text()


def test_second_questions_go_with_the_writer_whose_answers_they_are_about(tmp_path: Path) -> None:
    run = Run.of(str(ran(tmp_path, "plain", None, "a/writer-8B", "other_again", "again")))
    assert sorted(generates(run, "asked")) == ["answers", "other"]
    assert generates_again(run, "asked") == {"again": "answers", "other_again": "other"}
    assert generates_again(run, "docs") == {}


def test_a_million_tokens_have_no_cost_where_that_of_second_questions_is_not_known(folder: Path) -> None:
    cost = corpus(folder / "plain").writings[0].cost
    unknown = replace(cost, seconds=None, accelerator_seconds=None, money=None)
    found = per_million([cost, unknown], 10)
    assert (found.seconds, found.accelerator_seconds, found.money, found.whole_money) == (None, None, None, None)
    assert per_million([cost], 0).whole_money == cost.money
    assert per_million([], 10).money is None


def test_answers_that_were_all_there_before_took_no_time_and_an_unpriced_endpoint_no_money(tmp_path: Path) -> None:
    cost = corpus(ran(tmp_path, "plain", {"reused": 1080, "milliseconds": 5, "gpus": 1})).writings[0].cost
    assert (cost.seconds, cost.tokens_per_second, cost.money, cost.accelerator_seconds) == (None, None, None, None)
    (tmp_path / "other").mkdir()
    remote = corpus(ran(tmp_path / "other", "plain", {"milliseconds": 1000, "endpoint": 1})).writings[0].cost
    assert remote.money is None
    assert "no endpoint whose pattern fits a/writer-8B" in remote.assumed


def test_what_was_measured_of_diversity_is_shown_with_what_is_good(tmp_path: Path) -> None:
    root = ran(tmp_path, "diversity")
    told = json.loads(next(root.glob("diversity/*/diversity.json")).read_text())
    (found,) = corpus(root).diversity
    assert (found.sides, found.rows) == (("prompts", "seeds", "texts"), (40, 40, 40))
    text = plain(section(render(str(root)), "synthesis"))
    values = " ".join(f"{told[side]['self_bleu_4']:.3f}" for side in found.sides)
    assert f"self-BLEU-4 {values} lower is more diverse" in text
    assert f"{told['combinations']['reached']:,} combinations of" in text
    for name, one in told["texts"]["templates"].items():
        assert f"{name} {one['rows']} " in text


def test_the_page_about_it_is_well_formed_and_says_how_to_see_more(folder: Path) -> None:
    for last in ("plain", "joined", "packed"):
        html = render(str(folder / last))
        assert Reader(html).open == []
        assert "<lesson>" not in html
        text = plain(section(html, "synthesis"))
        assert f"hare why {folder / last} URL" in text
        assert re.search(rf"hare show {folder / last} \w+ --reason \w+", text)
        assert html == render(str(folder / last))


def test_the_closing_table_and_the_card_tell_accepted_tokens(folder: Path) -> None:
    found = corpus(folder / "plain")
    (grid,) = (part for part in closing(str(folder / "plain")) if not isinstance(part, str))
    cells = {str(column.header): list(column.cells) for column in grid.columns}
    assert cells["accepted tokens"] == [f"{found.accepted_tokens:,}"]
    assert cells["tokens/s"] == [f"{found.tokens_per_second:,.0f}"]
    write(str(folder / "plain"))
    card = (folder / "plain" / "DATASET_CARD.md").read_text()
    assert f"{found.accepted:,} of 1,080 prompts (72 %), {found.accepted_tokens:,} tokens." in card
    broken = found.ways[0].lines[0].count
    assert f"| broken | 270 | {broken.accepted} | 32 % | refusal |" in card
