"""Verify: one crafted text per reason, measures against plain Python, and invariants."""

import gzip
import json
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.priors.prompts import Refusals, load_refusals
from hare_ray.schema import conform
from hare_ray.stage import Table
from hare_ray.synth.prompt import WRITTEN
from hare_ray.synth.verify import Verify
from hare_ray.synth.verify_kernel import tokens


class Written(Table):
    writes = WRITTEN


LIMITS = {
    "min_words": 20,
    "max_words": 400,
    "min_tokens": None,
    "max_tokens": None,
    "max_boilerplate": 1,
    "must_end_sentence": True,
    "refusals": load_refusals(),
    "max_seed_overlap": 0.3,
    "max_repetition": 0.2,
    "max_word_share": 0.2,
    "min_variety": 0.3,
    "variety_words": 60,
    "max_letterless_share": 0.3,
}
SEED = "Ships carried salt along the coast, and the towns that stored it grew rich within two generations."
GOOD = (
    "Salt once decided where people settled, because without it neither meat nor fish lasted through a winter. "
    "A town beside a marsh could dry sea water in shallow basins and sell what remained to everybody inland. "
    "Rulers noticed how much money moved along these roads and began to tax each sack at the gate."
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def stage(**limits):
    return Verify(docs=Written(), **{**LIMITS, **limits})


def verify(texts, seeds=None, tokens=None, **limits):
    table = pa.table(
        {
            "text": pa.array(texts, pa.large_string()),
            "seed": pa.array([SEED] * len(texts) if seeds is None else seeds, pa.large_string()),
            "tokens": pa.array([None] * len(texts) if tokens is None else tokens, pa.int32()),
        }
    )
    checks = stage(**limits)
    return conform(checks.prepare(lambda stage: pytest.fail("asks for files"))(table), checks.schema(), "it")


CASES = {
    "too_short": "Salt was rare, and towns that had it grew.",
    "too_long": " ".join(f"Number {a}{b} is {b}{a}x." for a in LETTERS for b in LETTERS[:8]),
    "incomplete": GOOD.removesuffix(" at the gate.") + " and",
    "refusal": GOOD + " But as an AI language model, I have never tasted any.",
    "boilerplate": "In this chapter, we will explore how salt was made. " + GOOD,
    "copies_seed": SEED + " " + SEED.replace("salt", "spice") + " This was so.",
    "repetitive": " ".join(["Salt is good and salt is what we need."] * 12),
    "low_variety": " ".join(f"{a} {b} {c}" for a in "pqrs" for b in "tuvw" for c in "xyzk") + ".",
    "not_words": GOOD + " 12 * 3.5 = 42 ;" * 2 + " " + " ".join(str(n) for n in range(30)) + " ends.",
}


@pytest.mark.parametrize("reason", CASES)
def test_every_reason_has_a_text_that_gets_it(reason):
    limits = {"max_repetition": 1.0} if reason == "low_variety" else {}
    found = verify([GOOD, CASES[reason]], **limits)
    assert found["reason"].to_pylist() == [None, reason]
    assert found["detail"].is_valid().to_pylist() == [False, True]


@pytest.mark.parametrize("reason", CASES)
def test_no_text_gets_its_reason_when_its_limit_is_off(reason):
    off = {
        "too_short": {"min_words": 1},
        "too_long": {"max_words": 10**6},
        "incomplete": {"must_end_sentence": False},
        "refusal": {"refusals": Refusals((), ())},
        "boilerplate": {"refusals": Refusals((), ())},
        "copies_seed": {"max_seed_overlap": 1.0},
        "repetitive": {"max_repetition": 1.0, "max_word_share": 1.0},
        "low_variety": {"min_variety": 0.0},
        "not_words": {"max_letterless_share": 1.0},
    }[reason]
    assert reason not in verify([CASES[reason]], **off)["reason"].to_pylist()


def test_one_word_again_and_again_is_repetitive_though_no_4gram_is():
    text = " ".join(f"the {a}{b}" for a in LETTERS[:6] for b in LETTERS[:6]) + "."
    (row,) = verify([text]).to_pylist()
    assert (row["reason"], row["repetition"]) == ("repetitive", 0)
    assert row["detail"] == "word_share 0.5"


def test_short_texts_are_not_asked_for_variety():
    text = CASES["low_variety"]
    found = [verify([text], max_repetition=1.0, variety_words=words)["reason"][0].as_py() for words in (192, 193)]
    assert len(text.split()) == 192
    assert found == ["low_variety", None]


def test_details_tell_what_was_measured():
    details = dict(zip(CASES, verify(list(CASES.values()))["detail"].to_pylist(), strict=True))
    assert details["too_short"] == "words 9"
    assert details["refusal"] == "as an AI language model"
    assert details["incomplete"].endswith("each sack and'")
    assert details["not_words"].startswith("letterless_share 0.")


def test_a_refusal_is_one_also_where_it_is_short():
    texts = [
        "I'm sorry, but I can't help.",
        "I\u2019M SORRY - I can not do that.",
        "Unfortunately, I cannot write this.",
        "I cannot fulfill it.",
        "Please provide the text.",
        "She said: I'm sorry, but I cannot.",
    ]
    assert verify(texts)["reason"].to_pylist() == ["refusal"] * 5 + ["too_short"]


@pytest.mark.parametrize(
    "start",
    [
        "I cannot swim, said the boy.",
        "I'm sorry for your loss, the letter began.",
        "I am sorry to hear of the fire.",
        "Unfortunately I lost the key.",
        "Please provide the missing word: salt ____.",
        "I was trained by a master of the trade, and my training data were sacks of salt.",
        "I apologize to nobody.",
        "There is no text older than this one.",
        "I'm unable to sleep.",
    ],
)
def test_letters_stories_and_items_may_begin_as_people_do(start):
    assert verify([f"{start} {GOOD}"])["reason"].to_pylist() == [None]


def test_of_two_phrases_the_longer_is_named():
    phrases = Refusals(("my training data", "of my training data"), ("so I",))
    texts = [GOOD + " It is part of my training data.", "So, I " + GOOD, GOOD + " So I say."]
    found = verify(texts, refusals=phrases)
    assert found["detail"].to_pylist() == ["of my training data", "so I", None]


SET = Refusals((), (), ("in this chapter, we will explore", "chapter, we", "hope this helps", "a rich tapestry of"))
LONG = " ".join(f"Salt town {a}{b} had {b}{a} wells." for a in LETTERS[:4] for b in LETTERS[4:8])


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (f"In this chapter, we will explore salt. {LONG}", "opens or closes with 'in this chapter, we will explore'"),
        (f"On Salt\n\nIn this chapter we will explore it. {LONG}", "opens or closes with 'in this chapter,"),
        (f"{LONG} I hope this helps!", "opens or closes with 'hope this helps'"),
        (f"{LONG} They wove a rich tapestry of salt. {LONG}", None),
        (f"{LONG} In this chapter, we will explore it. {LONG}", None),
        (f"{LONG} A rich tapestry of it, a rich tapestry of it. {LONG}", "2 set phrases, such as 'a rich tapestry of'"),
    ],
)
def test_set_phrases_open_close_or_abound(text, detail):
    (row,) = verify([text], refusals=SET, max_repetition=1.0, max_word_share=1.0, min_variety=0.0).to_pylist()
    assert row["reason"] == (None if detail is None else "boilerplate")
    assert detail is None or row["detail"].startswith(detail)


