"""Decontaminate: planted leaks in all their dress, no false alarms, one crafted document per reason."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.leakage.leaks import Rule, best, leading
from hare_ray.leakage.scan import Found
from tests.leakage.planted import WEB, built, checked, item, unrelated

QUESTION = (
    "Farmer Giles sells 16 fresh eggs each morning at the county market, and eats three of them for his "
    "breakfast. How many dollars does he earn?"
)
OPTIONS = ("twenty-two dollars", "none at all", "he's losing money")
SHORT = "Which of these metals floats on cold water?"
LENGTHY = (
    "Marta paints eleven wooden fences before lunch with seven brushes borrowed from an uncle in Trieste while her "
    "cousin sands twenty planks and stacks forty heavy red bricks behind the orchard wall so how many tools remain "
    "unused tonight?"
)
PASSAGE = "Potassium is a soft silvery metal that tarnishes in air within minutes and is kept under mineral oil."
TARNISHED = PASSAGE.replace("silvery", "white").replace("within minutes", "in minutes").replace("kept", "stored")
ASKED = "Does potassium tarnish in humid air?"
TEN = ("ruby", "opal", "jade", "onyx", "topaz", "pearl", "amber", "agate", "beryl", "coral")
BLANK = "The trophy would not fit because the _ was far too big."


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    exam = [
        item("lengthy", LENGTHY, (), "five"),
        item("long", QUESTION, OPTIONS, OPTIONS[0]),
        item("short", SHORT, ("lead", "sodium", "gold"), "sodium"),
        item("tiny", "Floats?", ("lead or gold or even iron", "sodium but not any of the others")),
        item("listed", "Floats?", ("copper", "brass", "zinc"), "zinc"),
        item("blank", BLANK, ("brown suitcase", "silver trophy"), "silver trophy"),
        item("gap", "He drank _ with plenty of sugar.", ("coffee", "tea"), "tea"),
        item("answered", "Who wrote it?", (), "Christopher Marlowe of Canterbury"),
        item("passage", ASKED, (), "yes", PASSAGE),
        item("mentioned", "Is it?", (), "no", "Cobalt whiskers short electronic circuits."),
        item("ten", "Blue?", TEN, "opal"),
    ]
    return built(tmp_path_factory.mktemp("leaks"), exam, min_weight=3.5)[:2]


def test_leaked_ngram_is_dropped_and_named(index):
    verdict = checked(index, [f"{unrelated(100)} {QUESTION} {unrelated(100)}"])[0]
    assert (verdict["reason"], verdict["detail"]) == ("leaked_ngram", "exam/test/long")
    names = [verdict[f"leak_{name}"] for name in ("benchmark", "split", "item", "method")]
    assert names == ["exam", "test", "long", "ngram"]
    grams = len(QUESTION.split()) - 12
    assert verdict["leak_overlap"] == pytest.approx(grams / (200 + grams), abs=1e-6)
    assert "sells 16 fresh eggs each morning" in verdict["leak_snippet"] and len(verdict["leak_snippet"]) == 200


def test_leaked_short_item_is_dropped_and_named(index):
    verdict = checked(index, [f"{unrelated(50)} {SHORT} Perhaps."])[0]
    assert (verdict["reason"], verdict["detail"]) == ("leaked_short_item", "exam/test/short")
    assert (verdict["leak_method"], verdict["leak_overlap"]) == ("short_exact", 0)
    assert SHORT in verdict["leak_snippet"]


def test_leaked_reworded_is_dropped_and_named(index):
    words = QUESTION.split()
    words[6], words[13], words[20] = "every", "gives", "big"
    text = " ".join([*words[:10], "local", *words[10:]])
    verdict = checked(index, [f"{unrelated(50)} {text} {unrelated(50, 1)}"])[0]
    assert (verdict["reason"], verdict["detail"]) == ("leaked_reworded", "exam/test/long")
    assert (verdict["leak_method"], verdict["leak_overlap"]) == ("reworded", 0)
    assert "eggs every morning" in verdict["leak_snippet"]
    blind = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)
    assert checked(index, [text], blind)[0]["reason"] is None


def test_a_passage_is_found_reworded_without_its_question(index):
    verdict = checked(index, [f"{unrelated(50)} {TARNISHED} {unrelated(50, 1)}"])[0]
    assert (verdict["reason"], verdict["detail"]) == ("leaked_reworded", "exam/test/passage")


def test_leaked_overlap_is_more_than_a_share_of_the_text(index):
    rate = Rule(min_hits=1, max_overlap=0.5, reworded_share=None)
    verdicts = checked(index, [QUESTION, f"{QUESTION} {unrelated(40)}"], rate)
    assert [verdict["reason"] for verdict in verdicts] == ["leaked_overlap", None]
    assert verdicts[0]["detail"] == verdicts[0]["leak_benchmark"] + "/test/long" and verdicts[1]["detail"] is None
    assert verdicts[1]["leak_item"] == "long" and 0 < verdicts[1]["leak_overlap"] < 0.5


@pytest.mark.parametrize(
    "text",
    [
        QUESTION,
        QUESTION.upper(),
        QUESTION.replace(" ", "\n"),
        QUESTION.replace(",", "").replace(".", " -- ").replace("?", ""),
        "**Question:** _" + QUESTION.replace("county market", "[county market](https://x.org)") + "_",
        QUESTION + "\nAnswer: 72",
        QUESTION + " (A) " + " (B) ".join(OPTIONS),
        "Q: " + QUESTION.replace("eggs", "\u201ceggs\u201d").replace("each", "e\u0301ach"),
        SHORT + " lead sodium gold",
        SHORT.lower().replace(" ", " \t"),
        f"<b>{SHORT}</b>",
        "\\(" + SHORT.replace("metals", "**metals**") + "\\)",
        "* " + SHORT.replace("floats", "floats\n* "),
        "Floats?\n- lead or gold or even iron\n- sodium but not any of the others",
        "Floats? A. copper B. brass C. zinc",
        "Floats?\n(a) copper\n(b) brass\n(c) zinc",
        "Floats?\n1) copper\n2) brass\n3) zinc",
        "Floats? Copper, brass, zinc",
        "Who wrote it?\nChristopher Marlowe of Canterbury",
        "Who wrote it?\n\nAnswer: Christopher Marlowe of Canterbury.",
        BLANK,
        BLANK.replace("_", "______"),
        BLANK.replace("_", "brown suitcase"),
        BLANK.replace("_", "silver trophy"),
        "He drank coffee with plenty of sugar.",
        "HE DRANK TEA WITH PLENTY OF SUGAR",
        PASSAGE,
        ASKED,
        f"{PASSAGE} {ASKED}",
        f"{ASKED}\nAnswer: yes",
        "Cobalt whiskers short electronic circuits.",
        "Blue? " + " ".join(TEN),
        "Blue?\n" + "\n".join(f"{number}. {gem}" for number, gem in enumerate(TEN, 1)),
        "Blue?\n" + "\n".join(f"({letter}) {gem}" for letter, gem in zip("ABCDEFGHIJ", TEN, strict=True)),
    ],
)
def test_planted_leaks_are_all_found_exactly(index, text):
    exact = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)
    assert checked(index, [f"{unrelated()} {text} {unrelated(seed=1)}"], exact)[0]["reason"] is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "...",
        unrelated(),
        QUESTION.split(".")[0].rsplit(" ", 10)[0],
        " ".join(reversed(QUESTION.split())),
        "Which of these metals",
        "Floats?",
        "Who wrote it? Christopher did.",
        "Does potassium tarnish",
        "Cobalt whiskers short electronic devices.",
    ],
)
def test_what_is_no_leak_is_kept(index, text):
    verdict = checked(index, [text])[0]
    assert verdict.pop("leak_overlap") == 0
    assert set(verdict.values()) == {None}


def test_items_do_not_reach_over_the_end_of_a_document(index):
    exact = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)
    words = QUESTION.split()
    halves = [" ".join(words[:12]), " ".join(words[12:24]), *SHORT.rsplit(" ", 2)]
    assert all(verdict["reason"] is None for verdict in checked(index, halves, exact))


def test_verdicts_do_not_depend_on_neighbours(index):
    reworded = reworded_every(LENGTHY, 9)
    texts = [unrelated(), QUESTION, "", SHORT, None, unrelated(seed=2) + "." + SHORT, OPTIONS[0], reworded]
    together = checked(index, texts)
    assert together == [checked(index, [text])[0] for text in texts]
    assert [v["reason"] is None for v in together] == [True, False, True, False, True, False, True, False]


def reworded_every(text: str, step: int) -> str:
    return " ".join("so" if i % step == step - 1 else word for i, word in enumerate(text.split()))


@pytest.mark.parametrize("words", range(4, 13))
def test_the_beginning_of_a_question_hides_no_reworded_one_nearby(index, words):
    reworded, begun = reworded_every(LENGTHY, 9), " ".join(LENGTHY.split()[:words])
    assert len(LENGTHY.split()) == 39
    for texts in ([begun, reworded], [reworded, begun], [reworded, reworded], [begun, reworded, begun, reworded]):
        found = [verdict["leak_item"] for verdict in checked(index, texts)]
        assert found == ["lengthy" if text is reworded else None for text in texts]
    for text in (f"{begun} {reworded}", f"{begun} {unrelated(60)} {reworded}", f"{reworded} {begun}"):
        assert checked(index, [text])[0]["leak_item"] == "lengthy"


NEAR = [
    *(reworded_every(text, step) for step in (4, 6, 9) for text in (LENGTHY, QUESTION)),
    *(" ".join(LENGTHY.split()[first:last]) for first, last in ((0, 4), (0, 12), (20, 31), (27, 39), (3, 30))),
    unrelated(3), "", SHORT, PASSAGE, reworded_every(PASSAGE, 7),
]  # fmt: skip


@given(st.lists(st.sampled_from(NEAR), min_size=2, max_size=9), st.data())
@settings(max_examples=40, deadline=None)
def test_neither_order_nor_cutting_changes_a_verdict(index, texts, data):
    alone = {text: checked(index, [text])[0] for text in set(texts)}
    cut = data.draw(st.integers(0, len(texts)))
    assert checked(index, texts[:cut]) + checked(index, texts[cut:]) == [alone[text] for text in texts]
    assert checked(index, texts) == [alone[text] for text in texts]


def test_no_documents_give_no_rows(index):
    assert checked(index, []) == []


def test_min_hits_must_be_reached(index):
    text = f"{unrelated(200)} {QUESTION}"
    grams = len(QUESTION.split()) - 12
    for hits, reason in ((grams, "leaked_ngram"), (grams + 1, None)):
        rule = Rule(min_hits=hits, max_overlap=0.0, reworded_share=None)
        verdict = checked(index, [text], rule)[0]
        assert verdict["reason"] == reason and verdict["leak_benchmark"] == "exam" and verdict["leak_overlap"] > 0


@pytest.mark.parametrize("script", ["\u4e00\u4e8c\u4e09", "caf\u00e9 \U0001f600"])
def test_snippets_are_text_of_the_document(index, script):
    text = f"{script * 60} {QUESTION} {script * 60}"
    verdict = checked(index, [text])[0]
    assert verdict["reason"] == "leaked_ngram"
    assert verdict["leak_snippet"] in text and "fresh eggs" in verdict["leak_snippet"]


def test_leading_item_has_most_hits_then_the_smallest_number():
    documents = np.array([0, 0, 0, 2, 2, 2, 2])
    items = np.array([9, 4, 9, 7, 3, 7, 3])
    rows = leading(documents, items)
    assert documents[rows].tolist() == [0, 2] and items[rows].tolist() == [9, 3]


def test_best_row_has_the_largest_share_then_the_smallest_item():
    documents, firsts, items = np.array([1, 1, 1, 4]), np.array([0, 5, 2, 9]), np.array([8, 6, 7, 1])
    rows = best(Found(documents, firsts, np.full(4, 3), items, np.array([0.7, 0.9, 0.9, 0.8], np.float32)))
    assert rows.tolist() == [1, 3]


@pytest.mark.parametrize(
    "wrong", [{"min_hits": 0}, {"max_overlap": 1.0}, {"max_overlap": -0.1}, {"reworded_share": 0.0}]
)
def test_meaningless_thresholds_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Rule(**{"min_hits": 1, "max_overlap": 0.0, "reworded_share": 0.7, **wrong})


def test_chunks_and_slices_are_read_where_they_lie(index):
    from hare_ray.leakage.leaks import checker

    texts = pa.chunked_array([pa.array(["x", QUESTION, None]), pa.array([SHORT, "y"])])
    table = pa.table({"text": texts}).slice(1, 3)
    found = checker(index[1], WEB)(table).column("leak_item").to_pylist()
    assert found == ["long", None, "short"]
