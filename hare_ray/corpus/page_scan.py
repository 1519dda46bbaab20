"""One pass over the bytes of an HTML page: its text, cut into blocks, and the elements around each.

    scan(html, room) -> FINE, TOO_DEEP or TOO_MANY      html: UTF-8 as uint8[bytes]

A block is the text between two tags that break the line (or two <br> in a row). Tags are tokenized as the HTML
standard says (13.2.5); the tree is built after its coarse rules only: end tags that may be left out, end tags that
match nothing, and links that are never closed do no harm, but nothing is moved to other places. A parser that builds
the whole tree takes several times as long for the same blocks.

Formulas come out as TeX between dollar signs where the page has the TeX: <annotation> and alttext of MathML,
<script type="math/tex">, and alternative texts of images of the class latex.

Time is linear in the bytes, times the elements that are open at once; a page with more of them than the room has
place for is given up (TOO_DEEP): real pages have about 60, and browsers stop at 512.
"""

from __future__ import annotations

import numpy as np

from hare_ray.corpus.page_bytes import (
    ALT,
    BANG,
    CLASS,
    DASH,
    GT,
    HREF,
    ID,
    ITEMPROP,
    LT,
    QUESTION,
    SLASH,
    Bytes,
    after_name,
    attributes,
    bare,
    code_at,
    is_letter,
    value_code,
)
from hare_ray.corpus.page_notes import is_hidden, note_words, notice, past_raw, role_sign
from hare_ray.corpus.page_tags import (
    BIT,
    BREAKS,
    INLINE,
    LINE,
    NUMBER,
    PARAGRAPH,
    RAW,
    SCOPE,
    TABLE_PART,
    UNSEEN,
    VOID,
    code,
    tags,
)
from hare_ray.corpus.page_text import (
    BITS,
    BLOCK_NODE,
    BLOCKS,
    BLOCKS_PER_TAG,
    BR,
    BREAKS_IN,
    CODE,
    DEPTH,
    FIRST_TOKEN,
    GAP,
    HIDES,
    ITEM,
    KIND,
    LINK,
    LINKS,
    NODES,
    NUMBER_OF,
    OPEN,
    OWN,
    PARENT,
    SIGNATURE,
    SPACE,
    TOKENS,
    Room,
    flush,
    put_math,
    put_tex,
    put_text,
)
from hare_ray.text.hashing import Int

_CODES, _EFFECTS, _GAPS, _SIGNS, _CLOSES, _MEMBER, _UNTIL, _, _ = tags()

FINE, TOO_DEEP, TOO_MANY = range(3)
"""What `scan` gives: all is written; more elements are open, or there are more blocks, than there is room for."""
_HIDDEN_BIT = np.int64(BIT["hidden"])
_LINK_TAG, _P, _BR, _LI, _MATH, _IMG, _HR, _SVG, _FOREIGN = (
    NUMBER[name] for name in ("a", "p", "br", "li", "math", "img", "hr", "svg", "foreignobject")
)
_LATEX, _KATEX = (np.uint64(code(word)) for word in ("latex", "katex-html"))


@bare
def _tag_number(name: np.uint64) -> Int:
    place = np.searchsorted(_CODES, name)
    return place if place < len(_CODES) and _CODES[place] == name else np.int64(0)


@bare
def _pop(room: Room, depth: Int) -> None:
    """Leave `depth` elements open."""
    room.state[DEPTH] = depth
    if room.state[LINK] > depth:
        room.state[LINK] = 0


@bare
def _leave_drawing(room: Room, number: Int) -> None:
    """Pop an open <svg>: HTML inside it ends it, but for links and what is in <foreignObject>."""
    state, effect = room.state, _EFFECTS[number]
    leaves = number != _LINK_TAG and effect & (BREAKS | INLINE) and not effect & TABLE_PART
    if not leaves or not room.stack[state[DEPTH], HIDES]:
        return
    for place in range(room.state[DEPTH], 0, -1):
        if room.stack[place, NUMBER_OF] == _FOREIGN:
            return
        if room.stack[place, NUMBER_OF] == _SVG:
            _pop(room, place - 1)
            return