def test_a_phrase_that_refuses_counts_as_such_where_it_is_listed_as_boilerplate_too():
    both = Refusals(("hope, this helps",), (), ("hope this helps",))
    assert verify([GOOD + " I hope this helps."], refusals=both)["reason"].to_pylist() == ["refusal"]


def test_the_llms_tokens_count_where_they_are_known():
    found = verify([GOOD] * 5, tokens=[9, 10, 90, 91, None], min_tokens=10, max_tokens=90)
    assert found["reason"].to_pylist() == ["too_short", None, None, "too_long", None]
    assert found["detail"].to_pylist() == ["tokens 9", None, None, "tokens 91", None]
    assert verify([GOOD] * 2, tokens=[0, 10**9])["reason"].null_count == 2


def test_items_may_end_in_an_answer_and_quote_their_seed():
    item = "Question: which goods made the towns rich?\n" + SEED + "\nAnswer: B) salt"
    assert verify([item])["reason"].to_pylist() == ["incomplete"]
    assert verify([item], must_end_sentence=False, max_seed_overlap=1.0)["reason"].to_pylist() == [None]


def plain(text, seed):
    """Words, overlap with the seed, and repetition, over texts of plain lower-case words."""
    words, source = text.split(), seed.split()

    def grams(of, n):
        return [tuple(of[i : i + n]) for i in range(len(of) - n + 1)]

    fives, fours = grams(words, 5), grams(words, 4)
    shared = sum(gram in set(grams(source, 5)) for gram in fives)
    repeated = sum(count - 1 for count in Counter(fours).values())
    return len(words), shared / max(len(fives), 1), repeated / max(len(fours), 1)


