"""The walk through all combinations: complete, even on the way, and the topic's own."""

from collections import Counter
from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.priors.prompts import CONTINUATION, SOURCES, load_prompts
from hare_ray.synth.rotation import Axis, digits, rotation_of

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=4)


@given(SIZES)
@settings(max_examples=60, deadline=None)
def test_every_combination_comes_once_before_any_again(sizes):
    walk = [tuple(digits(number, sizes)) for number in range(prod(sizes))]
    assert len(set(walk)) == len(walk)
    assert all(0 <= digit < size for row in walk for digit, size in zip(row, sizes, strict=True))


@given(SIZES, st.integers(0, 2400), st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_no_value_gets_ahead_of_another_in_any_stretch(sizes, start, length):
    walk = [digits(number % prod(sizes), sizes) for number in range(start, start + length)]
    for axis, size in enumerate(sizes):
        counts = Counter(row[axis] for row in walk)
        assert max(counts.values()) - min(counts[value] for value in range(size)) <= (1 if axis == 0 else 2)


@given(st.integers(1, 12), st.integers(-1, 1000))
def test_a_topic_renames_the_values_of_an_axis_and_loses_none(size, topic):
    axis = Axis("style", tuple(range(size)))
    assert sorted(axis.at(topic, digit) for digit in range(size)) == list(range(size))


def test_first_prompts_of_many_small_topics_are_spread_over_all_values():
    rotation = rotation_of(load_prompts(("web",)), "web")
    firsts = [rotation.at(topic, 0) for topic in range(900)]
    for part, axis in enumerate((rotation.templates, rotation.audiences, rotation.styles)):
        counts = Counter(first[part] for first in firsts)
        expected = len(firsts) / len(axis.values)
        assert all(0.6 * expected < counts[value] < 1.4 * expected for value in axis.values)
    assert len(set(firsts)) > 0.9 * rotation.length


def test_templates_and_styles_do_not_go_in_step():
    """Of two axes of one size a plain count of both would show the same pairs over and over."""
    pairs = {tuple(digits(number, (4, 4, 4))[:2]) for number in range(16)}
    assert len(pairs) == 16


def test_the_length_is_that_of_all_combinations():
    everything = load_prompts(SOURCES)
    for kind in SOURCES:
        rotation = rotation_of(everything, kind)
        assert len({rotation.at(7, number) for number in range(rotation.length)}) == rotation.length >= 40
    continuation = rotation_of(load_prompts((CONTINUATION,)), CONTINUATION)
    assert {continuation.at(None, number)[1:] for number in range(4)} == {(None, None)}