@bare
def _close_implied(room: Room, number: Int) -> None:
    """Pop what the start tag closes: an open <p>, and what its group says."""
    stack = room.stack
    depth = room.state[DEPTH]
    if _EFFECTS[number] & BREAKS and number != _BR:
        for place in range(depth, 0, -1):
            if stack[place, NUMBER_OF] == _P:
                _pop(room, place - 1)
                break
            if _EFFECTS[stack[place, NUMBER_OF]] & (BREAKS | SCOPE):
                break
    group = _CLOSES[number]
    if group:
        lowest = 0
        for place in range(room.state[DEPTH], 0, -1):
            open_number = stack[place, NUMBER_OF]
            if _MEMBER[open_number] & group:
                lowest = place
            elif _UNTIL[open_number] & group or _EFFECTS[open_number] & SCOPE:
                break
        if lowest:
            _pop(room, lowest - 1)


@bare
def _matching(room: Room, name: np.uint64, effect: Int) -> Int:
    """Place on the stack of the element that an end tag closes; 0: none."""
    through = effect & TABLE_PART or effect & SCOPE
    for place in range(room.state[DEPTH], 0, -1):
        if np.uint64(room.stack[place, CODE]) == name:
            return place
        met = _EFFECTS[room.stack[place, NUMBER_OF]]
        if (effect & INLINE and met & BREAKS) or (met & SCOPE and not through):
            break
    return np.int64(0)


@bare
def _end_tag(room: Room, name: np.uint64, number: Int) -> None:
    effect = _EFFECTS[number]
    place = _matching(room, name, effect)
    if number == _LINK_TAG:
        room.state[LINK] = 0
    if number == _P and not place:
        _leave_drawing(room, number)
    if effect & BREAKS and (place or number == _P):
        flush(room, _GAPS[number])
    if place:
        _pop(room, place - 1)


@bare
def _push(html: Bytes, room: Room, name: np.uint64, number: Int) -> bool:
    """Open the element at hand; False where too many are open."""
    state, values = room.state, room.values
    if state[DEPTH] + 1 >= len(room.stack):
        return False
    top, new = room.stack[state[DEPTH]], room.stack[state[DEPTH] + 1]
    state[DEPTH] += 1
    node = room.nodes[state[NODES]]
    node[PARENT] = top[OWN]
    node[KIND] = number
    node[FIRST_TOKEN] = state[TOKENS]
    node[SIGNATURE] = np.int64(name)
    for attribute in (CLASS, ID, ITEMPROP):
        begin = values[2 * attribute]
        if begin >= 0:
            found = note_words(html, begin, values[2 * attribute + 1], room)
            if attribute == CLASS:
                node[SIGNATURE] = np.int64(np.uint64(name) ^ np.uint64(found))
    effect = _EFFECTS[number]
    new[CODE] = np.int64(name)
    new[NUMBER_OF] = number
    new[OWN] = state[NODES]
    new[BLOCK_NODE] = state[NODES] if effect & BREAKS or number == 0 else top[BLOCK_NODE]
    new[BITS] = top[BITS] | _SIGNS[number] | role_sign(html, values)
    if is_hidden(html, values):
        new[BITS] |= _HIDDEN_BIT
    new[HIDES] = top[HIDES] | effect & UNSEEN
    if values[0] >= 0 and value_code(html, values[0], values[1]) == _KATEX:
        new[HIDES] = UNSEEN
    state[NODES] += 1
    room.nodes[state[NODES], FIRST_TOKEN] = state[TOKENS]
    return True


@bare
def _void(html: Bytes, number: Int, room: Room) -> None:
    state = room.state
    if number == _BR:
        if state[BR] or not state[OPEN]:
            flush(room, PARAGRAPH)
        else:
            state[SPACE] = state[BR] = 1
            room.blocks[state[BLOCKS], BREAKS_IN] += 1
    elif number == _HR:
        flush(room, PARAGRAPH)
    elif number == _IMG:
        begin = room.values[2 * CLASS]
        if begin >= 0 and room.values[2 * ALT] >= 0 and value_code(html, begin, room.values[1]) == _LATEX:
            put_tex(html, room.values[2 * ALT], room.values[2 * ALT + 1], room)
    else:
        notice(html, number, room)


