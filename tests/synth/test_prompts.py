"""Templates, audiences, styles and phrases that ship, the loader's refusals, and the ids of prompts."""

import re

import pyarrow as pa
import pytest

from hare_ray.priors.prompts import (
    AUDIENCE,
    CONTINUATION,
    SEED,
    SOURCES,
    STYLE,
    WORDS,
    Audience,
    Kind,
    Prompts,
    Style,
    Template,
    load_prompts,
    load_refusals,
)
from hare_ray.priors.reading import read
from hare_ray.stage import stable
from hare_ray.synth.prompt import prompt_id, prompt_url
from hare_ray.synth.rotation import kinds_of

ALL = load_prompts(SOURCES)
TEXT = "{audience} {style} {words}: {seed}"
CHILDREN, LETTER = Audience("children", "For children.", 1400), Style("letter", "A letter.")


def template(name="one", kind="web", text=TEXT, max_seed_words=5):
    return Template(name, kind, text, max_seed_words)


def prompts(**fields):
    one = {"kinds": (Kind("web"),), "audiences": (CHILDREN,), "styles": (LETTER,), "prompts": (template(),), **fields}
    return Prompts(**one)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_has_templates_audiences_and_styles_in_plenty(kind):
    audiences, styles, templates = ALL.variants(kind)
    assert min(len(audiences), len(templates)) >= 3
    assert len(styles) >= 5
    for one in templates:
        assert one.name.startswith(f"{kind}_")
        assert one.text.endswith(SEED)
        assert 200 <= one.max_seed_words <= 400


def test_no_two_texts_of_the_prior_are_the_same_or_begin_alike_within_a_kind():
    for axis in (ALL.prompts, ALL.audiences, ALL.styles):
        assert len({one.text for one in axis}) == len({one.name for one in axis}) == len(axis)
        assert not [one.name for one in axis if "  " in one.text or one.text != one.text.strip()]
    for kind in SOURCES:
        _, _, templates = ALL.variants(kind)
        assert len({" ".join(one.text.split()[:5]) for one in templates}) == len(templates)


def test_the_seed_comes_last_and_what_varies_right_before_it():
    """vLLM keeps what prompts begin with: the longer the same text stands first, the less is computed."""
    for one in ALL.prompts:
        assert one.text.index(AUDIENCE) < one.text.index(STYLE) < one.text.index(WORDS) < one.text.index(SEED)
        assert one.text.index(AUDIENCE) > 0.5 * len(one.text.replace(SEED, ""))


def test_texts_are_to_have_two_thousand_tokens_but_for_children():
    for audience in ALL.audiences:
        assert audience.words == (700 if audience.name == "children" else 1400)
    assert not [one.name for one in ALL.prompts if re.search(r"[0-9]", one.text)]


HOW_IT_BEGINS_AND_ENDS = re.compile(
    r"\b(?:open|start|end|close|finish) (?:with|on|by)\b|\bfirst sentence\b|\bissue at once\b|\bdirectly\b"
)
"""What styles say: a letter begins with its salutation, an article returns to its first detail at the end."""


def test_how_a_text_begins_and_ends_is_the_styles_matter():
    told = {one.name: HOW_IT_BEGINS_AND_ENDS.findall(one.text) for one in ALL.prompts if one.kind != "story"}
    assert {name: found for name, found in told.items() if found} == {}
    assert any(HOW_IT_BEGINS_AND_ENDS.search(one.text) for one in ALL.styles)


def test_what_fits_some_sources_only_is_asked_of_no_other():
    for kind in SOURCES:
        audiences, styles, _ = ALL.variants(kind)
        assert ("courtroom" in {style.name for style in styles}) == (kind == "law")
        assert ("tale" in {style.name for style in styles}) == (kind == "story")
        assert ("textbook" in {style.name for style in styles}) == (kind != "story")
        assert not (kind in ("law", "code") and "children" in {audience.name for audience in audiences})


