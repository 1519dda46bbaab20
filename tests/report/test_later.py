"""The page and the cards about the second half of a run: synthesis, mixture, training and evaluation."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray import engine
from hare_ray.manifest import load_all
from hare_ray.report import render, write
from hare_ray.report.curves import moving_mean, ticks
from hare_ray.report.evaluation import Score, differ
from hare_ray.report.funnel import funnel
from hare_ray.report.lineage import branches, chain
from hare_ray.report.reading import Run
from hare_ray.report.synthesis import synthesis
from hare_ray.report.training import lineages
from hare_ray.stage import Keep, Rebalance, Table
from hare_ray.store import Root
from tests.report.later import (
    CHANGE,
    SPIKE,
    Export,
    Forgetting,
    Inherit,
    Mixture,
    Pretrain,
    RoundSummary,
    SequenceLosses,
    build,
    metrics,
)
from tests.report.pages import Reader, crawled, pages, plain, recipe, run, section, tiles

SECTIONS = ("synthesis", "mixture", "training", "evaluation")


def test_the_page_is_well_formed_with_all_sections_and_loads_nothing(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert not [a for a in reader.attributes if a[1] in ("src", "srcset", "data", "poster", "action")]
    assert not re.search(r"@import|url\((?!#)", page)
    ids = [value for _, key, value in reader.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    assert set(SECTIONS) <= set(ids)
    links = {value[1:] for tag, key, value in reader.attributes if tag == "a" and key == "href" and value[0] == "#"}
    assert links <= set(ids)


def test_sections_appear_only_with_their_stages(html: str, both: Path, tmp_path: Path) -> None:
    assert not [name for name in SECTIONS if f'id="{name}"' in html or f'href="#{name}"' in html]
    root = tmp_path / "run"
    shutil.copytree(both, root)
    for gone, name in (("evaluate", "evaluation"), ("stage2", None), ("stage1", "training"), ("mix2", None)):
        shutil.rmtree(root / gone)
        text = render(str(root))
        assert name is None or f'id="{name}"' not in text
        assert 'id="mixture"' in text


def test_the_main_way_is_still_that_from_the_crawl_to_d1(both: Path, tmp_path: Path) -> None:
    found = Run.of(str(both))
    assert [step.name for step in funnel(found).steps] == ["read", "clean", "unique", "leak_free", "d1"]
    root = tmp_path / "run"
    shutil.copytree(both, root)
    shutil.rmtree(root / "d1")
    assert chain(Run.of(str(root)))[-1] == "leak_free"


def test_examples_of_a_base_that_ran_inside_a_later_pass_are_found(tmp_path: Path) -> None:
    first = recipe(crawled(tmp_path, pages()))
    engine.run(build(first)["pack_d1"], root=str(tmp_path / "run"))
    assert "d1" not in load_all(Root(str(tmp_path / "run")))
    last = funnel(Run.of(str(tmp_path / "run"))).steps[-1]
    assert last.name == "d1"
    assert {drop.reason: len(drop.examples) for drop in last.drops} == {"below_quality": 5, "over_topic_cap": 5}


def test_branches_balance_and_their_numbers_are_the_books(both: Path) -> None:
    found = {branch.name: branch for branch in synthesis(Run.of(str(both)))}
    assert set(found) == {"d2", "d3", "rule_items"}
    for branch in found.values():
        for path in branch.paths:
            assert all(step.rows_in == step.rows_out + step.dropped for step in path.flow.steps)
            assert [s.rows_in for s in path.flow.steps[1:]] == [s.rows_out for s in path.flow.steps[:-1]]
    d2 = found["d2"]
    prompts = 6 * load_all(Root(str(both)))["d1"]["books"]["out"]
    assert (d2.prompts, d2.accepted, d2.kept, d2.joined) == (prompts, 9, 9, False)
    assert [step.name for step in d2.paths[0].flow.steps] == ["textbook", "sound_d2", "d2"]
    assert {d.reason: d.rows for s in d2.paths[0].flow.steps for d in s.drops} == {
        "no_answer": 3, "too_short": prompts - 3 - 12, "leaked_ngram": 3,
    }  # fmt: skip
    writing = d2.writings[0]
    assert dict(writing.finishes) == {"error": 3, "length": prompts - 15, "stop": 12}
    assert (writing.prompt_tokens, writing.completion_tokens) == (10 * prompts, 12 * 20 + 2 * (prompts - 15))
    assert (found["d3"].prompts, found["d3"].accepted) == (9, 3)
    assert (found["rule_items"].prompts, found["rule_items"].accepted) == (0, None)


def test_few_accepted_texts_are_told_with_model_prompts_tokens_and_kept(both: Path, page: str) -> None:
    text = plain(section(page, "synthesis"))
    d2, d3 = (branch for branch in synthesis(Run.of(str(both))) if branch.prompts)
    told = f"refused most of what tiny_mistral wrote: of {d2.prompts} prompts it made 498 tokens, and 9 documents were"
    assert told in text
    assert d2.sentence is not None
    assert d3.sentence is None
    assert "6.2 % accepted" in text


def test_nothing_kept_is_zero_and_not_a_fault(tmp_path: Path) -> None:
    first = recipe(crawled(tmp_path, pages()))
    run(first, tmp_path / "run")
    d2 = build(first, good_every=1000)["d2"]
    with pytest.raises(ValueError, match="kept no document"):
        engine.run(d2, root=str(tmp_path / "run"))
    found = synthesis(Run.of(str(tmp_path / "run")))[0]
    assert (found.accepted, found.kept, found.ways[0].kept_samples) == (0, 0, [])
    text = plain(section(render(str(tmp_path / "run")), "synthesis"))
    assert "0 documents were kept (0 %)" in text
    assert "nothing was kept" in text
    assert write(str(tmp_path / "run")).endswith("report.html")


def test_prompts_that_nobody_answered_yet_are_told_as_such(both: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(both, root)
    for name in load_all(Root(str(root))):
        if name not in load_all(Root(str(both.parent / "run"))) or "d2" in name or "d3" in name or name == "tasks":
            shutil.rmtree(root / name)
    for name in ("textbook", "sound_d2", "task_prompts"):
        shutil.rmtree(root / name, ignore_errors=True)
    found = {branch.name: branch for branch in synthesis(Run.of(str(root)))}
    assert found["textbook_prompts"].kept is None
    assert "144 prompts, not yet made into documents" in plain(section(render(str(root)), "synthesis"))


def test_kept_samples_are_of_the_corpus_with_their_prompts_and_refused_ones_with_reasons(both: Path) -> None:
    found = {branch.name: branch for branch in synthesis(Run.of(str(both)))}
    for name, template in (("d2", "talk"), ("d3", "question")):
        samples = found[name].ways[0].kept_samples
        assert len(samples) == min(10, found[name].kept or 0)
        for sample in samples:
            assert sample.text.startswith("An <answer> in full")
            assert "number 23 " not in sample.text
            assert sample.prompt == f"Write a <{template}> on: {sample.seed}"
    refused = found["d2"].ways[0].refused_samples
    assert len(refused) == 10
    by_reason = {r.reason: r for way in found["d2"].ways for line in way.lines for r in line.refused}
    assert {reason: sample.text.split(",")[0] for reason, sample in by_reason.items()} == {
        "too_short": "too short", "no_answer": "", "leaked_ngram": "An <answer> in full",
    }  # fmt: skip
    assert {sample.prompt for sample in found["rule_items"].ways[0].kept_samples} == {None}


def test_synthetic_text_is_shown_as_text(page: str) -> None:
    assert "<answer>" not in page
    assert "An &lt;answer&gt; in full" in section(page, "synthesis")
    assert "cpu &lt;2 cores&gt;" in page


def test_tracks_that_are_joined_go_on_as_one_branch(whole: Path, both: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(both, root)
    made = build(recipe(whole.parent / "crawl"))
    tables = tuple(table for name in ("rule_items", "d3") if isinstance(table := made[name], Table))
    engine.run(Rebalance(label="joined", docs=tables, part_bytes=1 << 20), root=str(root))
    found = {branch.name: branch for branch in branches(Run.of(str(root)))}
    assert set(found) == {"d2", "joined"}
    starts = [set(track.starts) for track in found["joined"].tracks]
    assert sorted(starts, key=len) == starts
    assert starts[-1] == {"task_prompts", "rule_items"}
    assert [track.bases[-1] for track in found["joined"].tracks[:2]] in (["d3", "rule_items"], ["rule_items", "d3"])
    told = next(branch for branch in synthesis(Run.of(str(root))) if branch.name == "joined")
    assert (told.accepted, told.prompts, told.joined) == (3, 9, True)
    assert told.kept == 3 + sum(way.total.accepted for way in told.ways if way.writing is None)
    assert "made by a model, by rule and from other data" in plain(section(render(str(root)), "synthesis"))
    assert chain(Run.of(str(root)))[-1] == "d1"


def test_what_takes_in_real_documents_too_is_no_branch(both: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(both, root)
    manifest = json.loads((root / "rebalance" / "manifest.json").read_text())
    mixed = {**manifest, "name": "mixed", "inputs": {"docs": ["d1", "rule_items"]}, "fingerprint": "b" * 64}
    (root / "mixed").mkdir()
    (root / "mixed" / "manifest.json").write_text(json.dumps(mixed))
    assert {branch.name for branch in branches(Run.of(str(root)))} == {"d2", "d3", "rule_items"}


def test_a_mixture_shows_shares_and_tells_who_came_short_and_who_took_the_place(page: str) -> None:
    text = plain(section(page, "mixture"))
    assert "mix1 100 sequences of 64 tokens Every source gave what was planned." in text
    assert "d2 came short: 40 sequences of 300 planned, 4 % of the mixture instead of 30 %;" in text
    assert "in its place came sequences of d1 (+250), d3 (+10)." in text
    assert "d2 not crawled 3 300 40 9 1.50 2,560 30 % \N{RIGHTWARDS ARROW} 4 %" in text
    row = section(page, "mixture").split("<td>d1 ")[2].split("</tr>")[0]
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", row)]
    assert widths == pytest.approx([100 * 0.6 / 0.85, 100.0], abs=0.01)


def test_a_training_on_rows_that_another_one_chose_begins_anew(whole: Path, tmp_path: Path) -> None:
    """Its data comes from that one's losses; its weights do not."""
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    made = build(recipe(whole.parent / "crawl"))
    one, pack = made["stage1"], made["pack_d1"]
    assert isinstance(one, Pretrain)
    assert isinstance(pack, Table)
    losses = SequenceLosses(sequences=pack, trained=one)
    again = Keep(label="again", docs=pack, verdicts=(losses,))
    mixture = Mixture(label="mix_again", sources=(again,), planned=(50,), actual=(50,))
    anew = Pretrain(label="anew", data=mixture, steps=20, first_loss=9.0)
    exported = Export(trained=one, content={})
    cut = Inherit(parent=exported, content={})
    smaller = Pretrain(label="smaller", data=mixture, start=cut, steps=20, first_loss=5.0)
    engine.run(anew, smaller, root=str(root))
    found = lineages(Run.of(str(root)))
    assert {tuple(stage.name for stage in stages) for stages in found} == {("anew",), ("stage1", "smaller")}
    assert {stage.name: stage.after for stages in found for stage in stages} == {
        "stage1": None, "anew": None, "smaller": "stage1",
    }  # fmt: skip


