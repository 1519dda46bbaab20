"""Source: shares, strangers and copies on sentences whose answer is known, and invariants."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.synth.task_grounding import Source, grams, numbers, overlap, stems, words

TEXT = "In 1,204 the German king Otto visited Paris. Twelve mills stood there, grinding corn near Anna's inn."


def test_stop_words_do_not_make_an_answer_grounded():
    assert Source(TEXT).share("It was the elephant that stood in the corn there") == pytest.approx(2 / 3)
    assert Source(TEXT).share("The mill was grinding the corn") == 1
    assert Source(TEXT).share("It was the elephant in the room") == 0
    assert Source(TEXT).share("That is what was in there") == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("answer", "unknown"),
    [
        ("Otto came in 1204.", []),
        ("Otto came in 1205.", ["1205"]),
        ("There were 12 mills.", []),
        ("There were 13 mills.", ["13"]),
        ("1. The mills.\n2) The corn.\n3.5 inns", ["3.5"]),
        ("The king of Germany came.", []),
        ("The king of Saxony came.", ["saxony"]),
        ("A visit. Victoria came.", []),
        ("A visit that Queen Victoria made.", ["queen", "victoria"]),
        ("He said: 'Victoria came.'", []),
        ("They met at Anna's inn.", []),
        ("How Queen Victoria Came Home", []),
        ("He drove the CG634 home.", ["634", "cg634"]),
    ],
)
def test_numbers_and_names_that_the_text_has_not_are_told(answer, unknown):
    assert Source(TEXT).strangers(answer) == unknown


def test_a_bare_number_is_judged_as_a_number():
    assert (Source(TEXT).share("1204"), Source(TEXT).strangers("1204")) == (1.0, [])
    assert Source(TEXT).strangers("1203") == ["1203"]
    assert Source(TEXT).share("...") == 0.0


def test_copies_are_word_for_word_whatever_the_case():
    source = Source(TEXT)
    assert source.holds("TWELVE MILLS, stood") and not source.holds("Twelve mill") and not source.holds("mills twelve")
    assert overlap("Twelve mills stood there grinding rice", source.grams) == 0.5
    assert overlap("Twelve mills", source.grams) == 0.0


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_grounded_in_itself(text, other):
    source = Source(text)
    assert source.strangers(text) == [] and source.holds(text) == bool(words(text))
    assert source.share(text) == (1.0 if stems(text) or numbers(text) else 0.0)
    assert 0 <= source.share(other) <= 1 and 0 <= overlap(other, source.grams) <= 1
    assert overlap(text, source.grams) == float(bool(grams(text)))