def test_a_base_model_gets_continuations_alone_which_instruct_nobody():
    found = load_prompts((CONTINUATION,))
    assert found.audiences == found.styles == ()
    assert found.variants(CONTINUATION) == ((), (), found.prompts)
    for one in found.prompts:
        assert "write" not in one.text.lower()
        assert one.text.endswith("\n\n")
        assert one.fill("It rains.", None, None).count("It rains.") == 1
    with pytest.raises(ValueError, match="expected 'continuation' alone"):
        load_prompts((CONTINUATION, "web"))


def test_only_what_was_asked_for_comes_in_the_order_of_the_file():
    found = load_prompts(("web", "law"))
    assert [kind.name for kind in found.kinds] == ["law", "web"]
    assert {one.kind for one in found.prompts} == {"law", "web"}
    assert {kind for one in (*found.audiences, *found.styles) for kind in one.kinds} <= {"law", "web"}
    assert "tale" not in {style.name for style in found.styles}
    for kind in ("law", "web"):
        assert [one.name for axis in found.variants(kind) for one in axis] == [
            one.name for axis in ALL.variants(kind) for one in axis
        ]


ADDRESSES = [
    ("https://en.wikipedia.org/wiki/Fourier_series", "wiki"),
    ("https://www.britannica.com/topic/law", "wiki"),
    ("https://math.stackexchange.com/questions/1/x", "math"),
    ("https://proofwiki.org/wiki/Euler", "math"),
    ("https://stackoverflow.com/questions/1", "code"),
    ("https://GitHub.com/a/b", "code"),
    ("https://numpy.readthedocs.io/en/latest/", "code"),
    ("https://docs.python.org/3/library/re.html", "code"),
    ("https://www.law.cornell.edu/uscode/text/17", "law"),
    ("https://www.courtlistener.com/opinion/1/", "law"),
    ("http://arxiv.org/abs/2406.11410", "academic"),
    ("https://pubmed.ncbi.nlm.nih.gov/1/", "academic"),
    ("https://www.fanfiction.net/s/1/1/", "story"),
    ("https://news.ycombinator.com/item?id=1", "forum"),
    ("https://forums.example.com/t/1", "forum"),
    ("https://cooking.stackexchange.com/questions/1", "forum"),
    ("https://www.reddit.com/r/x/comments/1", "forum"),
    ("https://example.com/forum-of-rome", "web"),
    ("https://example.com/lawn-mowers/review", "web"),
    ("https://shop.example.org/story", "web"),
    ("", "web"),
]


def test_the_address_tells_the_kind_of_a_document_first_fit_first():
    docs = pa.table({"url": [url for url, _ in ADDRESSES], "file": ["part.jsonl"] * len(ADDRESSES)})
    found = [ALL.kinds[number].name for number in kinds_of(docs, ALL.kinds)]
    assert found == [kind for _, kind in ADDRESSES]


def test_the_name_of_the_file_tells_it_too_and_the_last_kind_takes_the_rest():
    files = ["enwiki_2014.jsonl.gz", "pile-of-law/a.jsonl", "pg19/1.txt", "CC-MAIN-2025.warc.gz"]
    docs = pa.table({"url": ["doc-1"] * 4, "file": files})
    assert [ALL.kinds[number].name for number in kinds_of(docs, ALL.kinds)] == ["wiki", "law", "story", "web"]
    some = load_prompts(("law", "wiki")).kinds
    assert [some[number].name for number in kinds_of(docs, some)] == ["wiki", "law", "wiki", "wiki"]


