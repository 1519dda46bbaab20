"""How deep the tags of a page nest, from its bytes, before a parser sees it.

    too_deep(payloads, max_depth) -> bool[rows]

Extraction of main text walks up from every element, so its time grows with the square of the depth:
20,000 nested <div> took 4 s, 100,000 more than a minute, and such a page is a megabyte. This scan (2
GB/s) keeps a stack of open elements the way a tokenizer and a tree builder would, in their coarsest
rules: comments and scripts are skipped, void elements and those whose end tag may be left out do not
count, an end tag closes what was opened after its element, a start tag inside it notwithstanding, but
inline end tags do not reach through a block, nor any through a table; an end tag of nothing open is
ignored; "/>" closes inside <svg> only. Where it errs, it errs upwards.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hare_ray.text.words import Int, Text, text_buffers

NAME_BYTES = 8
"""Names are compared by their first 8 bytes, as one integer."""


def _codes(names: str) -> NDArray[np.uint64]:
    return np.array(sorted({int.from_bytes(name.encode()[:NAME_BYTES], "big") for name in names.split()}), np.uint64)


UNCOUNTED = _codes(
    "area base br col embed hr img input link meta param source track wbr "
    "p li dt dd tr td th tbody thead tfoot colgroup option html head body"
)
"""Void elements, and elements whose end tag may be left out."""

RAW = _codes("script style")
"""Elements whose content is no markup."""

BLOCKS = _codes(
    "address article aside blockquote button center details dir div dl fieldset figcaption figure footer "
    "form h1 h2 h3 h4 h5 h6 header hgroup iframe listing main menu nav noscript ol pre search section select "
    "summary title textarea ul"
)
"""Elements that the end tag of an inline element does not reach through."""

WALLS = _codes("table template object marquee applet caption foreignobject")
"""Elements that no other end tag reaches through."""

SVG = _codes("svg")[0]

INTEGRATION = _codes("foreignobject desc title b big center code div em font h1 h2 h3 i p span strong table ul")
"""Elements after which the content of <svg> is HTML again."""

_LESS, _MORE, _SLASH, _BANG, _DASH = (np.uint8(ord(char)) for char in "<>/!-")
_CASE = np.uint8(32)


@njit(cache=True, nogil=True)
def _name(data: NDArray[np.uint8], at: Int, stop: Int) -> np.uint64:
    """The first bytes of the tag name at `at`, in lower case; 0 where no letter stands there."""
    name = np.uint64(0)
    for place in range(at, min(at + NAME_BYTES, stop)):
        byte = data[place]
        letter = 97 <= byte | _CASE <= 122
        if not letter and (place == at or not (48 <= byte <= 57 or byte == _DASH)):
            break
        name = name << np.uint64(8) | np.uint64(byte | _CASE if letter else byte)
    return name


@njit(cache=True, nogil=True)
def _after_comment(data: NDArray[np.uint8], at: Int, stop: Int) -> Int:
    for place in range(at, stop - 2):
        if data[place] == _DASH and data[place + 1] == _DASH and data[place + 2] == _MORE:
            return place + 3
    return stop


@njit(cache=True, nogil=True)
def _end_tag(data: NDArray[np.uint8], at: Int, stop: Int, name: np.uint64) -> Int:
    """Where the end tag of the raw element `name` begins."""
    for place in range(at, stop - 1):
        if data[place] == _LESS and data[place + 1] == _SLASH and _name(data, place + 2, stop) == name:
            return place
    return stop


@njit(cache=True, nogil=True)
def _slash_closed(data: NDArray[np.uint8], at: Int, stop: Int) -> bool:
    """Whether the tag around `at` ends in "/>"."""
    for place in range(at, stop):
        if data[place] == _MORE:
            return data[place - 1] == _SLASH
    return False


@njit(cache=True, nogil=True)
def _listed(name: np.uint64, names: NDArray[np.uint64]) -> bool | np.bool_:
    place = np.searchsorted(names, name)
    return place < len(names) and names[place] == name


@njit(cache=True, nogil=True)
def _closed(name: np.uint64, stack: NDArray[np.uint64], depth: Int) -> Int:
    """Depth after the end tag `name`."""
    inline = not _listed(name, BLOCKS) and not _listed(name, WALLS)
    for place in range(depth - 1, -1, -1):
        if stack[place] == name:
            return place
        if _listed(stack[place], WALLS) or (inline and _listed(stack[place], BLOCKS)):
            break
    return depth


@njit(cache=True, nogil=True)
def _deep(data: NDArray[np.uint8], begin: Int, stop: Int, stack: NDArray[np.uint64]) -> bool:
    """Whether more elements than the stack holds are open somewhere in the page."""
    depth = np.int64(0)
    drawing = False
    at = begin
    while at < stop - 1:
        if data[at] != _LESS:
            at += 1
            continue
        if data[at + 1] == _BANG and at + 3 < stop and data[at + 2] == _DASH and data[at + 3] == _DASH:
            at = _after_comment(data, at + 4, stop)
            continue
        closing = data[at + 1] == _SLASH
        at += 2 if closing else 1
        name = _name(data, at, stop)
        if name == 0 or _listed(name, UNCOUNTED):
            drawing = drawing and not _listed(name, INTEGRATION)
        elif closing:
            depth = _closed(name, stack, depth)
            drawing = drawing and name != SVG
        else:
            drawing = name == SVG or (drawing and not _listed(name, INTEGRATION))
            if drawing and _slash_closed(data, at, stop):
                continue
            if depth == len(stack):
                return True
            stack[depth] = name
            depth += 1
            if _listed(name, RAW):
                at = _end_tag(data, at, stop, name)
    return False


@njit(cache=True, nogil=True)
def _all_deep(data, begins, stops, stack, out):  # noqa: ANN001, ANN202
    for row in range(len(begins)):
        out[row] = _deep(data, begins[row], stops[row], stack)


def too_deep(payloads: Text, max_depth: int) -> NDArray[np.bool_]:
    """Whether more than `max_depth` elements are open at once, per payload."""
    deep = np.zeros(len(payloads), bool)
    stack = np.zeros(max_depth, np.uint64)
    first = 0
    for data, begins, stops in text_buffers(payloads):
        last = first + len(begins)
        _all_deep(data, begins, stops, stack, deep[first:last])
        first = last
    return deep
