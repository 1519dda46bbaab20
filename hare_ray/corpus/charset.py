"""What the bytes of a payload mean as characters.

The first that fits: byte order mark; UTF-8, whatever the server says, since valid multi-byte sequences do not happen
by chance and wrong headers do; the declared charset; the one in <meta>; what uchardet detects. One fits if at most
`max_broken_share` of the characters come out as U+FFFD; UTF-8 must have more good than broken multi-byte characters
besides. Labels are read as browsers do (latin-1 means windows-1252).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

SIGNS_OF = {"iso2022": b"\x1b", "utf-16": b"\x00"}
"""Charsets whose bytes may be valid UTF-8 all the same, and a byte that they, if meant, cannot do without."""

UTF8 = "utf-8"
DETECTED_BYTES = 1 << 16
"""What uchardet is given; more does not change its mind."""

_BROKEN = "\ufffd"


def charsets(payload: bytes, declared: str | None, html: bool) -> Iterator[str]:
    """Candidate charsets as names of Python codecs, likeliest first."""
    for mark, name in BYTE_ORDER_MARKS:
        if payload.startswith(mark):
            yield name
    said = [detect_encoding(payload, DETECTED_BYTES, from_html_meta=html)]
    if declared:
        said.insert(0, map_encoding_to_html5(declared, fallback_utf8=False))
    for name in filter(None, said):
        if any(name.startswith(charset) and sign in payload for charset, sign in SIGNS_OF.items()):
            yield name
    yield UTF8
    yield from (name for name in said if name and not name.startswith(tuple(SIGNS_OF)))
    yield detect_encoding(payload, DETECTED_BYTES) or UTF8


def utf8(payload: bytes, declared: str | None, html: bool, max_broken_share: float) -> bytes | None:
    """`payload` from the first charset that fits, in valid UTF-8; None where none does."""
    if not any(sign in payload for sign in SIGNS_OF.values()):
        # Nine pages in ten: nothing to detect, and nothing to encode anew.
        try:
            payload.decode(UTF8)
        except UnicodeDecodeError:
            pass
        else:
            return payload.removeprefix(codecs.BOM_UTF8)
    for charset in charsets(payload, declared, html):
        text = payload.decode(charset, "replace").removeprefix("\ufeff")
        broken = text.count(_BROKEN)
        in_utf8 = charset != UTF8 or 2 * broken <= len(payload) - len(text)
        if broken <= max_broken_share * len(text) and in_utf8:
            return text.encode("utf-8", "ignore")  # lone surrogates have no UTF-8
    return None
