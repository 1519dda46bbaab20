"""Prompts from seeds, by hand and by invariant; answers to documents, one crafted case per reason."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.priors.prompts import (
    CONTINUATION,
    SOURCES,
    Audience,
    Kind,
    Prompts,
    Style,
    Template,
    load_prompts,
)
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Annotate, Table
from hare_ray.synth.prompt import GENERATED, PROMPT, WRITTEN, prompt_id
from hare_ray.synth.seeds import Seeds
from hare_ray.synth.sentences import cut_to_sentence, ends_sentence
from hare_ray.synth.textbook import CHARACTERS_PER_WORD, Textbook, TextbookPrompts, opening

D1 = pa.schema([*DOCUMENT, pa.field("cluster", pa.int32())])


class Docs(Table):
    writes = D1


class Answers(Annotate):
    prompts: Table
    writes = GENERATED


DOCS = Docs()
SEEDS = Seeds(docs=DOCS, per_topic=5, total=None, salt="d2")
TEMPLATES = tuple(Template(f"way_{n}", "web", f"<{n}>{{audience}}{{style}}{{seed}}</{n}>", 20) for n in range(3))
AUDIENCES = tuple(Audience(name, f"({name})", 100) for name in ("old", "young"))
STYLES = tuple(Style(name, f"[{name}]") for name in ("talk", "tale"))

WEB = (Kind("web"),)


def prompts(templates=TEMPLATES, audiences=AUDIENCES[:1], styles=STYLES[:1], kinds=WEB):
    return Prompts(kinds, audiences, styles, templates)


def asking(**fields):
    numbers = {"templates": prompts(), "prompts_per_seed": 1, "max_seed_words": 9, **fields}
    return TextbookPrompts(docs=DOCS, seeds=SEEDS, **numbers)


def documents(texts, clusters):
    rows = [
        {
            "id": bytes([n]) * 16,
            "url": f"https://a.example/{n}",
            "file": "f",
            "offset": n,
            "text": text,
            "cluster": topic,
        }
        for n, (text, topic) in enumerate(zip(texts, clusters, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=D1)


def ask(texts, clusters, turns, **fields):
    seeds = pa.table([[turn is not None for turn in turns], pa.array(turns, pa.int32())], schema=Seeds.writes)
    stage = asking(**fields)
    got = stage.prepare(lambda stage: pytest.fail("asks for files"))(documents(texts, clusters), seeds)
    assert got["reason"].null_count == len(got)
    return conform(got, stage.schema(), "it").to_pylist()


def test_chosen_documents_become_prompts_and_others_do_not():
    (row,) = ask(["One text.", "Two, with {seed}, {audience}."], [4, 5], [None, 0])
    assert row["seed"] == "Two, with {seed}, {audience}."
    assert row["prompt"] in [one.fill(row["seed"], AUDIENCES[0], STYLES[0]) for one in TEMPLATES]
    assert row["prompt"].count("(old)[talk]Two, with {seed}, {audience}.<") == 1
    assert row["topic"] == 5
    assert row["variant"] == "old / talk"
    assert row["schema"] is None
    assert row["url"] == f"https://a.example/1#{row['template']}"
    assert row["id"] == prompt_id(b"\x01" * 16, f"{row['template']} / old / talk", 0)


@pytest.mark.parametrize("per_seed", [1, 2, 3, 5])
def test_every_topic_uses_all_templates_evenly(per_seed):
    turns = [turn for turn in range(6) for _ in range(4)]
    rows = ask(["Some text."] * 24, [0, 1, 2, 3] * 6, turns, prompts_per_seed=per_seed)
    for topic in range(4):
        counts = Counter(row["template"] for row in rows if row["topic"] == topic)
        assert set(counts.values()) == {2 * per_seed}
    assert len({row["id"] for row in rows}) == len(rows) == 24 * per_seed


@pytest.mark.parametrize("per_seed", [1, 4])
def test_every_topic_meets_all_combinations_before_any_again(per_seed):
    every = prompts(audiences=AUDIENCES, styles=STYLES)
    turns = list(range(24 // per_seed))
    orders = set()
    for topic in range(8):
        rows = ask(["Some text."] * len(turns), [topic] * len(turns), turns, templates=every, prompts_per_seed=per_seed)
        pairs = [(row["template"], row["variant"]) for row in rows]
        assert len(set(pairs[:12])) == len(set(pairs[12:])) == 12
        assert pairs[:12] == pairs[12:]
        orders.add(tuple(pairs))
    assert len(orders) >= 6
    assert len({row["id"] for row in rows}) == len(rows)


def test_ids_tell_variants_apart_and_a_combination_that_comes_again():
    (alone,) = ask(["Some text."], [0], [0], templates=prompts(TEMPLATES[:1]))
    (other,) = ask(["Some text."], [0], [0], templates=prompts(TEMPLATES[:1], AUDIENCES[1:]))
    again = ask(["Some text."], [0], [0], templates=prompts(TEMPLATES[:1]), prompts_per_seed=2)
    assert alone["id"] != other["id"]
    assert alone["template"] == other["template"]
    assert again[0] == alone
    assert {name for name in alone if again[1][name] != alone[name]} == {"id"}


def test_the_address_of_a_document_decides_which_templates_it_gets():
    kinds = (Kind("law", None, ("a.example/[02]",)), Kind("web"))
    law = Template("law", "law", "{audience} {style} {seed}", 20)
    rows = ask(["Some text."] * 4, [0] * 4, [0, 1, 2, 3], templates=prompts((law, *TEMPLATES), kinds=kinds))
    assert [row["template"] == "law" for row in rows] == [True, False, True, False]


def test_continuations_have_no_variant():
    (row,) = ask(["Some text."], [0], [0], templates=load_prompts((CONTINUATION,)))
    assert row["variant"] is None
    assert row["id"] == prompt_id(b"\x00" * 16, row["template"], 0)


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("a\x00b\x07c\x1b[0m", "abc[0m"),
        ("line one\r\nline\ttwo\rthree", "line one\nline\ttwo\nthree"),
        ("\ufeffIt\x85 is\x7f.", "It is."),
        ("Stop.<|im_end|> <|im_start|>user Say", "Stop.   user Say"),
        ("One.</s>[INST] Two", "One.   Two"),
        ("x <| y |> z < s >", "x <| y |> z < s >"),
        ("{seed} {0} %s $x \\1", "{seed} {0} %s $x \\1"),
        ("\u0633\u0644\u0627\u0645 \U0001f468\u200d\U0001f469", "\u0633\u0644\u0627\u0645 \U0001f468\u200d\U0001f469"),
    ],
)
def test_seeds_lose_what_no_reader_sees_and_what_tokenizers_obey(text, seed):
    (row,) = ask([text], [0], [0], max_seed_words=20)
    assert row["seed"] == seed
    assert row["prompt"].count(seed) == 1


def test_a_seed_of_nothing_but_control_characters_is_empty():
    assert ask(["\x00\x01", "</s>", "\ufeff \r\n"], [0, 0, 0], [0, 1, 2]) == []


def test_lone_surrogates_cannot_be_in_a_seed():
    with pytest.raises(UnicodeEncodeError):
        documents(["\ud800"], [0])


@pytest.mark.parametrize(
    "text", ["word " * 40_000, "x" * 200_000, "\u6f22" * 70_000, "One. " + "y" * 200_000, "a\n" * 100_000]
)
def test_a_seed_of_200_kb_is_cut_like_any(text):
    (row,) = ask([text], [0], [0], max_seed_words=20)
    assert text.startswith(row["seed"])
    assert 4 <= len(row["seed"]) <= 10 * 20
    assert len(row["seed"].split()) <= 20


def test_small_topics_do_not_all_begin_with_one_template():
    rows = ask(["Some text."] * 60, list(range(60)), [0] * 60)
    counts = Counter(row["template"] for row in rows)
    assert len(counts) == 3
    assert min(counts.values()) >= 10


def test_prompts_do_not_depend_on_the_part():
    texts, clusters, turns = [f"Text {n}." for n in range(9)], [n % 2 for n in range(9)], [n // 2 for n in range(9)]
    whole = ask(texts, clusters, turns, prompts_per_seed=2)
    turns = [2 if n == 4 else None for n in range(9)]
    alone = ask([f"Text {n}." if n == 4 else "x" for n in range(9)], clusters, turns, prompts_per_seed=2)
    assert alone == [row for row in whole if row["id"] in {row["id"] for row in alone}]
    assert len(alone) == 2


def test_a_document_without_text_or_topic():
    assert ask([" \n", "", None], [0, 0, 0], [0, 1, 2]) == []
    (row,) = ask(["Some text."], [None], [0])
    assert row["topic"] is None


def test_no_documents_no_prompts():
    assert ask([], [], []) == []


@pytest.mark.parametrize(
    ("text", "limit", "seed"),
    [
        (" All of  it, unfinished ", 9, "All of  it, unfinished"),
        ("One two three. Four five six. Seven", 6, "One two three. Four five six."),
        ("One two three. Four five six. Seven", 5, "One two three."),
        ("One. Two three four five six seven.", 6, "One. Two three four five six"),
        ("A heading\nTwo three four five six seven.", 6, "A heading\nTwo three four five"),
        ("He asked: \u201cWhy now?\u201d Nobody said a word.", 6, "He asked: \u201cWhy now?\u201d"),
        ("Caf\u00e9 cr\u00e8me na\u00efve. \u00dcber alles hinweg", 4, "Caf\u00e9 cr\u00e8me na\u00efve."),
        ("At 3.5 of them and more", 4, "At 3.5 of them"),
    ],
)
def test_where_a_seed_is_cut(text, limit, seed):
    assert opening(text.strip(), limit) == seed


def test_the_smaller_limit_of_words_holds():
    text = " ".join(f"w{n}" for n in range(40))
    for own, shared in ((4, 9), (9, 4)):
        template = Template("t", "web", "{audience}{style}{seed}", own)
        (row,) = ask([text], [0], [0], templates=prompts((template,)), max_seed_words=shared)
        assert row["seed"] == "w0 w1 w2 w3"
        assert row["prompt"] == "(old)[talk]w0 w1 w2 w3"


@given(st.text('ab .!?"\n\u00e9\u4e2d1', max_size=60), st.integers(1, 12))
@settings(deadline=None)  # the first call imports
def test_a_seed_is_a_beginning_within_the_limit(text, limit):
    text = text.strip()
    seed = opening(text, limit)
    assert text.startswith(seed)
    assert seed == seed.strip()
    assert len(seed.split()) <= limit
    assert len(seed) <= CHARACTERS_PER_WORD * limit
    if len(text) <= CHARACTERS_PER_WORD * limit:
        assert min(len(text.split()), limit) / 2 <= len(seed.split())


def test_every_template_that_ships_makes_a_prompt():
    text = "A sentence of exactly seven words here. " * 100
    for kind in (*SOURCES, CONTINUATION):
        templates = load_prompts((kind,))
        audiences, styles, own = templates.variants(kind)
        count = len(own) * max(len(audiences), 1) * max(len(styles), 1)
        rows = ask([text], [0], [0], templates=templates, prompts_per_seed=count, max_seed_words=500)
        assert len({(row["template"], row["variant"]) for row in rows}) == count
        for row in rows:
            assert row["seed"].endswith(".")
            assert row["prompt"].count(row["seed"]) == 1
            assert not re.search("[{}]", row["prompt"])


@pytest.mark.parametrize("fields", [{"prompts_per_seed": 0}, {"max_seed_words": 0}])
def test_what_leads_to_no_prompt_is_refused(fields):
    with pytest.raises(ValueError, match="expected at least"):
        asking(**fields)


def test_seeds_and_answers_of_others_are_refused():
    with pytest.raises(ValueError, match="choose the seeds from these"):
        TextbookPrompts(docs=Docs(), seeds=SEEDS, templates=prompts(), prompts_per_seed=1, max_seed_words=9)
    with pytest.raises(ValueError, match="generate the answers from these"):
        Textbook(prompts=asking(), answers=Answers(prompts=asking()))


def test_the_templates_are_part_of_the_identity():
    assert asking().fingerprint == asking().fingerprint
    assert asking().fingerprint != asking(templates=prompts(TEMPLATES[:2])).fingerprint
    assert asking().fingerprint != asking(templates=prompts(styles=STYLES)).fingerprint


def write(*answers):
    """Rows of Textbook for (answer, finish)."""
    prompts = pa.table(
        [
            [bytes([n]) * 16 for n in range(len(answers))],
            [f"u{n}#t" for n in range(len(answers))],
            pa.array(range(len(answers)), pa.int32()),
            ["t"] * len(answers),
            [f"seed {n}" for n in range(len(answers))],
            ["prompt"] * len(answers),
            ["old / talk"] * len(answers),
            [None] * len(answers),
        ],
        schema=PROMPT,
    )
    counts = pa.array(range(7, 7 + len(answers)), pa.int32())
    columns = [[answer for answer, _ in answers], [finish for _, finish in answers], counts, counts]
    columns.append([bytes(16)] * len(answers))
    generated = pa.table(columns, schema=GENERATED)
    asked = asking()
    stage = Textbook(prompts=asked, answers=Answers(prompts=asked))
    got = stage.prepare(lambda stage: pytest.fail("asks for files"))(prompts, generated)
    assert conform(got, stage.schema(), "it").schema == WRITTEN
    return got.to_pylist()


def test_an_answer_becomes_a_document():
    (row,) = write((" Water boils.\n\nIt \n", "stop"))
    assert row == {
        "id": b"\x00" * 16, "url": "u0#t", "file": "synthetic", "offset": 0, "title": None,
        "text": "Water boils.\n\nIt", "topic": 0, "template": "t", "seed": "seed 0", "finish": "stop",
        "variant": "old / talk", "tokens": 7,
        "reason": None, "detail": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "finish", "reason", "detail"),
    [
        (None, "error: timed out", "no_answer", "error: timed out"),
        ("half an ans", "error: connection lost", "no_answer", "error: connection lost"),
        (None, "stop", "no_answer", "the answer is empty"),
        (" \n", "length", "no_answer", "the answer is empty"),
        ("never comes to an end", "length", "cut_to_nothing", None),
    ],
)
def test_reasons(answer, finish, reason, detail):
    good, row, other = write(("Good.", "stop"), (answer, finish), ("Good. And", "length"))
    assert (row["reason"], row["detail"]) == (reason, detail)
    assert row["text"] == (answer.strip() if answer else None)
    assert good["reason"] is other["reason"] is None
    assert other["text"] == "Good."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Water boils. It turns", "Water boils."),
        ('She said: "Stop!" Then he', 'She said: "Stop!"'),
        ("Whole already.", "Whole already."),
        ("At 3.5 degrees", ""),
        ("Take two eggs.\n1. Beat them.\n2. Add flo", "Take two eggs.\n1. Beat them."),
        ("Take these.\n1", "Take these."),
        ("Take these.\n 2.", "Take these."),
        ("Dr. Who", ""),
        ("\u6c34\u3002\u706b", "\u6c34\u3002"),
        ("", ""),
    ],
)
def test_the_last_complete_sentence(text, kept):
    assert cut_to_sentence(text) == kept


@given(st.text('ab .!?"\n)1\u3002', max_size=40))
@settings(deadline=None)  # the first call imports
def test_what_was_cut_is_a_beginning_that_ends_a_sentence(text):
    kept = cut_to_sentence(text)
    assert text.startswith(kept)
    assert cut_to_sentence(kept) == kept
    assert not kept or ends_sentence(pa.array([kept], pa.large_string()))[0]


def test_ends_of_texts():
    ends = [
        "Yes.",
        "Yes.\n",
        "(Yes!)",
        "`f(x)`\n```",
        "Why\u2026",
        "\u597d\u3002",
        "no",
        "List:\n2.",
        "3.",
        None,
        "",
        "e,",
    ]
    expected = [True] * 6 + [False] * 6
    assert np.array_equal(ends_sentence(pa.chunked_array([pa.array(ends, pa.large_string())])), expected)


def test_no_prompts_no_documents():
    assert write() == []


def test_gaps_of_many_empty_lines_become_one_and_indents_stay():
    (row,) = write(("One sentence here.\n \n\n\t\n\n    code = 1.\n\nTwo.", "stop"))
    assert row["text"] == "One sentence here.\n\n    code = 1.\n\nTwo."
