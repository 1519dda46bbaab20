"""Seed texts of D2 and D3 without what must not stand in a prompt.

    cleaned(text) -> text      a column; what is null stays null

    line breaks     line feeds alone
    unprintable     control characters but tab and line feed, and the mark of byte order: gone
    marks of turns  by which chat templates part the turns of a conversation: a space each

A tokenizer of a chat model turns "<|im_end|>" into the one token that ends a turn wherever it stands, so a page that
holds it could close the prompt and open one of its own. White space at both ends goes too.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

UNPRINTABLE = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\x{feff}]"

TURN_MARKS = (
    r"<\|[a-zA-Z_0-9]{1,40}\|>|<\x{ff5c}[^<>\n]{1,40}\x{ff5c}>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"
)
"""Of ChatML, Llama 2 to 4, Gemma, Mistral, Phi and DeepSeek."""


def cleaned(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts that may stand in a prompt."""
    for pattern, instead in ((r"\r\n?", "\n"), (UNPRINTABLE, ""), (TURN_MARKS, " ")):
        text = pc.replace_substring_regex(text, pattern, instead)
    return pc.utf8_trim_whitespace(text)