def test_a_seed_may_hold_braces_and_slots():
    one = template("one", "code", "<{x} {audience} {style}|{words}|{seed}>")
    seed = "{x} {seed} {} {audience} {style} {words}"
    assert one.fill(seed, CHILDREN, LETTER) == "<{x} For children. A letter.|1,400|" + seed + ">"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TEXT.replace(SEED, ""), r"'one' holds \{seed\} 0 times; expected it once"),
        (TEXT + SEED, r"'one' holds \{seed\} 2 times"),
        (TEXT.replace(STYLE, ""), r"'one' holds \{style\} 0 times"),
        (TEXT + AUDIENCE, r"'one' holds \{audience\} 2 times"),
        (TEXT + WORDS, r"'one' holds \{words\} 2 times"),
    ],
)
def test_a_template_without_its_slots_is_refused(text, told):
    assert template(text=TEXT.replace(WORDS, "9")).text
    with pytest.raises(ValueError, match=told):
        template(text=text)


def test_a_continuation_has_the_slot_of_the_seed_alone():
    assert template(kind=CONTINUATION, text="{seed} so").text
    with pytest.raises(ValueError, match=r"holds \{audience\} 1 times; expected none in a template of the kind"):
        template(kind=CONTINUATION)


@pytest.mark.parametrize("name", ["One", "a#b", "a b", "a/b", "", "1a"])
def test_names_that_cannot_stand_in_an_address_are_refused(name):
    for make in (lambda: template(name), lambda: Style(name, "t"), lambda: Audience(name, "t", 9), lambda: Kind(name)):
        with pytest.raises(ValueError, match="expected small letters, digits and _"):
            make()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompts": (template(), template())}, r"prompts: given \['one'\] more than once"),
        ({"styles": (LETTER, LETTER)}, r"styles: given \['letter'\] more than once"),
        (
            {"prompts": (template(), template("two", "law"))},
            r"prompts: given kinds \['law'\], expected some of \['web'",
        ),
        ({"styles": (LETTER, Style("court", "t", ("law",)))}, r"styles: given kinds \['law'\]"),
        ({"kinds": (Kind("law"), Kind("web"))}, "prompts: given none for the kind 'law'"),
        ({"audiences": ()}, "audiences: given none for the kind 'web'"),
    ],
)
def test_a_prior_that_does_not_fit_together_is_refused(fields, told):
    assert prompts().of(("web",)) == prompts()
    with pytest.raises(ValueError, match=told):
        prompts(**fields)


def test_numbers_patterns_and_kinds_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"given kinds \['poem'\], expected some of \['web'\]"):
        prompts().of(["web", "poem"])
    with pytest.raises(ValueError, match="given kinds none"):
        prompts().of([])
    with pytest.raises(ValueError, match="max_seed_words=0"):
        template(max_seed_words=0)
    with pytest.raises(ValueError, match="words=0"):
        Audience("a", "t", 0)
    with pytest.raises(ValueError, match=r"given '\(a', expected a regular expression"):
        Kind("web", None, ("(a",))


def test_refusals_are_phrases_of_some_words():
    refusals = load_refusals()
    lists = (refusals.anywhere, refusals.openings, refusals.boilerplate)
    for phrases in lists:
        assert len(set(phrases)) == len(phrases) >= 15
        assert all(phrase == phrase.strip() and len(phrase.split()) >= 2 for phrase in phrases)
    folded = [" ".join(re.findall(r"[a-z']+", phrase.lower())) for phrases in lists for phrase in phrases]
    assert len(set(folded)) == len(folded)


def test_priors_have_a_stable_form():
    form = stable((load_prompts(("web",)), load_refusals()), "here")
    assert form == stable((load_prompts(("web",)), load_refusals()), "here")
    assert form != stable((load_prompts(("wiki",)), load_refusals()), "here")
    assert [kind.name for kind in read("prompts", Prompts).kinds][-1] == "web"


def test_ids_differ_by_seed_template_and_number():
    keys = [(seed, name, n) for seed in (b"a" * 16, b"b" * 16) for name in ("one", "two") for n in (0, 1, 256)]
    ids = [prompt_id(*key) for key in keys]
    assert len(set(ids)) == len(keys)
    assert {len(i) for i in ids} == {16}
    assert ids == [prompt_id(*key) for key in keys]
    assert prompt_url("https://a.example/b", "one") == "https://a.example/b#one"
