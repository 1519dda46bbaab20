"""Prompts from seeds, by hand and by invariant; answers to documents, one crafted case per reason."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.priors.prompts import Template, load_prompts
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Annotate, Table
from hare_ray.synth.prompt import GENERATED, PROMPT, WRITTEN, prompt_id
from hare_ray.synth.seeds import Seeds
from hare_ray.synth.sentences import cut_to_sentence, ends_sentence
from hare_ray.synth.textbook import Textbook, TextbookPrompts, opening

D1 = pa.schema([*DOCUMENT, pa.field("cluster", pa.int32())])


class Docs(Table):
    writes = D1


class Answers(Annotate):
    prompts: Table
    writes = GENERATED


DOCS = Docs()
SEEDS = Seeds(docs=DOCS, per_topic=5, total=None, salt="d2")
STYLES = tuple(Template(f"style_{n}", "web", f"<{n}>{{seed}}</{n}>", 20) for n in range(3))


def asking(**fields):
    numbers = {"templates": STYLES, "prompts_per_seed": 1, "max_seed_words": 9, **fields}
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
    (row,) = ask(["One text.", "Two, with {seed}."], [4, 5], [None, 0])
    assert row["seed"] == "Two, with {seed}."
    assert row["prompt"] in [template.fill(row["seed"]) for template in STYLES]
    assert row["topic"] == 5
    assert row["url"] == f"https://a.example/1#{row['template']}"
    assert row["id"] == prompt_id(b"\x01" * 16, row["template"], 0)


@pytest.mark.parametrize("per_seed", [1, 2, 3, 5])
def test_every_topic_uses_all_templates_evenly(per_seed):
    turns = [turn for turn in range(6) for _ in range(4)]
    rows = ask(["Some text."] * 24, [0, 1, 2, 3] * 6, turns, prompts_per_seed=per_seed)
    for topic in range(4):
        counts = Counter(row["template"] for row in rows if row["topic"] == topic)
        assert set(counts.values()) == {2 * per_seed}
    assert len({row["id"] for row in rows}) == len(rows) == 24 * per_seed


def test_seeds_in_turn_use_every_template_before_any_again():
    templates = tuple(Template(f"style_{n}", "web", "{seed}", 20) for n in range(6))
    rows = ask(["Some text."] * 3, [0] * 3, [2, 0, 1], templates=templates, prompts_per_seed=2)
    assert len({row["template"] for row in rows}) == 6


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
        template = Template("t", "web", "{seed}", own)
        (row,) = ask([text], [0], [0], templates=(template,), max_seed_words=shared)
        assert row["prompt"] == row["seed"] == "w0 w1 w2 w3"


@given(st.text('ab .!?"\n\u00e9\u4e2d1', max_size=60), st.integers(1, 12))
@settings(deadline=None)  # the first call imports
def test_a_seed_is_a_beginning_within_the_limit(text, limit):
    text = text.strip()
    seed = opening(text, limit)
    assert text.startswith(seed)
    assert seed == seed.strip()
    assert min(len(text.split()), limit) / 2 <= len(seed.split()) <= limit


def test_every_template_that_ships_makes_a_prompt():
    templates = load_prompts(("web", "wiki", "forum", "academic", "story", "law", "code", "math", "continuation"))
    text = "A sentence of exactly seven words here. " * 100
    rows = ask([text], [0], [0], templates=templates, prompts_per_seed=len(templates), max_seed_words=500)
    assert {row["template"] for row in rows} == {template.name for template in templates}
    for row in rows:
        assert row["seed"].endswith(".")
        assert row["prompt"].count(row["seed"]) == 1


@pytest.mark.parametrize("fields", [{"templates": ()}, {"templates": STYLES[:1] * 2}, {"prompts_per_seed": 0},
                                    {"max_seed_words": 0}])  # fmt: skip
def test_what_leads_to_no_prompt_is_refused(fields):
    with pytest.raises(ValueError, match="expected at least"):
        asking(**fields)


def test_seeds_and_answers_of_others_are_refused():
    with pytest.raises(ValueError, match="choose the seeds from these"):
        TextbookPrompts(docs=Docs(), seeds=SEEDS, templates=STYLES, prompts_per_seed=1, max_seed_words=9)
    with pytest.raises(ValueError, match="generate the answers from these"):
        Textbook(prompts=asking(), answers=Answers(prompts=asking()))


def test_the_templates_are_part_of_the_identity():
    assert asking().fingerprint == asking().fingerprint
    assert asking().fingerprint != asking(templates=STYLES[:2]).fingerprint


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
        ],
        schema=PROMPT,
    )
    zero = pa.array([0] * len(answers), pa.int32())
    columns = [[answer for answer, _ in answers], [finish for _, finish in answers], zero, zero]
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
