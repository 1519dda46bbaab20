"""What LLMs wrap around the text they were asked for, taken off where it cannot be part of the text.

    unwrapped(text) -> text      a column of stripped answers; what is null stays null

    reasoning     <think> ... </think> before the text; also where the chat template gave the opening tag
    preface       a first line such as "Certainly! Here is a section on tides:", an opener or "Here is" with the kind of
                  text that was asked for, ending with a colon
    code fence    one around the whole text, without a language or of Markdown or plain text, and no other fence inside

Whatever is less certain stays, and is for verification to refuse: a story may begin "Here is what she saw:", a tutorial
with its program, and a closing "let me know" is nobody's first line. Reasoning that never ends leaves nothing.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

REASONING = r"(?s)\A(?:.*?</think>|<think>.*)\s*"
"""Up to the first end of it; all of the answer where it begins and does not end."""

_OPENER = r"(?:certainly|sure(?: thing)?|of course|absolutely)[!,.]"
_ASKED = (
    r"(?:section|chapter|text|essay|article|story|tale|scene|play|letters?|dialogue|conversation|interview|talk|lesson|"
    r"lecture|tutorial|guide|guided tour|unit|explanation|hearing|consultation|case study|review|set of exercises|"
    r"questions and answers|account|post)"
)
_HERE = rf"here(?:'s|\x{{2019}}s| is| are) (?:an?|the|your|my) (?:[\w',.-]+ ){{0,6}}?{_ASKED}\b"
PREFACE = rf"(?i)\A\W{{0,3}}(?:{_OPENER}[^\n]{{0,200}}|{_HERE}[^\n]{{0,200}}):\**[ \t]*\n\s*(?:---+\s*\n\s*)?"
"""A line of its own, with the rule that may follow it."""

FENCE = r"(?i)\A```[ \t]*(?:markdown|md|text|txt|plaintext)?[ \t]*\n((?:[^`]|`[^`]|``[^`])*?)\s*(?:```)?\z"
"""The closing fence is missing where an answer was cut off."""


def unwrapped(text: pa.Array) -> pa.Array:
    """Texts without what was wrapped around them; reasoning first, then the preface, then the fence."""
    for pattern, kept in ((REASONING, ""), (PREFACE, ""), (FENCE, r"\1")):
        text = pc.replace_substring_regex(text, pattern, kept, max_replacements=1)
    return pc.utf8_trim_whitespace(text)
