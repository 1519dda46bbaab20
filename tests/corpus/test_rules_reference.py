"""The kernel against plain Python that follows the published definitions, on texts full of what they disagree about."""

import re
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hare_ray.corpus.rules_chars import SYMBOLS, stops
from hare_ray.corpus.rules_clean import CleanLines
from hare_ray.corpus.rules_counts import Wanted
from hare_ray.corpus.rules_families import C4
from hare_ray.corpus.rules_kernel import counts
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Table
from hare_ray.text.spans import words_at

STOP_WORDS = ("the", "of")
POLICY = ("terms of use", "use cookies")
BAD = ("foul", "dirty word")
WANTED = Wanted(
    families=31, stop_words=STOP_WORDS, short_line_chars=9, max_word_chars=12, min_words_per_line=2,
    policy_phrases=POLICY, bad_phrases=BAD,
)  # fmt: skip
TOKEN = re.compile(r"\w+|\.\.\.|[^\w\s]")
CITATION = re.compile(r"\[[0-9]*\]|\[edit\]|\[citation needed\]")
STOPS = {chr(code) for code in stops()}
CONTROLS = {chr(code) for code in [*range(32), *range(127, 160)]}


def gopher(text, tokens):
    lines = text.splitlines()
    solid = [token for token in tokens if set(token) - STOPS - set(SYMBOLS) - CONTROLS]
    return {
        "words": len(tokens),
        "word_chars": sum(map(len, tokens)),
        "solid_words": len(solid),
        "solid_chars": sum(map(len, solid)),
        "letter_words": sum(any(char.isalpha() for char in token) for token in tokens),
        "stop_words": len(set(tokens) & set(STOP_WORDS)),
        "number_signs": text.count("#"),
        "ellipses": text.count("...") + text.count("\u2026"),
        "lines": len(lines),
        "bullet_lines": sum(line.lstrip()[:1] in ("-", "\u2022") for line in lines if line.strip()),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "\u2026")) for line in lines),
    }


def repeats(items):
    """How many items come again, and their characters."""
    extra = [item for item, times in Counter(items).items() for _ in range(times - 1)]
    return len(extra), sum(map(len, extra))


def repetition(text, tokens):
    pieces = re.split("\n+", text) if text else []
    paragraphs = re.split("\n\n+", text.strip())
    expected = {"pieces": len(pieces), "paragraphs": len(paragraphs)}
    expected["duplicate_pieces"], expected["duplicate_piece_chars"] = repeats(pieces)
    expected["duplicate_paragraphs"], expected["duplicate_paragraph_chars"] = repeats(paragraphs)
    for n in (2, 3, 4):
        grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
        tally = Counter(grams)
        top = max(tally.values(), default=0)
        first = next((gram for gram in grams if tally[gram] == top), ())
        expected[f"top_{n}gram_chars"] = len(" ".join(first)) * top
    for n in range(5, 11):
        seen, at, chars = set(), 0, 0
        while at + n <= len(tokens):
            gram = tuple(tokens[at : at + n])
            repeated = gram in seen
            chars += sum(map(len, gram)) if repeated else 0
            seen.add(gram)
            at += n if repeated else 1
        expected[f"duplicate_{n}gram_chars"] = chars
    return expected


def fineweb(text):
    rows = [row for row in text.split("\n") if row.strip()]
    return {
        "chars": len(text),
        "line_feeds": text.count("\n"),
        "rows": len(rows),
        "ended_rows": sum(row[-1] in STOPS for row in rows),
        "short_rows": sum(len(row) <= WANTED.short_line_chars for row in rows),
        "duplicate_row_chars": repeats(rows)[1],
    }


def fate(line):
    """Under what C4 books a line that has been stripped, and what stays of it."""
    kept, words = CITATION.sub("", line), line.split()
    small = kept.lower()
    if any(len(word) > WANTED.max_word_chars for word in words):
        return "long_word_lines", ""
    if not kept.endswith((".", "!", "?", '"', "'")) or kept.endswith("..."):
        return "open_lines", ""
    if len(words) < WANTED.min_words_per_line:
        return "few_word_lines", ""
    if "lorem ipsum" in small:
        return "kept_lorem_ipsums", kept
    if "javascript" in small:
        return "javascript_lines", ""
    if "{" in kept:
        return "kept_curly_brackets", kept
    return ("policy_lines", "") if any(phrase in small for phrase in POLICY) else ("kept_lines", kept)


def sentences(tokens):
    count, ended = 0, True
    for token in tokens:
        mark = all(unicodedata.category(char)[0] == "P" for char in token)
        if ended and (not mark or count == 0):
            count, ended = count + 1, False
        ended = ended or token in STOPS
    return count


