"""The text of a page as it is written: blocks of collapsed UTF-8, with character references decoded.

A `Room` holds everything that is known of one page while it is scanned, and is reused from page to page.
White space is collapsed as a browser does, except in <pre>; soft hyphens, zero-width spaces and controls are left
out; no-break spaces become spaces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.page_bytes import (
    ALTTEXT,
    AMP,
    ATTRIBUTES,
    GT,
    LT,
    NEWLINE,
    NUMBER_SIGN,
    RETURN,
    SEMICOLON,
    SPACE_BYTE,
    Bytes,
    bare,
    find,
    is_letter,
    is_space,
)  # fmt: skip
from hare_ray.corpus.page_tags import BIT, FNV_PRIME, FNV_SEED, WINDOWS_1252, references
from hare_ray.text.hashing import Int

(
    TEXT, BLOCKS, NODES, DEPTH, TOKENS, OPEN, GAP, ITEM, LINK, SPACE, BR,
    TITLE, TITLE_END, ROBOTS_TAGS, LICENSE, LICENSE_END, ABOUT, ABOUT_END, KINDS,
    NEXT_END, NEXT_NOTE,
    ROBOTS,
) = range(22)  # fmt: skip
MAX_ROBOTS = 4
STATE_SIZE = ROBOTS + 2 * MAX_ROBOTS
"""How far everything is filled; whether a block is open and what stands before the next; where in the page the title
and other things that it says of itself lie; where </math> and <annotation> come next; from ROBOTS on, where the
directives to robots begin and end, of so many tags."""

(
    START, END, NODE, INNER, SIGNS, BEFORE, IS_ITEM, LINK_BYTES, LINKS, BREAKS_IN, TAG, AT_DEPTH, BLOCK_SIZE,
) = range(13)  # fmt: skip
"""Columns of a block: its bytes; the elements around it, the nearest that breaks the line and the innermost."""

PARENT, KIND, SIGNATURE, FIRST_TOKEN = range(4)
"""Columns of a node. SIGNATURE: a hash of tag and class."""

CODE, NUMBER_OF, OWN, BLOCK_NODE, BITS, HIDES = range(6)
"""Columns of an open element. HIDES: its text is no part of the page."""

# Numba takes arrays of the module for constants: passing them through every call would cost more than the work.
_REF_HASHES, _REF_PLACES, _REF_LOOSE, _REF_DATA = references()

PRE_BIT = np.int64(BIT["pre"])
_ANNOTATION = np.frombuffer(b"<annotation", np.uint8)
_END_MATH = np.frombuffer(b"</math", np.uint8)
_TEX = np.frombuffer(b"tex", np.uint8)
_MAX_REFERENCE = 32
_MAX_NOTES, _MAX_NOTE_BYTES = 4, 1024
"""Annotations of one formula that are looked at, and bytes of their start tags."""

MAX_BLOCKS = 100_000
"""Of a page; with them the model's work takes 100 MB. Whole books on one page have a few thousand."""
BLOCKS_PER_TAG = 4
"""More than one tag, with the text behind it, can ever close."""
_MARKS = np.frombuffer(b"&$", np.uint8)

_PLAIN, _WHITE, _LEAD_2, _LEAD_3, _CONTROL = range(5)
_KINDS = np.full(256, _PLAIN, np.uint8)
_KINDS[:32] = _KINDS[127] = _CONTROL
_KINDS[list(b" \t\n\v\f\r")] = _WHITE
_KINDS[0xC2] = _LEAD_2
_KINDS[[0xE2, 0xE3, 0xEF]] = _LEAD_3
"""What a byte of text begins. The leads are of those characters that may have to be left out."""


class Room(NamedTuple):
    """Where a page is written."""

    state: NDArray[np.int64]
    text: Bytes
    blocks: NDArray[np.int64]
    nodes: NDArray[np.int64]
    tokens: NDArray[np.int32]
    """Buckets of the words in class, id and itemprop of all nodes, one node after the other."""
    stack: NDArray[np.int64]
    values: NDArray[np.int64]
    """Where the attributes of the tag at hand lie."""
    utf8: Bytes
    """One code point on its way into the text."""


def room(most_bytes: int, most_tags: int, max_depth: int) -> Room:
    """Place for a page of so many bytes and tags, with so many elements open at once."""
    return Room(
        np.zeros(STATE_SIZE, np.int64),
        np.empty(2 * most_bytes + 16, np.uint8),
        np.zeros((min(2 * most_tags + 2, MAX_BLOCKS) + BLOCKS_PER_TAG, BLOCK_SIZE), np.int64),
        np.zeros((most_tags + 2, 4), np.int64),
        np.empty(most_bytes + 16, np.int32),
        np.zeros((max_depth + 1, 6), np.int64),
        np.zeros(2 * len(ATTRIBUTES), np.int64),
        np.zeros(4, np.uint8),
    )


