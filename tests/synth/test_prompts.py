"""Templates and phrases that ship, the loader's refusals, and the ids of prompts."""

from collections import Counter

import pytest

from hare_ray.priors.prompts import CONTINUATION, SLOT, Prompts, Template, load_prompts, load_refusals
from hare_ray.stage import stable
from hare_ray.synth.prompt import prompt_id, prompt_url

SOURCES = ("web", "wiki", "forum", "academic", "story", "law", "code", "math")
ENTRY = {"name": "one", "kind": "web", "text": "{seed} and", "max_seed_words": 5}


def test_every_source_has_several_styles_and_every_template_one_slot():
    templates = load_prompts((*SOURCES, CONTINUATION))
    assert min(Counter(template.kind for template in templates).values()) >= 3
    assert len({template.name for template in templates}) == len({template.text for template in templates})
    for template in templates:
        assert template.text.count(SLOT) == 1
        assert template.name.startswith(f"{template.kind}_")
        assert "  " not in template.text, template.name
        assert 30 <= template.max_seed_words <= 400


def test_only_what_was_asked_for_comes_and_in_that_order():
    kinds = [template.kind for template in load_prompts(("law", "web"))]
    assert set(kinds) == {"law", "web"}
    assert kinds == sorted(kinds)


def test_continuations_instruct_nobody_and_end_where_a_sentence_begins():
    for template in load_prompts((CONTINUATION,)):
        assert "write" not in template.text.lower()
        assert template.text.endswith("\n\n")


def test_instructions_end_without_white_space():
    assert all(template.text == template.text.strip() for template in load_prompts(SOURCES))


def test_a_seed_may_hold_braces():
    assert Template("one", "code", "<{seed}>", 9).fill("{x} {seed} {}") == "<{x} {seed} {}>"


@pytest.mark.parametrize("text", ["no slot", "{seed} {seed}"])
def test_a_template_without_one_slot_is_refused(text):
    with pytest.raises(ValueError, match=r"'one' holds \{seed\} [02] times"):
        Template(**{**ENTRY, "text": text})


def test_unknown_kinds_and_names_used_twice_are_refused():
    known = Prompts((Template(**ENTRY),))
    with pytest.raises(ValueError, match=r"given kinds \['poem'\], expected some of \['web'\]"):
        known.of(["web", "poem"])
    with pytest.raises(ValueError, match="given kinds"):
        known.of([])
    with pytest.raises(ValueError, match=r"given \['one'\] more than once"):
        Prompts((Template(**ENTRY), Template(**{**ENTRY, "kind": "law"})))
    with pytest.raises(ValueError, match="max_seed_words=0"):
        Template(**{**ENTRY, "max_seed_words": 0})


def test_refusals_are_phrases_of_some_words():
    refusals = load_refusals()
    for phrases in (refusals.anywhere, refusals.openings):
        assert len(set(phrases)) == len(phrases) >= 15
        assert all(phrase == phrase.strip() and len(phrase.split()) >= 2 for phrase in phrases)
    assert not set(refusals.anywhere) & set(refusals.openings)


def test_priors_have_a_stable_form():
    form = stable((load_prompts(("web",)), load_refusals()), "here")
    assert form == stable((load_prompts(("web",)), load_refusals()), "here")
    assert form != stable((load_prompts(("wiki",)), load_refusals()), "here")


def test_ids_differ_by_seed_template_and_number():
    keys = [(seed, name, n) for seed in (b"a" * 16, b"b" * 16) for name in ("one", "two") for n in (0, 1, 256)]
    ids = [prompt_id(*key) for key in keys]
    assert len(set(ids)) == len(keys)
    assert {len(i) for i in ids} == {16}
    assert ids == [prompt_id(*key) for key in keys]
    assert prompt_url("https://a.example/b", "one") == "https://a.example/b#one"