def test_training_goes_on_where_the_stage_before_ended(both: Path, page: str) -> None:
    (stages,) = lineages(Run.of(str(both)))
    one, two = stages
    assert (one.name, one.begin, one.end) == ("stage1", 0, 256 * 300)
    assert (two.name, two.after, two.begin, two.end) == ("stage2", "stage1", 256 * 300, 256 * 1800)
    text = section(page, "training")
    rules = re.findall(r'<line x1="([\d.]+)"[^>]* class="rule">', text)
    assert [float(x) for x in rules] == pytest.approx([66 + 1040 * 300 / 1800], abs=0.1)
    lines = re.findall(r'<polyline points="([^"]+)" class="(\w+) c0">', text)
    kinds = {"loss": 2 * ["raw", "mean"], "rate": ["mean", "mean"], "norm": 2 * ["raw", "mean"]}
    kinds |= {"speed": ["raw", "mean", "raw", "mean", "second"], "mfu": ["raw", "mean", "second"]}
    assert [kind for _, kind in lines] == [kind for panel in kinds.values() for kind in panel]
    ends = [float(points.split()[-1].split(",")[0]) for points, _ in lines]
    assert ends[0] == pytest.approx(float(rules[0]), abs=0.1)
    assert ends[2] == pytest.approx(1106, abs=0.1)
    words = plain(text)
    assert "stage1 1.23 M 76,800 300" in words
    assert "stage2 after stage1 1.23 M 384,000 1,500" in words
    none = "\N{EN DASH}"
    assert f"5,120 {none} {none} {none} 2 1 12.5 s 900 cpu <2 cores>" in words
    assert "5,120 41 % 35 % 1 2, 1 1 12.5 s 900 cpu <2 cores>" in words
    last = metrics(4.0, 1500)
    assert f"stage2, step 1500, 461 k tokens\nloss {last['loss']:.4f}" in text
    assert "gradient norm 1\n5 k tokens/s\nMFU 41.0 % (PaLM)\nMFU 35.0 % (true)" in text
    assert tiles(page)["Tokens trained on"][0] == f"{256 * 1800:,}"
    assert tiles(page)["Final loss"][0] == f"{last['loss']:.3f}"