@bare
def flush(room: Room, gap: Int) -> None:
    """Close the open block, and widen the gap before the next one."""
    state = room.state
    if state[OPEN]:
        block = room.blocks[state[BLOCKS]]
        end = state[TEXT]
        while end > block[START] and is_space(np.uint8(room.text[end - 1])):
            end -= 1
        if end > block[START]:
            block[END] = end
            state[TEXT] = end
            state[BLOCKS] += 1
            state[GAP] = 0
            state[ITEM] = 0
        state[OPEN] = 0
    state[SPACE] = state[BR] = 0
    state[GAP] = max(state[GAP], gap)


@bare
def _begin_block(room: Room) -> None:
    state = room.state
    top = room.stack[state[DEPTH]]
    block = room.blocks[state[BLOCKS]]
    block[START] = state[TEXT]
    block[NODE] = top[BLOCK_NODE]
    block[INNER] = top[OWN]
    block[SIGNS] = top[BITS]
    block[BEFORE] = state[GAP]
    block[IS_ITEM] = state[ITEM]
    block[LINK_BYTES] = block[BREAKS_IN] = 0
    block[LINKS] = np.int64(state[LINK] > 0)
    block[TAG] = room.nodes[top[BLOCK_NODE], KIND]
    block[AT_DEPTH] = state[DEPTH]
    state[OPEN] = 1


@bare
def put(room: Room, data: Bytes, begin: Int, end: Int) -> None:
    """Write a run of bytes that are no white space."""
    state, text = room.state, room.text
    if not state[OPEN]:
        _begin_block(room)
    at = state[TEXT]
    if state[SPACE]:
        text[at] = NEWLINE if state[BR] else SPACE_BYTE
        at += 1
    for place in range(begin, end):
        text[at] = data[place]
        at += 1
    if state[LINK]:
        room.blocks[state[BLOCKS], LINK_BYTES] += at - state[TEXT]
    state[TEXT] = at
    state[SPACE] = state[BR] = 0


@bare
def _put_code(room: Room, point: Int) -> None:
    """Write a code point in UTF-8; what cannot be seen is left out."""
    if point == 0xA0 or point == 0x3000 or (point < 128 and is_space(point)):
        _put_space(room, point)
        return
    if point in (0xAD, 0x200B, 0x2060, 0xFEFF) or point < 32 or 0x7F <= point < 0xA0:
        return
    utf8 = room.utf8
    if point < 0x80:
        utf8[0] = point
        count = 1
    elif point < 0x800:
        utf8[0], utf8[1] = 0xC0 | point >> 6, 0x80 | point & 0x3F
        count = 2
    elif point < 0x10000:
        utf8[0], utf8[1], utf8[2] = 0xE0 | point >> 12, 0x80 | point >> 6 & 0x3F, 0x80 | point & 0x3F
        count = 3
    else:
        utf8[0], utf8[1] = 0xF0 | point >> 18, 0x80 | point >> 12 & 0x3F
        utf8[2], utf8[3] = 0x80 | point >> 6 & 0x3F, 0x80 | point & 0x3F
        count = 4
    put(room, utf8, 0, count)


@bare
def _put_space(room: Room, byte: Int) -> None:
    """White space: kept in <pre>, else one space between words."""
    state = room.state
    if room.stack[state[DEPTH], BITS] & PRE_BIT and byte != RETURN:
        if state[OPEN] or byte != NEWLINE:
            if not state[OPEN]:
                _begin_block(room)
            room.text[state[TEXT]] = NEWLINE if byte == NEWLINE else SPACE_BYTE
            state[TEXT] += 1
    elif state[OPEN]:
        state[SPACE] = 1


@bare
def _numeric(html: Bytes, at: Int, stop: Int, room: Room) -> Int:
    """Write the numeric reference whose "&#" ends before `at`; the byte after it, or 0 where it is none."""
    base = 10
    if at < stop and html[at] | 32 == 120:
        base = 16
        at += 1
    begin, point = at, 0
    while at < stop:
        byte = np.int64(html[at])
        digit = byte - 48 if byte < 58 else (byte | 32) - 87
        if byte < 48 or digit < 0 or digit >= base or (byte >= 58 and digit < 10):
            break
        point = min(point * base + digit, 0x110000)
        at += 1
    if at == begin:
        return np.int64(0)
    if 0x80 <= point < 0xA0:
        point = WINDOWS_1252[point - 0x80]
    if point == 0 or point > 0x10FFFF or 0xD800 <= point < 0xE000:
        point = 0xFFFD
    _put_code(room, point)
    return at + 1 if at < stop and html[at] == SEMICOLON else at