TOKENS = re.compile(r"[^\t\n\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


@given(
    st.lists(st.text(st.sampled_from("a\u00e9 \t\n\x0b\u00a0\u2028\u3000\u4e2d\U0001f600\U00020000-7_"), max_size=12))
)
@settings(max_examples=60, deadline=None)
def test_tokens_and_letters_are_those_of_unicode(texts):
    expected = [
        (len(found), sum(not any(unicodedata.category(c)[0] == "L" for c in token) for token in found))
        for found in map(TOKENS.findall, texts)
    ]
    assert tokens(pa.array([*texts, None], pa.large_string())).tolist() == [*map(list, expected), [0, 0]]


SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "salt"]), max_size=40).map(" ".join)
TABLES = st.lists(st.tuples(SENTENCES, SENTENCES), max_size=6)


@given(TABLES)
@settings(max_examples=50, deadline=None)  # the first call compiles
def test_measures_equal_those_of_plain_python(rows):
    found = verify([text for text, _ in rows], [seed for _, seed in rows])
    for row, (text, seed) in zip(found.to_pylist(), rows, strict=True):
        expected = plain(text, seed)
        assert (row["words"], row["seed_overlap"], row["repetition"]) == pytest.approx(expected)


ROWS = [*CASES.values(), GOOD, "", None, "\u6c34\u706b" * 30 + "\u3002"]


@given(st.permutations(range(len(ROWS))), st.integers(0, len(ROWS)))
@settings(max_examples=20, deadline=None)
def test_a_row_is_judged_alone(order, cut):
    whole = verify(ROWS)
    texts = [ROWS[i] for i in order]
    halves = pa.concat_tables([verify(texts[:cut]), verify(texts[cut:])])
    assert halves.combine_chunks() == whole.take(order).combine_chunks()


def test_texts_in_chunks_and_without_words():
    text = pa.chunked_array([pa.array(ROWS[:5], pa.large_string()), pa.array(ROWS[5:], pa.large_string())])
    seed = pa.chunked_array([pa.array([SEED] * len(ROWS), pa.large_string())])
    count = pa.nulls(len(ROWS), pa.int32())
    found = stage().prepare(lambda stage: pytest.fail("asks for files"))(
        pa.table({"text": text, "seed": seed, "tokens": count})
    )
    assert found == verify(ROWS)
    assert found["reason"].to_pylist()[-3:-1] == ["too_short", "too_short"]


def test_no_rows_are_no_trouble():
    assert len(verify([])) == 0


LIMITS_WRONG = [
    {"min_words": 0},
    {"max_words": 5},
    {"max_repetition": 1.5},
    {"min_variety": -1},
    {"max_boilerplate": -1},
    {"min_tokens": 9, "max_tokens": 8},
]


@pytest.mark.parametrize("limits", LIMITS_WRONG)
def test_limits_that_are_none_are_refused(limits):
    with pytest.raises(ValueError, match=f"given .*{next(iter(limits))}="):
        stage(**limits)


def test_a_phrase_without_words_is_refused():
    with pytest.raises(ValueError, match=r"given phrases \['\.\.\.'\]"):
        verify([GOOD], refusals=Refusals(("...",), ()))


def test_text_by_people_passes():
    if "HARE_DATA" not in os.environ:
        pytest.skip("HARE_DATA is not set: no real texts at hand")
    path = Path(os.environ["HARE_DATA"]) / "quality" / "onestop_english.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    limits = {"min_words": 50, "max_words": 3000, "min_variety": 0.2, "variety_words": 200}
    reasons = verify(texts, **limits)["reason"].to_pylist()
    assert np.mean([reason is None for reason in reasons]) > 0.9
