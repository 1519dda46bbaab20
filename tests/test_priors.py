"""The priors that ship with the package: figures of the paper, and texts fit to learn from."""

import time
from collections import Counter
from pathlib import Path

import pytest

from hare_ray.priors import PARTS, load_mixtures, load_seed_tokens, load_sources, shares
from hare_ray.priors.benchmarks import load_benchmark_forms, load_leaderboard
from hare_ray.priors.paper import load_open
from hare_ray.priors.prompts import SOURCES, load_prompts, load_refusals
from hare_ray.priors.quality import (
    CRITERIA,
    FORM,
    SLOT,
    Examples,
    Rubric,
    examples_file,
    load_examples,
    load_rubric,
)
from hare_ray.priors.reading import parse
from hare_ray.priors.tasks import load_forms, load_templates


def test_the_weights_of_each_part_are_those_of_the_paper():
    totals = Counter()
    for source in load_sources():
        totals[source.part] += source.weight_percent
    assert totals["D1"] == pytest.approx(46.50)
    assert totals["D2"] == pytest.approx(7.7 + 5.93)
    assert totals["D3"] == pytest.approx(23.5 + 16.37)
    assert sum(totals.values()) == pytest.approx(100)
    assert shares() == (46.5, 13.63, 39.87)


def test_the_seeds_are_those_of_table_4_and_have_prompts():
    seeds = load_seed_tokens()
    assert sum(seed.billion_tokens for seed in seeds) == pytest.approx(28.2)
    assert {seed.kind: seed.billion_tokens for seed in seeds} == {
        "web": 4.5, "wiki": 8.16, "forum": 4.5, "academic": 4.62, "story": 4.08, "law": 2.16, "code": 0.06,
        "math": 0.12,
    }  # fmt: skip
    kinds = load_prompts(seed.kind for seed in seeds).kinds
    assert {kind.name: kind.billion_tokens for kind in kinds} == {seed.kind: seed.billion_tokens for seed in seeds}
    parts = {source.name: source.part for source in load_sources()}
    assert {parts[name] for seed in seeds for name in seed.sources} == {"D1"}


def test_every_source_says_where_it_is_or_that_it_is_not():
    sources = load_sources()
    assert len({source.name for source in sources}) == len(sources) == 19 + 2 + 2
    for source in sources:
        assert source.status in {"available", "substitute", "unavailable"}
        assert bool(source.location) == (source.status != "unavailable"), source.name


def test_the_first_stage_reads_d1_and_the_second_everything_by_weight():
    mixtures = load_mixtures()
    assert mixtures.max_epochs == 16.0
    assert mixtures.weights("stage_1") == {"D1": 1.0}
    assert mixtures.weights("stage_2") == dict(zip(PARTS, shares(), strict=True))
    with pytest.raises(ValueError, match=r"no stage 'stage_3' in mixtures.yaml; it has \['stage_1', 'stage_2'\]"):
        mixtures.weights("stage_3")


@pytest.mark.parametrize("label", ["good", "poor"])
def test_examples_are_many_short_and_different(label):
    texts = [text for text, side, _ in load_examples() if side == label]
    assert len(texts) >= 60
    assert len(set(texts)) == len(texts)
    assert not [text for text in texts if not 200 <= len(text) <= 800]
    kinds = Counter(kind for _, side, kind in load_examples() if side == label)
    assert 5 <= len(kinds) <= 8
    assert min(kinds.values()) >= 4


def test_no_example_is_both_good_and_poor_and_their_file_is_there():
    examples = load_examples()
    assert {side for _, side, _ in examples} == {"good", "poor"}
    assert len({text for text, _, _ in examples}) == len(examples)
    assert examples[0][0][:40] in Path(examples_file()).read_text(encoding="utf-8")


