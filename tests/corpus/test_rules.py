import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from hare_ray.corpus.rules import Rules, judged
from hare_ray.corpus.rules_counts import Wanted
from hare_ray.corpus.rules_families import (
    PUBLISHED_C4,
    PUBLISHED_FINEWEB,
    PUBLISHED_GOPHER,
    PUBLISHED_REPETITION,
    Gopher,
    Hare,
)
from hare_ray.corpus.rules_kernel import counts
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Table
from hare_ray.text.spans import words_at


class Docs(Table):
    writes = DOCUMENT


GOPHER = dataclasses.replace(PUBLISHED_GOPHER, min_words=20, max_words=400)
REPETITION = PUBLISHED_REPETITION
C4 = dataclasses.replace(PUBLISHED_C4, max_word_chars=40, bad_phrases=("foul play",))
FINEWEB = PUBLISHED_FINEWEB
HARE = Hare(
    max_lorem_ipsum_lines=0, max_javascript_line_share=0.1, min_complete_share=0.5, max_link_share=0.1,
    max_emails=1, max_phones=1, max_addresses=1,
)  # fmt: skip
EVERYTHING = (GOPHER, REPETITION, C4, FINEWEB, HARE)

SENTENCES = (
    "The old harbour of the town lies below a hill.",
    "Fishing boats leave it before dawn and come back around noon.",
    "Most families have lived there for three or four generations.",
    "In winter, storms keep everybody at home with little to do.",
    "A small museum shows nets, lamps, and letters from the sea!",
)
GOOD = "\n\n".join(" ".join(SENTENCES[i : i + 2]) for i in (0, 2)) + "\n" + SENTENCES[4]
LETTERS = "abcdefghij"
NUMBERS = " ".join(f"w{i} and" for i in range(300))


CASES = {
    GOPHER: {
        "too_few_words": "The end of the story.",
        "too_many_words": NUMBERS,
        "short_words": " ".join(f"{a}{b} to" for a in LETTERS for b in LETTERS[:4]),
        "long_words": GOOD.replace(" a ", " donaudampfschifffahrtsgesellschaft ").replace("and", "x" * 150),
        "number_signs": GOOD.replace(" ", " #"),
        "ellipses": GOOD.replace(" ", " \u2026", 4).replace("a", "...", 4),
        "bullet_lines": "".join(f"- {sentence}\n" for sentence in SENTENCES),
        "ellipsis_lines": "\n".join(SENTENCES).replace("hill.", "hill...").replace("sea!", "sea\u2026"),
        "few_letters": GOOD + " 12 7.5 | 33" * 8,
        "few_stop_words": " ".join(SENTENCES[1:4])
        .replace("and", "or")
        .replace("have", "had")
        .replace("with", "by")
        .replace("to", "a"),
    },
    REPETITION: {
        "empty": "",
        "duplicate_paragraphs": "Read it.\n\n" * 3 + GOOD,
        "duplicate_paragraph_chars": "\n\n".join((*SENTENCES[:3], SENTENCES[1])),
        "duplicate_lines": GOOD + "\nYes.\nNo.\nYes.\nNo.\nYes.\nNo.",
        "duplicate_line_chars": "\n".join((*SENTENCES[:3], SENTENCES[1])),
    },
    C4: {
        "lorem_ipsum": GOOD + "\nSome Lorem Ipsum dolor.",
        "curly_bracket": GOOD + "\nIt is {so}, they say.",
        "few_sentences": "\n".join(SENTENCES).replace("hill.", "hill..."),
        "bad_phrases": GOOD + " Foul play!",
    },
    FINEWEB: {
        "empty": " \n",
        "few_ended_lines": "\n".join(f"{sentence} {sentence[:-1]}" for sentence in SENTENCES),
        "short_lines": "\n".join(sentence[-20:] for sentence in SENTENCES),
        "repeated_line_chars": GOOD + "\nRead it.\nRead it.",
        "many_line_feeds": GOOD + "\n" * 20,
    },
    HARE: {
        "lorem_ipsum": GOOD + " Lorem Ipsum",
        "javascript_warning": GOOD + "\nPlease switch on JavaScript to go on.",
        "incomplete": "\n".join(sentence[:-1] for sentence in SENTENCES),
        "web_links": GOOD + " See http://harbour.example/museum/letters/ and www.harbour.example too.",
        "personal_information": GOOD + " Write to ann.lee@harbour.example or bob@boats.example.",
    },
}
PERSONAL = {
    "emails": " Write to ann.lee@harbour.example or bob@boats.example.",
    "phones": " Call (415) 555-2671 or +44 20 7946 0958.",
    "addresses": " It was 8.8.8.8 and 93.184.216.34 then.",
}
GRAMS = {f"frequent_{n}gram" for n in (2, 3, 4)} | {f"repeated_{n}grams" for n in range(5, 11)}
"""Tested together."""


