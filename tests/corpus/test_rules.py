import dataclasses
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hare_ray.corpus.rules import RULES, Rules
from hare_ray.corpus.rules_kernel import counts
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Table

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


class Docs(Table):
    writes = DOCUMENT


LIMITS = {
    "min_words": 20,
    "max_words": 400,
    "min_mean_word_chars": 3.0,
    "max_mean_word_chars": 10.0,
    "max_symbols_per_word": 0.1,
    "max_bullet_line_share": 0.9,
    "max_ellipsis_line_share": 0.3,
    "min_letter_token_share": 0.8,
    "stop_words": STOP_WORDS,
    "min_stop_words": 2,
    "max_lorem_ipsums": 0,
    "max_javascript_line_share": 0.1,
    "max_duplicate_line_share": 0.3,
    "max_duplicate_paragraph_share": 0.2,
    "max_top_2gram_share": 0.2,
    "max_duplicate_5gram_share": 0.15,
    "min_complete_share": 0.5,
    "max_link_share": 0.1,
    "max_emails": 1,
    "max_phones": 1,
    "max_addresses": 1,
}
STAGE = Rules(docs=Docs(), **LIMITS)
SENTENCES = (
    "The old harbour of the town lies below a hill.",
    "Fishing boats leave it before dawn and come back around noon.",
    "Most families have lived there for three or four generations.",
    "In winter, storms keep everybody at home with little to do.",
    "A small museum shows nets, lamps, and letters from the sea!",
)
GOOD = "\n\n".join(" ".join(SENTENCES[i : i + 2]) for i in (0, 2)) + "\n" + SENTENCES[4]


def judge(*texts):
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    return conform(STAGE.prepare(lambda stage: pytest.fail("asks for files"))(table), STAGE.schema(), "it")


def count(text):
    return {name: int(values[0]) for name, values in counts(pa.array([text], pa.large_string()), STOP_WORDS).items()}


LETTERS = "abcdefghij"
CASES = {
    "too_few_words": "The end of the story.",
    "too_many_words": " ".join(f"w{i} and" for i in range(300)),
    "short_words": " ".join(f"{a}{b} to" for a in LETTERS for b in LETTERS[:4]),
    "long_words": GOOD.replace(" a ", " donaudampfschifffahrtsgesellschaft ").replace("and", "x" * 150),
    "many_symbols": GOOD.replace("The", "# ...").replace("In", "#\u2026 # # #"),
    "bullet_lines": "".join(f"- {sentence}\n" for sentence in SENTENCES),
    "ellipsis_lines": "\n".join(SENTENCES).replace("hill.", "hill...").replace("sea!", "sea\u2026"),
    "few_letters": GOOD + " 12 7.5 | 33" * 8,
    "few_stop_words": " ".join(SENTENCES[1:4])
    .replace("and", "or")
    .replace("have", "had")
    .replace("with", "by")
    .replace("to", "a"),
    "lorem_ipsum": GOOD + " Lorem Ipsum dolor.",
    "javascript_warning": GOOD + "\nPlease switch on JavaScript to go on.",
    "duplicate_lines": GOOD + "\nRead it.\nShare.\nRead it.\nShare.\nREAD IT\nshare",
    "duplicate_paragraphs": GOOD + "\n\n" + GOOD.split("\n\n")[0],
    "repeated_2gram": GOOD + " extraordinarily picturesque surroundings" * 6 + ".",
    "repeated_5grams": GOOD + " " + SENTENCES[1] + " Then " + SENTENCES[1].lower(),
    "incomplete": "\n".join(sentence[:-1] for sentence in SENTENCES),
    "web_links": GOOD + " See http://harbour.example/museum/letters/ and www.harbour.example too.",
}
PERSONAL = {
    "emails": " Write to ann.lee@harbour.example or bob@boats.example.",
    "phones": " Call (415) 555-2671 or +44 20 7946 0958.",
    "addresses": " It was 8.8.8.8 and 93.184.216.34 then.",
}


def test_good_text_is_kept_and_measured():
    row = judge(GOOD).to_pylist()[0]
    assert row["reason"] is None
    assert row["words"] == len(GOOD.replace("\n", " ").split())
    assert row["complete_share"] == 1
    assert row["letter_token_share"] == 1
    assert row["link_share"] == row["duplicate_line_share"] == row["duplicate_5gram_share"] == 0


def test_every_reason_has_a_case():
    assert {*CASES, "personal_information"} == {rule.reason for rule in RULES}


@pytest.mark.parametrize("reason", CASES)
def test_reasons(reason):
    row = judge(CASES[reason]).to_pylist()[0]
    assert row["reason"] == reason
    measure, value = row["detail"].split()
    (limit,) = (rule.limit for rule in RULES if rule.measure == measure and rule.reason == reason)
    assert float(value) < LIMITS[limit] if limit.startswith("min_") else float(value) > LIMITS[limit]


