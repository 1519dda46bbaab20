"""sentence_spans and cut_at_sentence: known answers, and spans that cover every text in linear time."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.text.sentences import cut_at_sentence, sentence_spans


def sentences(text):
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "go." Then he went.', ['He said "go."', "Then he went."]),
        ("It rained (hard.) (We stayed.)", ["It rained (hard.)", "(We stayed.)"]),
        ("Dr. Lee met J. Smith, e.g. Tuesday. Fine.", ["Dr. Lee met J. Smith, e.g. Tuesday.", "Fine."]),
        ("It cost 3.50 at v2.0 of it. See fig. 4 for more.", ["It cost 3.50 at v2.0 of it.", "See fig. 4 for more."]),
        ("So did I. We left.", ["So did I.", "We left."]),
        ("Well... maybe. Wait... No.", ["Well... maybe.", "Wait...", "No."]),
        ("A heading\n\n  Its text.\r\nNext line", ["A heading", "Its text.", "Next line"]),
        ("\u4f60\u597d\u3002\u518d\u89c1\u3002", ["\u4f60\u597d\u3002", "\u518d\u89c1\u3002"]),
        ("\u00c9t\u00e9. \u00c9cole.", ["\u00c9t\u00e9.", "\u00c9cole."]),
    ],
)
def test_known_answers(text, expected):
    assert sentences(text) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("aBI.!?\"') \n\t\u3002")), max_size=60) | st.text(max_size=40))
def test_spans_are_ordered_bare_and_lose_only_white_space(text):
    spans = sentence_spans(text)
    assert all(a < b for a, b in spans)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert all(piece == piece.strip() for piece in sentences(text))
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize("piece", [" ", ".", '."', ". ", "\n ", '.")', "A. ", "'"])
def test_time_is_linear_in_the_text(piece):
    began = time.perf_counter()
    sentence_spans(piece * 100_000 + "x")
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("max_words", "expected"),
    [
        (1, "One"),
        (2, "One two."),
        (3, "One two."),
        (5, "One two. Three four."),
        (6, "One two. Three four.\nFive six."),
        (9, "One two. Three four.\nFive six."),
    ],
)
def test_a_cut_ends_with_a_sentence_where_it_can(max_words, expected):
    assert cut_at_sentence(" One two. Three four.\nFive six. ", max_words) == expected
