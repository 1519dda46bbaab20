"""Which failures stop a run, and what is journaled of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.synth.endpoint import Answer
from hare_ray.synth.failures import WINDOW, Window

GOOD, BAD = Answer("a", "stop"), Answer(None, "error: HTTP 400: what?")
LONG = Answer(None, "error: HTTP 400: This model's maximum context length is 64 tokens")


def through(window: Window[int], answers: list[Answer]) -> list[int]:
    return [row for number, answer in enumerate(answers) for row, _ in window.ended(number, answer)]


def test_answers_go_on_at_once_and_errors_when_enough_others_went_well():
    window: Window[int] = Window("http://x")
    answers = [BAD] * 3 + [GOOD] * (WINDOW - 3)
    assert through(window, answers) == list(range(3, WINDOW))
    assert [row for row, _ in window.ended(WINDOW, GOOD)] == [WINDOW, 0]
    assert [row for row, _ in window.rest()] == [1, 2]
    assert list(window.rest()) == []


def test_many_errors_at_the_start_stop_it_and_none_is_kept():
    window: Window[int] = Window("http://x")
    assert through(window, [BAD] * 7) == []
    with pytest.raises(ValueError, match=r"http://x gave an error to 8 of the last 8 prompts, such as .*what\?"):
        through(window, [BAD])


def test_a_server_that_goes_wrong_in_the_middle_of_a_long_run_is_noticed_soon():
    window: Window[int] = Window("http://x")
    through(window, [GOOD] * 5000)
    with pytest.raises(ValueError, match="gave an error to 52 of the last"):
        through(window, [BAD] * 100)


def test_prompts_that_are_too_long_neither_stop_it_nor_hide_other_errors():
    through(Window("http://x"), [LONG, LONG, GOOD] * 500)
    with pytest.raises(ValueError, match="gave an error to 8 of"):
        through(Window("http://x"), [LONG, BAD] * 20)
    with pytest.raises(ValueError, match="gave an error to 64 of"):
        through(Window("http://x"), [LONG] * 64)


@given(st.lists(st.sampled_from([GOOD, GOOD, GOOD, GOOD, GOOD, GOOD, LONG]), max_size=700))
@settings(max_examples=20, deadline=None)
def test_each_row_is_journaled_once(answers):
    window: Window[int] = Window("http://x")
    kept = through(window, answers) + [row for row, _ in window.rest()]
    assert sorted(kept) == list(range(len(answers)))
