"""Edits of the shipped files that are YAML, and yet not what the file is for."""

from importlib.resources import files
from typing import Any

import pytest

from hare_ray.priors import Mixtures, Sources
from hare_ray.priors.benchmarks import Known
from hare_ray.priors.prompts import Prompts, Refusals
from hare_ray.priors.quality import Examples, Rubric
from hare_ray.priors.reading import parse
from hare_ray.priors.tasks import Tasks
from hare_ray.priors.titles import TopicTitle
from hare_ray.priors.topics import TopicWeights


@pytest.mark.parametrize(
    ("name", "kind", "was", "now", "told"),
    [
        ("sources", Sources, "weight_percent: 11.0", "weight_percent: 21.0",
         r"given weight_percent that add up to 110.00 \(D1 56.5, D2 13.63, D3 39.87\), expected 100"),
        ("sources", Sources, "weight_percent: 11.0", "weight_percent: -1",
         "given weight_percent=-1, expected 0 to 100"),
        ("sources", Sources, "weight_percent: 11.0", "weight_percent: 11,0",
         "given 11,0, expected a number such as 1.0"),
        ("sources", Sources, "status: substitute", "status: availble", "did you mean available"),
        ("sources", Sources, "status: substitute", "status: unavailable", "expected a location for available"),
        ("sources", Sources, "name: Pubmed", "name: S2orc", r"sources: given \['S2orc'\] more than once"),
        ("sources", Sources, "sources: [HackerNews]", "sources: [HackerNew]", r"given the sources \['HackerNew'\]"),
        ("sources", Sources, "part: D1", "part: D4", "given D4, expected one of D1, D2, D3"),
        ("mixtures", Mixtures, "max_epochs: 16.0", "max_epochs: 0.5", "given max_epochs=0.5, expected at least 1"),
        ("mixtures", Mixtures, "parts: [D1]", "parts: [D1, D1]", "each of .* once at most"),
        ("mixtures", Mixtures, "parts: [D1]", "parts: []", "stage_1: given parts"),
        ("prompts", Prompts, "\n      {seed}\n", "\n      seed\n", "holds {seed} 0 times"),
        ("prompts", Prompts, "max_seed_words: 300", "max_seed_words: 0", "given max_seed_words=0, expected at least 1"),
        ("prompts", Prompts, "name: web_how_to", "name: web_causes",
         r"prompts: given \['web_causes'\] more than once"),
        ("refusals", Refusals, "- I am sorry but I cannot", "- I'm sorry but I cannot",
         'phrases: given .* more than once'),
        ("tasks", Tasks, "keys: [question, answer]", "keys: [question, reply]",
         "given an example with .*'answer', 'question'"),
        ("tasks", Tasks, '- \'{"question"', '- \'"question"', "given the example .* expected JSON"),
        ("tasks", Tasks, "\n  {demand}\n", "\n  demand\n", r"frame: given \{demand\} 0 times, expected it once"),
        ("benchmarks", Known, "answer_as: index", "answer_as: place", "given answer_as='place'"),
        ("benchmarks", Known, "name: arc_nested", "name: cloze", r"forms: given \['cloze'\] more than once"),
        ("quality_examples", Examples, "good:", "good: []\nsome:", "there is no such key here"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_line(name: str, kind: Any, was: str, now: str, told: str):
    text = (files("hare_ray.priors") / f"{name}.yaml").read_text(encoding="utf-8")
    body = text.index("\n\n")  # beyond the example in the opening comment
    assert was in text[body:]
    with pytest.raises(ValueError, match=rf"^{name}\.yaml, line \d+: .*{told}"):
        parse(text[:body] + text[body:].replace(was, now, 1), kind, f"{name}.yaml")


NEW_TARGETS = "targets:\n  - {pattern: abc, share: 0.6}\n  - {pattern: def, share: 0.6}\n"


@pytest.mark.parametrize(
    ("name", "kind", "was", "now", "at"),
    [
        ("topics", TopicWeights, "\ntargets: []\n", f"\n{NEW_TARGETS}", "\ntargets:"),
        ("topics", TopicWeights, "\ntargets: []\n", "\n", "\ntemperature:"),
        ("topics", TopicWeights, "\ncap: 3.0", "\ncap:3.0", "\ncap:"),
        ("topics", TopicWeights, "\ncap: 3.0", "\ncap: 0.5", "\ncap:"),
        ("rubric", Rubric, "Score: n", "Points: n", "\nform:"),
        ("rubric", Rubric, "\nmax_words: 400", "\nmax_words: 0", "\nmax_words:"),
        ("topic_title", TopicTitle, "Keywords: {words}", "Keywords: words", "\ntext:"),
        ("sources", Sources, "weight_percent: 11.0", "weight_percent: -1", "weight_percent: -1"),
        ("sources", Sources, "weight_percent: 11.0", "weight_percent: 21.0", "\nsources:"),
        ("sources", Sources, "sources: [HackerNews]", "sources: [HackerNew]", "\nseeds:"),
    ],
)  # fmt: skip
def test_the_line_that_is_told_is_that_of_what_is_wrong(name: str, kind: Any, was: str, now: str, at: str):
    text = (files("hare_ray.priors") / f"{name}.yaml").read_text(encoding="utf-8")
    begin = 0 if name.startswith("topic") else text.index("\n\n")
    assert was in text[begin:]
    text = text[:begin] + text[begin:].replace(was, now, 1)
    line = text[: text.index(at, begin)].count("\n") + 1 + at.startswith("\n")
    with pytest.raises(ValueError, match=rf"^{name}\.yaml, line {line}: "):
        parse(text, kind, f"{name}.yaml")


def test_a_small_change_of_weights_that_stays_whole_is_taken():
    text = (files("hare_ray.priors") / "sources.yaml").read_text(encoding="utf-8")
    text = text.replace("weight_percent: 7.78", "weight_percent: 9.78").replace(
        "weight_percent: 5.5", "weight_percent: 3.5"
    )
    assert sum(source.weight_percent for source in parse(text, Sources, "x").sources) == pytest.approx(100)
