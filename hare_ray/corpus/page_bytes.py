"""Bytes of HTML: names, attributes and patterns, read where they lie.

Names are compared by `page_tags.code`: their first 8 bytes in lower case as one integer.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.page_tags import NAME_BYTES, code
from hare_ray.text.hashing import Int, bare

Bytes = NDArray[np.uint8]
Byte: TypeAlias = "Int | np.uint8"

ATTRIBUTES = [
    "class",
    "id",
    "role",
    "style",
    "hidden",
    "itemprop",
    "href",
    "type",
    "rel",
    "name",
    "content",
    "alt",
    "alttext",
    "aria-hidden",
    "property",
]
(
    CLASS, ID, ROLE, STYLE, HIDDEN, ITEMPROP, HREF, TYPE, REL, NAME, CONTENT, ALT, ALTTEXT, ARIA_HIDDEN, PROPERTY,
) = range(len(ATTRIBUTES))  # fmt: skip
"""Attributes that are looked at. The value of attribute k of a tag lies in [values[2 k], values[2 k + 1]); -1: it has
none of that name."""

_UNSORTED = np.array([code(name) for name in ATTRIBUTES], np.uint64)
_PLACES = np.argsort(_UNSORTED)
_SORTED = _UNSORTED[_PLACES]

LT, GT, SLASH, BANG, DASH, AMP, SEMICOLON, EQUALS, QUOTE, APOSTROPHE, QUESTION, NUMBER_SIGN = (
    np.uint8(ord(char)) for char in "<>/!-&;=\"'?#"
)
SPACE_BYTE, NEWLINE, RETURN = (np.uint8(ord(char)) for char in " \n\r")
_CASE = np.uint8(32)


@bare
def is_space(byte: Byte) -> bool | np.bool_:
    return byte == 32 or 9 <= byte <= 13


@bare
def is_letter(byte: Byte) -> bool | np.bool_:
    return 97 <= (byte | 32) <= 122


@bare
def lower(byte: np.uint8) -> np.uint8:
    """The byte, a capital letter of ASCII as a small one."""
    return byte | np.uint8(32) if 65 <= byte <= 90 else byte


@bare
def code_at(html: Bytes, at: Int, stop: Int) -> np.uint64:
    """The first 8 bytes of the name at `at` as `code` packs them."""
    packed = np.uint64(0)
    for place in range(at, min(at + NAME_BYTES, stop)):
        byte = html[place]
        if is_space(byte) or byte in (GT, EQUALS, SLASH):
            break
        packed = packed << np.uint64(8) | np.uint64(lower(byte))
    return packed


@bare
def value_code(html: Bytes, at: Int, stop: Int) -> np.uint64:
    """The first 8 bytes of the first word of an attribute's value as `code` packs them."""
    packed = np.uint64(0)
    for place in range(at, min(at + NAME_BYTES, stop)):
        if is_space(html[place]):
            break
        packed = packed << np.uint64(8) | np.uint64(lower(html[place]))
    return packed


@bare
def find(html: Bytes, at: Int, stop: Int, what: Bytes) -> Int:
    """Where `what`, in lower case, begins in [at, stop); `stop` where it does not."""
    for place in range(at, stop - len(what) + 1):
        if html[place] | 32 == what[0] | 32:
            same = True
            for k in range(1, len(what)):
                if lower(html[place + k]) != what[k]:
                    same = False
                    break
            if same and (html[place] == what[0] or is_letter(html[place])):
                return place
    return stop


@bare
def after_name(html: Bytes, at: Int, stop: Int) -> Int:
    while at < stop and not is_space(html[at]) and html[at] != GT and html[at] != SLASH:
        at += 1
    return at


@bare
def _value(html: Bytes, at: Int, stop: Int) -> tuple[Int, Int, Int]:
    """Begin and end of the attribute value at `at`, and the byte after it."""
    while at < stop and is_space(html[at]):
        at += 1
    if at < stop and (html[at] == QUOTE or html[at] == APOSTROPHE):
        mark = html[at]
        begin = at + 1
        at = begin
        while at < stop and html[at] != mark:
            at += 1
        return begin, at, min(at + 1, stop)
    begin = at
    while at < stop and not is_space(html[at]) and html[at] != GT:
        at += 1
    return begin, at, at


@bare
def attributes(html: Bytes, at: Int, stop: Int, values: NDArray[np.int64]) -> tuple[Int, bool]:
    """Note where the values of known attributes lie; the byte after the tag, and whether it ends in "/>"."""
    values[:] = -1
    slashed = False
    while at < stop:
        byte = html[at]
        if byte == GT:
            return at + 1, slashed
        if is_space(byte) or byte == SLASH:
            slashed = byte == SLASH
            at += 1
            continue
        slashed = False
        name = code_at(html, at, stop)
        at += 1
        while at < stop and not is_space(html[at]) and html[at] != EQUALS and html[at] != GT and html[at] != SLASH:
            at += 1
        begin = end = at
        peek = at
        while peek < stop and is_space(html[peek]):
            peek += 1
        if peek < stop and html[peek] == EQUALS:
            begin, end, at = _value(html, peek + 1, stop)
        place = np.searchsorted(_SORTED, name)
        if place < len(_SORTED) and _SORTED[place] == name and values[2 * _PLACES[place]] < 0:
            values[2 * _PLACES[place]] = begin
            values[2 * _PLACES[place] + 1] = end
    return stop, slashed