def test_a_spike_and_another_number_of_workers_are_marked_where_they_were(page: str) -> None:
    text = section(page, "training")
    spikes = re.findall(r'<circle cx="([\d.]+)"[^>]* class="spike">', text)
    assert [float(x) for x in spikes] == pytest.approx([66 + 1040 * (300 + SPIKE) / 1800], abs=0.1)
    crews = re.findall(r'<line x1="([\d.]+)"[^>]* class="crew">', text)
    assert [float(x) for x in crews] == pytest.approx([66 + 1040 * (300 + CHANGE) / 1800], abs=0.1)
    assert ">1 worker<" in text


def test_tokens_are_told_by_source(page: str) -> None:
    words = plain(section(page, "training"))
    assert "stage2 d1 300,000 80 % 1.25 stage2 d2 books 75,000 20 % 3.00" in words
    assert "stage1 d1" not in words


def test_what_was_made_beside_training_is_told(both: Path, tmp_path: Path, page: str) -> None:
    assert not [words for words in ("another round", "Forgetting", "Inherited") if words in section(page, "training")]
    root = tmp_path / "run"
    shutil.copytree(both, root)
    drawn = {"name": "wiki", "table": "pack", "share": 0.5, "temperature": 0.25, "grain_sequences": 1, "sequences": 80}
    drawn |= {"targets": 900, "loss": 2.5, "drawn_sequences": 40, "drawn_targets": 450, "flatness": 0.93, "parts": []}
    bins = [
        {"first_step": 8 * at + 1, "last_step": 8 * at + 8, "sequences": 5, "loss": 2.25 - at / 8} for at in range(2)
    ]
    files = {
        "rounds.json": {"sources": [{**drawn, "loss_drawn": 2.75, "loss_not_drawn": None}]},
        "forgetting.json": {"steps": 16, "bins": bins, "unseen": {"sequences": 0, "loss": None}},
        "inherit.json": {
            "parameters": {"parent": 7_000_000, "inherited": 1_500_000},
            "losses": {"parent": 2.125, "inherited": 3.5, "random": 8.25},
        },
    }
    for kind, (name, told) in zip((RoundSummary, Forgetting, Inherit), files.items(), strict=True):
        engine.run(kind(content={name: told}), root=str(root))
    words, none = plain(section(render(str(root)), "training")), "\N{EN DASH}"
    assert f"round summary wiki 80 50 % 2.750 {none} 0.25 1 0.930" in words
    assert "1 to 8 9 to 16 never Sequences 5 5 0 Mean loss 2.250 2.125" in words
    assert "inherit 1.5 M 7 M 2.125 3.500 8.250" in words