def c4(text):
    names = (
        "long_word_lines", "open_lines", "few_word_lines", "kept_lorem_ipsums", "javascript_lines",
        "kept_curly_brackets", "policy_lines", "kept_lines", "kept_sentences",
    )  # fmt: skip
    expected = dict.fromkeys(names, 0)
    for line in filter(None, (line.strip() for line in text.splitlines())):
        booked, kept = fate(line)
        expected[booked] += 1
        expected["kept_sentences"] += sentences(TOKEN.findall(kept)) if booked == "kept_lines" else 0
        if booked in ("kept_lorem_ipsums", "kept_curly_brackets"):
            break
    return expected


def elsewhere(text):
    small = [line.strip().lower() for line in text.splitlines()]
    word = r"[A-Za-z0-9_\x80-\U0010ffff]"  # every character that is not ASCII is taken for part of a word
    bad = re.compile(rf"(?<!{word})(foul|dirty word)(?!{word})")
    links = [token for token in text.split() if "://" in token[1:] or token.lower().startswith("www.")]
    return {
        "dense_chars": sum(map(len, text.split())),
        "link_chars": sum(len(link) for link in links if len(link) > 4),
        "full_lines": sum(line.strip() != "" for line in small),
        "lorem_ipsum_lines": sum("lorem ipsum" in line for line in small),
        "script_lines": sum("javascript" in line for line in small),
        "bad_phrase_lines": sum(bool(bad.search(line)) for line in small),
    }


PIECES = st.sampled_from(
    [
        "the", "The", "cat", "of", "12", "End", "caf\u00e9", "\u4f60\u597d", "x" * 13, "\u0646\u0639\u0645",
        "-", "\u2022", "#", "...", ".", "!", "?", '"', "'", "\u2026", "\u3002", "{", "(", "$", "\u00e9\u0301",
        "http://a.b", "www.a.b", "javascript", "JavaScript", "lorem ipsum", "Terms of Use", "use cookies", "Foul",
        "dirty word", "afoul", "[12]", "[]", "[edit]", "[citation needed]", "[", "]",
        " ", " ", " ", " ", "  ", "\t", "\xa0", "\u3000", "\n", "\n", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x1c",
        "\x85", "\u2028", "\x07", "the cat of the cat of the cat sat ", "End of it.\n",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=40).map("".join)


class Docs(Table):
    writes = DOCUMENT


def spans(text):
    found = [match.span() for match in TOKEN.finditer(text)]
    edges = [len(text[:at].encode()) for span in found for at in span]
    return np.array([0, len(found)]), np.array(edges[::2], np.int32), np.array(edges[1::2], np.int32)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("\n\n  \n the cat\t\n")
@example("\nThe cat sat [12]. It did.[edit]\nThe cat.[1].\r\nThe cat\r")
@example("the cat of \u2028" * 9 + "the cat")
def test_counts_are_those_of_a_slow_reference(text):
    column = pa.array([text], pa.large_string())
    tokens = TOKEN.findall(text)
    found = counts(column, WANTED, words_at(column, *spans(text)))
    expected = {**gopher(text, tokens), **repetition(text, tokens), **fineweb(text), **c4(text), **elsewhere(text)}
    if CITATION.search(text):
        expected.pop("kept_sentences")  # tokens of a citation are among the words; those of its removal are not
    assert {name: int(found[name][0]) for name in expected} == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | TEXTS, max_size=4), st.integers(0, 4))
def test_lines_that_stay_are_those_of_the_reference(texts, cut):
    c4_lines = C4(max_word_chars=12, min_words_per_line=2, policy_phrases=POLICY, min_sentences=0, bad_phrases=())
    column = pa.array(texts, pa.large_string())
    chunked = pa.chunked_array([column[:cut], column[cut:]])
    stage = CleanLines(docs=Docs(), c4=c4_lines)
    table = pa.table({field.name: pa.nulls(len(texts), field.type) for field in DOCUMENT}).set_column(
        5, "text", chunked
    )
    table = table.set_column(0, "id", pa.array([b"%16d" % row for row in range(len(texts))], pa.binary(16)))
    for name, values in (("url", "u"), ("file", "f"), ("offset", 0)):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array([values] * len(texts), DOCUMENT.field(name).type))
    got = stage.prepare(lambda stage: table)(table)
    live = conform(got, stage.schema(), "it")
    for text, row in zip(texts, got.to_pylist(), strict=True):
        if text is None:
            assert (row["text"], row["reason"]) == (None, None)
            continue
        fates = [fate(line) for line in filter(None, (line.strip() for line in text.splitlines()))]
        whole = "\n".join(kept for booked, kept in fates if booked.startswith("kept")).strip()
        assert row["text"] == whole
        assert row["reason"] == (None if whole else "no_lines_left")
        assert row["open_lines"] == sum(booked == "open_lines" for booked, _ in fates)
    books = stage.counts(live)
    assert books["policy_lines"] == sum(live["policy_lines"].to_pylist())
    assert set(books) <= set(stage.schema().names)
