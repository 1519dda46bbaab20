"""Whether a text ends with a sentence, and texts up to where they do: answers may be cut off anywhere.

Where sentences are parted is told by `hare_ray.text.sentences`, which takes every line break for an end, since headings
have no full stop. Complete is what ends in terminal punctuation with its closing quotes and brackets; the number of
a list item ("2.") does not.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_CLOSED = "[.!?\u2026][" + re.escape("\"')]}*_`\u2019\u201d\u00bb") + "]*"
_WIDE = "[\u3002\uff01\uff1f][\u300d\u300f\uff09\u2019\u201d]*"
_MARKER = r"(?:^|\n)[ \t]*(?:[0-9]{1,3}|[A-Za-z])[.)]$"

_COMPLETE = re.compile(rf"(?:{_CLOSED}|{_WIDE})\Z")
_ONLY_MARKER = re.compile(_MARKER)

TAIL_CHARS = 16
"""Characters at the end of a text that are looked at: a terminal with its closers, or a list marker."""


def cut_to_sentence(text: str) -> str:
    """The text up to its last complete sentence; empty where it has none."""
    from hare_ray.text.sentences import sentence_spans

    for start, stop in reversed(sentence_spans(text)):
        sentence = text[start:stop]
        if _COMPLETE.search(sentence) and not _ONLY_MARKER.search(sentence):
            return text[:stop]
    return ""


def tails(text: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The last TAIL_CHARS of each text, white space at the end apart."""
    return pc.utf8_slice_codeunits(pc.utf8_rtrim_whitespace(text), -TAIL_CHARS)


def ends_sentence(text: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Whether each text ends with a complete sentence or a block of code; a null does not."""
    tail = tails(text)
    complete = pc.match_substring_regex(tail, rf"(?:{_CLOSED}|{_WIDE}|```)$")
    ends = pc.and_not(complete, pc.match_substring_regex(tail, _MARKER))
    return np.asarray(pc.fill_null(ends, False), bool)