def test_a_stage_without_steps_or_with_one_is_drawn_without_fault(both: Path, tmp_path: Path) -> None:
    for count in (0, 1):
        root = tmp_path / str(count)
        shutil.copytree(both, root)
        path = next(root.glob("stage1/*/metrics.jsonl"))
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:count]))
        text = section(render(str(root)), "training")
        assert text.count("<circle") - text.count('class="spike"') == (7 if count else 0)
        assert "nan" not in plain(text).split()


def test_scores_stand_with_errors_and_chance_and_the_best_only_where_it_is_sure(page: str) -> None:
    text = plain(section(page, "evaluation"))
    assert "cloze acc higher is better 400 0.300 ± 0.020 0.500 ± 0.020 best 0.250" in text
    assert "text bits per byte lower is better 50 1.900 ± 0.010 1.700 ± 0.010 best \N{EN DASH}" in text
    assert "arc|easy acc higher is better 200 0.260 ± 0.030 0.310 ± 0.030 0.250" in text
    assert "by more than 2 standard errors of the difference on arc|easy (acc); none is marked" in text
    assert "stage1 lies within 2 standard errors of chance on arc|easy (acc)." in text
    assert "stage2 lies within 2 standard errors of chance on arc|easy (acc)." in text
    assert section(page, "evaluation").count(">best<") == 2


