"""Sentences of a text, as character spans.

    sentence_spans(text) -> [(start, end), ...]   in order, apart, without white space at either end
    cut_at_sentence(text, max_words) -> str       the first sentences that have max_words words at most

A sentence ends at . ! or ? with its closing quotes and brackets, where white space and then an upper-case letter (or a
quote or bracket and one) follow, at ideographic stops, and at every line break: extracted text has one paragraph per
line, and headings and items of lists, which carry no full stop, must not run into the next line.

No end is the full stop of a single capital (an initial) or of one of ABBREVIATIONS. Whoever needs a cut that is
surely right looks at more than the cut; rules that always hit (no list, no model) exist for no language. The pattern
has no two ways to match one character, so its time is linear in the text.
"""

from __future__ import annotations

import re

ABBREVIATIONS = frozenset({
    "capt", "cf", "col", "dept", "dr", "e.g", "eds", "gen", "gov", "hon", "i.e", "jr", "lt", "messrs",
    "mr", "mrs", "ms", "mt", "prof", "rev", "sen", "sgt", "sr", "st", "viz", "vs",
})  # fmt: skip
"""Lower case, without the last full stop: what mostly stands before a capital. Those that stand before numbers (fig.,
no., vol.) need no mention, because no sentence starts with a digit here; those that often end a sentence (etc., a.m.,
Inc.) are left out."""

_CLOSING = "\"'\u2019\u201d)\\]"
_OPENING = "\"'\u2018\u201c(\\["
_STOP = re.compile(rf"[.!?][{_CLOSING}]*+(?=\s++[{_OPENING}]*+(\w))|[\u3002\uff01\uff1f][{_CLOSING}]*+|\n")
_LAST_WORD = re.compile(r"[A-Za-z.]*\Z")
_WORD = re.compile(r"\S+")
_WORD_CHARS = 12
"""Looked at before a full stop: longer than any abbreviation."""


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of every sentence."""
    spans, start = [], 0
    for stop in _STOP.finditer(text):
        if _ends(text, stop):
            _add(spans, text, start, stop.end())
            start = stop.end()
    _add(spans, text, start, len(text))
    return spans


def cut_at_sentence(text: str, max_words: int) -> str:
    """The longest run of sentences from the start with `max_words` words at most; words where the first is too long.

    A word is what stands between white space.
    """
    text = text.strip()
    end = 0
    for number, word in enumerate(_WORD.finditer(text)):
        if number == max_words:
            seen = text[: word.end()]  # a sentence's end shows in the word after it
            return text[: max((stop for _, stop in sentence_spans(seen) if stop <= end), default=end)]
        end = word.end()
    return text


def _ends(text: str, stop: re.Match[str]) -> bool:
    """Whether a sentence ends at this stop."""
    following = stop[1]
    if following is None:
        return True
    if not following.isupper():
        return False
    if stop[0] != ".":
        return True
    word = _LAST_WORD.search(text, max(0, stop.start() - _WORD_CHARS), stop.start())
    last = word[0] if word else ""
    return last.lower() not in ABBREVIATIONS and not (len(last) == 1 and last.isupper() and last != "I")


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    bare = piece.strip()
    if bare:
        start += len(piece) - len(piece.lstrip())
        spans.append((start, start + len(bare)))