def judge(rules, *texts):
    stage = Rules(docs=Docs(), rules=rules)
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    return conform(stage.prepare(lambda stage: pytest.fail("asks for files"))(table), stage.schema(), "it")


def count(text, **wanted):
    found = counts(pa.array([text], pa.large_string()), Wanted(families=31, **wanted))
    return {name: int(values[0]) for name, values in found.items()}


def test_good_text_is_kept_by_all_families_and_measured():
    row = judge(EVERYTHING, GOOD).to_pylist()[0]
    assert row["reason"] is None
    assert row["words"] == len(GOOD.replace("\n", " ").split())
    assert row["complete_share"] == row["letter_word_share"] == 1
    assert row["link_share"] == row["duplicate_line_share"] == row["duplicate_5gram_share"] == 0


@pytest.mark.parametrize(
    ("family", "reason"), [(family, reason) for family, cases in CASES.items() for reason in cases]
)
def test_reasons(family, reason):
    row = judge((family,), CASES[family][reason]).to_pylist()[0]
    assert row["reason"] == reason
    measure, value, which, limit, _ = row["detail"].replace(",", "").replace("at ", "at_").split()
    assert measure in {one.measure for one in family.limits() if one.reason == reason}
    assert float(value) < float(limit) if which == "at_least" else float(value) > float(limit)


@pytest.mark.parametrize("n", range(2, 11))
def test_every_n_has_its_own_limit_and_reason(n):
    text = GOOD + (" " + " ".join(LETTERS) + ".") * 4
    top = tuple(0.001 if n == one else 1.0 for one in (2, 3, 4))
    duplicate = tuple(0.001 if n == one else 1.0 for one in range(5, 11))
    family = dataclasses.replace(REPETITION, max_top_ngram_shares=top, max_duplicate_ngram_shares=duplicate)
    assert judge((family,), text)["reason"].to_pylist() == [f"frequent_{n}gram" if n < 5 else f"repeated_{n}grams"]


@pytest.mark.parametrize("family", EVERYTHING, ids=lambda family: type(family).__name__)
def test_every_reason_has_a_case(family):
    assert {limit.reason for limit in family.limits()} - GRAMS == set(CASES[family])


@pytest.mark.parametrize("kind", PERSONAL)
def test_personal_information_is_counted_by_kind(kind):
    row = judge((HARE,), GOOD + PERSONAL[kind]).to_pylist()[0]
    assert (row["reason"], row["detail"]) == ("personal_information", f"{kind} 2, at most 1 allowed")


def test_the_first_rule_broken_in_the_order_of_the_recipe_is_the_reason():
    text = "# lorem ipsum http://x.example"
    reasons = [judge(rules, text)["reason"][0].as_py() for rules in (EVERYTHING, EVERYTHING[::-1], (FINEWEB,))]
    assert reasons == ["too_few_words", "lorem_ipsum", "few_ended_lines"]


def test_a_limit_itself_is_allowed():
    words = judge((GOPHER,), GOOD)["words"].to_pylist()[0]
    for limits, expected in (
        ({"min_words": words, "max_words": words}, None),
        ({"min_words": words + 1}, "too_few_words"),
    ):
        assert judge((dataclasses.replace(GOPHER, **limits),), GOOD)["reason"].to_pylist() == [expected]