EXAMPLES = """
good:
  - {kind: story, texts: [a, b]}
  - {kind: proof, texts: [c]}
poor:
  - {kind: menu_of_a_page, texts: [d]}
"""


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("texts: [c]", "texts: [d]", r"line 2: given \['d'\] as good and as poor; a text is either"),
        ("texts: [c]", "texts: [b]", r"line 2: good texts: given \['b'\] more than once"),
        ("kind: proof", "kind: story", r"line 2: kinds of good texts: given \['story'\] more than once"),
        ("texts: [c]", "texts: []", "line 4: good: given no texts of the kind 'proof'"),
        ("kind: proof", "kind: Long-winded proof", "line 4: good: given kind .* 'long_winded_proof'"),
        ("kind: proof", "kind: _", "line 4: good: given kind .* 'news_reports'"),
        ("kind: proof", "sort: proof", "line 4: sort: there is no such key here"),
        ("{kind: proof, texts: [c]}", "a text of the old form", "line 4: .*expected entries such as"),
        ("  - {kind: menu_of_a_page, texts: [d]}", "  []", "line 2: given 2 good and 0 poor kinds"),
    ],
)
def test_examples_that_teach_nothing_are_refused(was, now, told):
    found = tuple(parse(EXAMPLES, Examples, "mine.yaml"))
    assert found == (
        ("a", "good", "story"), ("b", "good", "story"), ("c", "good", "proof"), ("d", "poor", "menu_of_a_page"),
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"mine.yaml, {told}"):
        parse(EXAMPLES.replace(was, now), Examples, "mine.yaml")


def test_the_rubric_shows_criteria_text_and_form_once_each():
    rubric = load_rubric()
    prompt = rubric.fill("Some text with {form} and {text} in it.")
    assert prompt.count("Some text with {form} and {text} in it.") == 1
    assert "Score: n" in prompt
    assert all(one.point in prompt and one.not_so in prompt for one in rubric.criteria)
    bare = rubric.instruction
    assert bare.count(SLOT) == 1
    assert CRITERIA not in bare
    assert FORM not in bare


RUBRIC = """
criteria: [{point: a, not_so: b}, {point: c, not_so: d}, {point: e, not_so: f}, {point: g, not_so: h},
  {point: i, not_so: j}]
prompt: 'Judge by {criteria} the text {text}. {form}'
form: 'Score: n from 0 to 5.'
max_words: 9
"""


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        (" the text {text}", "", r"prompt: given \{text\} 0 times, expected it once"),
        ("{form}", "{form} {form}", r"prompt: given \{form\} 2 times"),
        ("{point: a, not_so: b}, ", "", "given 4 criteria, expected 5"),
        ("Score: n", "Points", "form: given .* expected words that hold 'Score: n'"),
        ("from 0 to 5", "from 0 to 10", "form: given the numbers 0, 10, expected 0 and 5 and no other"),
        ("from 0 to 5", "from 1 to 5", "form: given the numbers 1, 5"),
        ("from 0 to 5", "from 0 to 5, such as 2.5", "form: given the numbers 0, 5, 2.5"),
        (" from 0 to 5", "", "form: given the numbers none"),
        ("9", "0", "given max_words=0"),
        ("9", "20001", "given max_words=20001, expected 1 to 20000"),
    ],
)
def test_a_rubric_that_cannot_be_asked_is_refused(was, now, told):
    assert parse(RUBRIC, Rubric, "mine.yaml").fill("T").startswith("Judge by - a (b)\n- c (d)\n")
    key = next(name for name in ("prompt", "form", "max_words", "criteria") if name in told)
    line = RUBRIC[: RUBRIC.index(f"\n{key}:")].count("\n") + 2
    with pytest.raises(ValueError, match=f"mine.yaml, line {line}: .*{told}"):
        parse(RUBRIC.replace(was, now), Rubric, "mine.yaml")


def test_everything_loads_at_once():
    """A plan reads all of them; nobody should wait for it."""
    loaders = (
        load_sources, load_mixtures, load_benchmark_forms, load_leaderboard, load_open, load_refusals, load_examples,
        load_rubric, load_forms, load_templates, lambda: load_prompts(SOURCES),
    )  # fmt: skip
    for load in loaders:
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            assert load()
            seconds.append(time.perf_counter() - began)
        assert min(seconds) < 0.25, load