@bare
def _link(html: Bytes, number: Int, room: Room) -> None:
    """Note that what follows is a link."""
    state = room.state
    notice(html, number, room)
    if room.values[2 * HREF] >= 0:
        state[LINK] = state[DEPTH]
        if state[OPEN]:
            room.blocks[state[BLOCKS], LINKS] += 1


@bare
def _start_tag(html: Bytes, at: Int, stop: Int, room: Room) -> Int:
    """Take the start tag whose name is at `at`; the byte after it (and after raw content), -1 where too deep."""
    name = code_at(html, at, stop)
    number = _tag_number(name)
    at, slashed = attributes(html, after_name(html, at, stop), stop, room.values)
    effect = _EFFECTS[number]
    _leave_drawing(room, number)
    _close_implied(room, number)
    if effect & VOID:
        _void(html, number, room)
        return at
    if effect & RAW:
        return past_raw(html, at, stop, name, number, room)
    if effect & BREAKS:
        flush(room, _GAPS[number])
    if slashed and number in (0, _SVG, _MATH):
        return at
    if not _push(html, room, name, number):
        return np.int64(-1)
    if number == _LI:
        room.state[ITEM] = 1
    elif number == _LINK_TAG:
        _link(html, number, room)
    elif number == _MATH and not room.stack[room.state[DEPTH], HIDES]:
        return put_math(html, at, room)
    return at


@bare
def _ends_comment(html: Bytes, at: Int) -> bool | np.bool_:
    """Whether "--" or "--!" ends at `at`."""
    if html[at] == BANG:
        at -= 1
    return html[at] == DASH and html[at - 1] == DASH


@bare
def _markup(html: Bytes, at: Int, stop: Int, room: Room) -> Int:
    """Take the markup whose "<" is at `at`; the byte after it, -1 where too deep, `at` where it is none."""
    byte = html[at + 1]
    if is_letter(byte):
        return _start_tag(html, at + 1, stop, room)
    if byte == SLASH and at + 2 < stop and is_letter(html[at + 2]):
        name = code_at(html, at + 2, stop)
        number = _tag_number(name)
        if number == _BR:
            _void(html, number, room)
        else:
            _end_tag(room, name, number)
    elif byte == BANG and at + 3 < stop and html[at + 2] == DASH and html[at + 3] == DASH:
        at += 4
        while at < stop and not (html[at] == GT and _ends_comment(html, at - 1)):
            at += 1
        return min(at + 1, stop)
    elif byte != BANG and byte != QUESTION and byte != SLASH:
        return at
    while at < stop and html[at] != GT:
        at += 1
    return min(at + 1, stop)


@bare
def scan(html: Bytes, room: Room) -> int:
    """Write the page into the room; FINE, TOO_DEEP or TOO_MANY."""
    state = room.state
    state[:] = 0
    room.stack[0, :] = 0
    room.nodes[0, :] = 0
    room.nodes[0, PARENT] = -1
    room.nodes[1, FIRST_TOKEN] = 0
    state[NODES] = 1
    state[GAP] = LINE
    at, stop = 0, len(html)
    most_blocks = len(room.blocks) - BLOCKS_PER_TAG
    while at < stop:
        if state[BLOCKS] > most_blocks:
            return TOO_MANY
        if html[at] == LT and at + 1 < stop:
            after = _markup(html, at, stop, room)
            if after < 0:
                return TOO_DEEP
            if after > at:
                at = after
                continue
        begin = at
        at += 1
        while at < stop and html[at] != LT:
            at += 1
        if not room.stack[state[DEPTH], HIDES]:
            put_text(html, begin, at, room)
    flush(room, PARAGRAPH)
    return FINE