@settings(max_examples=50, deadline=None)
@given(*[st.integers(0, 1000).map(lambda n: n / 1000)] * 2, *[st.integers(0, 300).map(lambda n: n / 1000)] * 2)
def test_two_scores_differ_beyond_two_errors_of_their_difference(a: float, b: float, ea: float, eb: float) -> None:
    one, other = Score("a", a, ea), Score("b", b, eb)
    assert differ(one, other) == differ(other, one) == (abs(a - b) > 2 * math.sqrt(ea * ea + eb * eb)) or math.isclose(
        abs(a - b), 2 * math.hypot(ea, eb)
    )
    assert not differ(one, Score("b", b, None))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=300))
def test_the_moving_mean_is_the_mean_of_a_window_around_every_step(values: list[float]) -> None:
    reach = max(1, round(len(values) * 0.03 / 2))
    got = moving_mean(np.array(values))
    for place, mean in enumerate(got):
        wide = min(reach, place, len(values) - 1 - place)
        assert mean == pytest.approx(np.mean(values[place - wide : place + wide + 1]), abs=1e-9)


def test_the_moving_mean_leaves_out_what_is_not_finite() -> None:
    assert moving_mean(np.array([1.0, np.nan, 3.0])).tolist() == pytest.approx([1, 2, 3])


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e12))
def test_ticks_are_round_inside_and_neither_few_nor_many(low: float, spread: float) -> None:
    high = low + spread
    if high <= low or spread < 1e-9 * abs(low):
        return
    found = ticks(low, high, 5)
    assert 1 <= len(found) <= 7
    assert found == sorted(found)
    assert all(low - spread * 1e-6 <= mark <= high + spread * 1e-6 for mark in found)