@pytest.mark.parametrize("kind", PERSONAL)
def test_personal_information_is_counted_by_kind(kind):
    row = judge(GOOD + PERSONAL[kind]).to_pylist()[0]
    assert (row["reason"], row["detail"]) == ("personal_information", f"{kind} 2")


def test_the_first_rule_broken_in_the_fixed_order_is_the_reason():
    row = judge("# lorem ipsum http://x.example").to_pylist()[0]
    assert row["reason"] == RULES[0].reason


def test_a_limit_itself_is_allowed():
    words = judge(GOOD)["words"].to_pylist()[0]
    table = pa.table({"text": pa.array([GOOD], pa.large_string())})
    for limits, expected in (
        ({"min_words": words, "max_words": words}, None),
        ({"min_words": words + 1}, "too_few_words"),
    ):
        stage = dataclasses.replace(STAGE, **limits)
        assert stage.prepare(lambda stage: pytest.fail("asks for files"))(table)["reason"].to_pylist() == [expected]


def test_missing_text_gets_nulls_and_neighbours_do_not_matter():
    texts = [GOOD, None, *CASES.values(), ""]
    together = judge(*texts).to_pylist()
    assert set(together[1].values()) == {None}
    assert together == [row for text in texts for row in judge(text).to_pylist()]
    assert judge().num_rows == 0


def test_chunks_do_not_matter():
    texts = pa.array([GOOD, *CASES.values()], pa.large_string())
    function = STAGE.prepare(lambda stage: pytest.fail("asks for files"))
    chunked = pa.chunked_array([texts[:3], texts[3:3], texts[3:]])
    assert function(pa.table({"text": chunked})).equals(function(pa.table({"text": texts})))


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
    assert found["complete_chars"] / found["chars"] == pytest.approx(share, abs=0.06)


def test_bullets_and_dashes_are_told_apart():
    assert count("- one\n-2 degrees\n* two\n\u2022 three\n\u2022four\nfive - six")["bullet_lines"] == 4


def test_stop_words_are_single_words_and_few():
    for stop_words in (("of the",), tuple(f"w{i}" for i in range(65))):
        with pytest.raises(ValueError, match="stop words"):
            counts(pa.array(["a"]), stop_words)


LINE = st.lists(
    st.sampled_from(
        [
            "the",
            "cat",
            "of",
            "12",
            "-",
            "#",
            "...",
            "\u2026",
            "http://a.b",
            "www.a.b",
            "caf\u00e9",
            "End.",
            "javascript",
            "lorem",
            "ipsum",
        ]
    ),
    max_size=6,
).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINE, max_size=12).map("\n".join))
@example("\n\n  \n the cat\t\n")
def test_counts_are_those_of_a_slow_reference(text):
    found = count(text)
    tokens = text.split()
    lines = [line for line in text.split("\n") if any(c.isalnum() for c in line)]
    links = [token for token in tokens if "://" in token or token.startswith("www.")]
    words = "".join(c if c.isalnum() else " " for c in text).lower().split()
    keys = [tuple("".join(c if c.isalnum() else " " for c in line).lower().split()) for line in lines]
    expected = {
        "chars": sum(map(len, tokens)),
        "words": len(words),
        "word_chars": sum(map(len, words)),
        "stop_words": len(set(words) & set(STOP_WORDS)),
        "lorem_ipsums": sum(pair == ("lorem", "ipsum") for pair in pairwise(words)),
        "tokens": len(tokens),
        "letter_tokens": sum(any(c.isalpha() for c in token) for token in tokens),
        "link_chars": sum(map(len, links)),
        "symbols": sum(token in ("#", "...", "\u2026") for token in tokens),
        "lines": len(lines),
        "bullet_lines": sum(line.startswith("- ") for line in lines),
        "ellipsis_lines": sum(line.endswith(("...", "\u2026")) for line in lines),
        "javascript_lines": sum("javascript" in line for line in lines),
        "duplicate_lines": len(keys) - len(set(keys)),
    }
    grams = Counter(pairwise(words))
    top = max(grams.values(), default=0)
    longest = max((len(a) + len(b) for (a, b), tally in grams.items() if tally == top), default=0)
    expected["top_2gram_chars"] = top * longest if top > 1 else 0
    covered, seen = set(), set()
    for i in range(len(words) - 4):
        gram = tuple(words[i : i + 5])
        covered |= set(range(i, i + 5)) if gram in seen else set()
        seen.add(gram)
    expected["duplicate_5gram_chars"] = sum(len(words[i]) for i in covered)
    assert {name: found[name] for name in expected} == expected