def test_families_are_named_once_and_their_limits_are_identity():
    for rules in ((), (GOPHER, PUBLISHED_GOPHER)):
        with pytest.raises(ValueError, match="families"):
            Rules(docs=Docs(), rules=rules)
    docs = Docs()
    prints = {Rules(docs=docs, rules=rules).fingerprint for rules in ((GOPHER,), (PUBLISHED_GOPHER,), (GOPHER, C4))}
    assert len(prints) == 3


def test_missing_text_gets_nulls_and_neighbours_and_order_do_not_matter():
    texts = [GOOD, None, *(text for cases in CASES.values() for text in cases.values()), ""]
    together = judge(EVERYTHING, *texts).to_pylist()
    assert set(together[1].values()) == {None}
    assert together == [row for text in texts for row in judge(EVERYTHING, text).to_pylist()]
    assert together[::-1] == judge(EVERYTHING, *texts[::-1]).to_pylist()
    assert judge(EVERYTHING).num_rows == 0


def test_a_family_counts_the_same_alone_and_among_others():
    texts = [text for cases in CASES.values() for text in cases.values()]
    column = pa.array(texts, pa.large_string())
    for family in EVERYTHING:
        others = (one for one in EVERYTHING if one is not family)
        alone = judged((family,), counts, column)["reason"].to_pylist()
        among = judged((family, *others), counts, column)["reason"].to_pylist()
        assert [reason for reason, lonely in zip(among, alone, strict=True) if lonely] == [*filter(None, alone)]


def test_chunks_do_not_matter_with_our_words_and_with_others():
    texts = pa.array([GOOD, *(text for cases in CASES.values() for text in cases.values())], pa.large_string())
    chunked = pa.chunked_array([texts[:3], texts[3:3], texts[3:]])
    words = words_at(chunked, *spaced(texts.to_pylist()))
    assert judged(EVERYTHING, counts, chunked).equals(judged(EVERYTHING, counts, texts))
    assert judged(EVERYTHING, counts, chunked, words).equals(judged(EVERYTHING, counts, texts, words))


def spaced(texts):
    """White-space tokens of ASCII texts as spans."""
    starts, ends, offsets = [], [], [0]
    for text in texts:
        at = 0
        for token in text.split():
            at = text.encode().index(token.encode(), at)
            starts.append(at)
            at += len(token.encode())
            ends.append(at)
        offsets.append(len(starts))
    return np.array(offsets), np.array(starts, np.int32), np.array(ends, np.int32)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("One. Two! Three?", 1),
        ('He said "stop."', 1),
        ("No end here", 0),
        ("Version 3.5 is out", 0),
        ("The line goes\non here.", 1),
        ("The Line Goes\nOn here.", 8 / 19),
        ("goes\n\non.", 3 / 7),
        ("Done. Rest", 5 / 9),
        ("\u4f60\u597d\u3002", 1),
    ],
)
def test_complete_share(text, share):
    found = count(text)
    assert found["complete_chars"] / found["dense_chars"] == pytest.approx(share, abs=0.06)


def test_without_marks_among_the_words_sentences_are_told_by_tokens():
    assert count("One. Two went (3.5 miles)! Three?", min_words_per_line=1, max_word_chars=99)["kept_sentences"] == 3


def test_spans_must_fit_and_words_of_equal_bytes_are_equal():
    texts = pa.array(["a b a", "b"])
    words = words_at(texts, *spaced(texts.to_pylist()))
    assert words.hashes[0] == words.hashes[2] != words.hashes[1] == words.hashes[3]
    with pytest.raises(ValueError, match="offsets"):
        words_at(texts, words.offsets[:-1], words.starts, words.ends)


def test_stop_words_are_single_words_and_few_and_phrases_not_too_short():
    texts = pa.array(["a"])
    with pytest.raises(ValueError, match="single words"):
        counts(texts, Wanted(families=Gopher.family, stop_words=("of the",)))
    with pytest.raises(ValueError, match="at most 64"):
        counts(texts, Wanted(families=Gopher.family, stop_words=tuple(f"w{i}" for i in range(65))))
    with pytest.raises(ValueError, match="at least 3 bytes"):
        counts(texts, Wanted(families=1, policy_phrases=("to",)))
