"""What is taken off an answer, and what only looks as if it should be."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hare_ray.synth.wrapping import unwrapped


def bare(text):
    return unwrapped(pa.array([text], pa.large_string())).to_pylist()[0]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("<think>First I\n\nplan.</think>\n\nTides rise.", "Tides rise."),
        ("I plan.\n</think>\nTides rise.", "Tides rise."),
        ("<think>I plan and never", ""),
        ("Certainly! Here is a section on tides:\n\nTides rise.", "Tides rise."),
        ("Sure, this is what you asked for:\nTides rise.", "Tides rise."),
        ("Here's a 1,400-word textbook section on tides:\n\n---\n\nTides rise.", "Tides rise."),
        ("Here\u2019s the letter you asked for:\n\nDear Ann,", "Dear Ann,"),
        ("**Here is a conversation between the two:**\n\nAnn: No.", "Ann: No."),
        ("```markdown\nTides `rise`.\n```", "Tides `rise`."),
        ("```\nTides rise.\n```", "Tides rise."),
        ("```text\nTides rise and", "Tides rise and"),
        ("<think>x</think>Certainly! Here is the text:\n```\nTides rise.\n```", "Tides rise."),
    ],
)
def test_wrapping_is_taken_off(answer, text):
    assert bare(answer) == text


@pytest.mark.parametrize(
    "text",
    [
        "Here is what she saw:\nA dog.",
        "Here is a section of the wall that still stands.\n\nIt leans.",
        "Of course, the tide was late.\nIt came: at nine.",
        "Sure enough, it rained:\nhard.",
        "Dear Ann:\n\nIt rained.",
        "```python\nprint(1)\n```",
        "```\nprint(1)\n```\nIt prints:\n```\n1\n```",
        "Run it:\n```\n1\n```",
        "She could think <b>aloud</b>.",
        "",
        None,
    ],
)
def test_what_may_be_text_stays(text):
    assert bare(text) == text


@given(st.text("ab:`\n<>/think ", max_size=40))
def test_what_is_left_is_an_end_of_the_answer_fences_apart(answer):
    text = answer.strip()
    kept = bare(text)
    assert kept in text
    assert kept == kept.strip()