@bare
def _put_utf8(room: Room, data: Bytes, begin: Int, end: Int) -> None:
    """Write UTF-8, with what cannot be seen left out."""
    state = room.state
    collapsed = room.stack[state[DEPTH], BITS] & PRE_BIT == 0
    at = begin
    while at < end:
        kind = _KINDS[data[at]]
        if kind == _PLAIN:
            run = at
            while at < end and _KINDS[data[at]] == _PLAIN:
                at += 1
            put(room, data, run, at)
        elif kind == _WHITE and collapsed:
            while at < end and _KINDS[data[at]] == _WHITE:
                at += 1
            state[SPACE] = state[OPEN]
        elif kind == _WHITE:
            _put_space(room, data[at])
            at += 1
        elif kind == _LEAD_2 and at + 1 < end:
            _put_code(room, np.int64(data[at + 1]) & 0x3F | 0x80)
            at += 2
        elif kind == _LEAD_3 and at + 2 < end:
            high, low = np.int64(data[at + 1]) & 0x3F, np.int64(data[at + 2]) & 0x3F
            _put_code(room, (np.int64(data[at]) & 0x0F) << 12 | high << 6 | low)
            at += 3
        else:
            at += 1


@bare
def _named(html: Bytes, at: Int, stop: Int, room: Room) -> Int:
    """Write the named reference whose "&" is before `at`; the byte after it, or 0 where it is none."""
    state = np.uint64(FNV_SEED)
    found, after = np.int64(-1), np.int64(0)
    place = at
    while place < stop and place - at < _MAX_REFERENCE:
        byte = html[place]
        if not (is_letter(byte) or 48 <= byte <= 57):
            break
        state = (state ^ np.uint64(byte)) * np.uint64(FNV_PRIME)
        place += 1
        known = np.searchsorted(_REF_HASHES, state)
        if known < len(_REF_HASHES) and _REF_HASHES[known] == state:
            if place < stop and html[place] == SEMICOLON:
                found, after = np.int64(known), place + 1
            elif _REF_LOOSE[known]:
                found, after = np.int64(known), place
    if found >= 0:
        _put_utf8(room, _REF_DATA, _REF_PLACES[found], _REF_PLACES[found + 1])
    return after


@bare
def put_text(html: Bytes, begin: Int, end: Int, room: Room) -> None:
    """Write [begin, end) with its character references decoded."""
    at = begin
    while at < end:
        run = at
        while run < end and html[run] != AMP:
            run += 1
        _put_utf8(room, html, at, run)
        at = run
        if at < end:
            after = np.int64(0)
            if at + 1 < end and html[at + 1] == NUMBER_SIGN:
                after = _numeric(html, at + 2, end, room)
            elif at + 1 < end:
                after = _named(html, at + 1, end, room)
            if after == 0:
                put(room, _MARKS, 0, 1)
                after = at + 1
            at = after


@bare
def put_tex(html: Bytes, begin: Int, end: Int, room: Room) -> None:
    put(room, _MARKS, 1, 2)
    put_text(html, begin, end, room)
    room.state[SPACE] = 0
    put(room, _MARKS, 1, 2)


@bare
def _next(html: Bytes, at: Int, what: Bytes, room: Room, known: Int) -> Int:
    """Where `what` begins next; state[known] holds the last answer, so that no byte is searched twice."""
    if room.state[known] < at:
        room.state[known] = find(html, at, len(html), what)
    return room.state[known]


@bare
def put_math(html: Bytes, at: Int, room: Room) -> Int:
    """Write the TeX of the <math> whose start tag ends at `at`; the byte after it, or `at` where it has none."""
    begin, stop = room.values[2 * ALTTEXT], room.values[2 * ALTTEXT + 1]
    end = _next(html, at, _END_MATH, room, NEXT_END)
    note = _next(html, at, _ANNOTATION, room, NEXT_NOTE)
    for _ in range(_MAX_NOTES):
        if note >= end:
            break
        opened = note
        while opened < min(end, note + _MAX_NOTE_BYTES) and html[opened] != GT:
            opened += 1
        if find(html, note, opened, _TEX) < opened:
            closed = opened
            while closed < end and html[closed] != LT:
                closed += 1
            put_tex(html, opened + 1, closed, room)
            return end if end < len(html) else closed
        note = _next(html, opened, _ANNOTATION, room, NEXT_NOTE)
    if begin >= 0 and end < len(html):
        put_tex(html, begin, stop, room)
        return end
    return at
