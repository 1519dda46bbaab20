"""What tags say of their element and of the page: words of classes, roles, what is hidden; licence, robots, title.

A page may name its kind (types of schema.org in JSON-LD, og:type), which tells a shop from a forum; and sum itself up
in a description, which is all that some pages hold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.page_bytes import (
    ARIA_HIDDEN,
    CONTENT,
    HIDDEN,
    HREF,
    LT,
    NAME,
    PROPERTY,
    QUOTE,
    REL,
    ROLE,
    SLASH,
    STYLE,
    TYPE,
    Bytes,
    bare,
    code_at,
    find,
    is_letter,
    is_space,
    value_code,
)
from hare_ray.corpus.page_tags import FNV_PRIME, FNV_SEED, NUMBER, code, tags
from hare_ray.corpus.page_text import (
    ABOUT,
    ABOUT_END,
    KINDS,
    LICENSE,
    LICENSE_END,
    MAX_ROBOTS,
    ROBOTS,
    ROBOTS_TAGS,
    TITLE,
    TITLE_END,
    TOKENS,
    Room,
    put_tex,
)
from hare_ray.text.hashing import Int

BUCKETS = 1 << 13
"""Of words in class, id and itemprop."""

_ROLES, _ROLE_SIGNS = tags().roles, tags().role_signs
_META, _SCRIPT, _TITLE = (NUMBER[name] for name in ("meta", "script", "title"))
_ROBOTS, _LICENSE, _TRUE, _MATH_TEX, _ABOUT, _OG_ABOUT, _OG_TYPE = (
    np.uint64(code(word))
    for word in ("robots", "license", "true", "math/tex", "description", "og:description", "og:type")
)
KIND_NAMES = (
    *("Product", "Article", "NewsArticle", "BlogPosting", "ItemList", "CollectionPage", "DiscussionForumPosting"),
    *("QAPage", "Question", "Recipe", "FAQPage", "WebPage", "WebSite", "Organization", "Person", "Offer"),
    *("BreadcrumbList", "VideoObject", "Service", "SoftwareApplication", "Course", "Event", "JobPosting"),
    *("TechArticle", "Review", "LocalBusiness", "Store", "og:article", "og:product", "og:website"),
)
"""What a page may say it is: types of schema.org, and of Open Graph."""
_KIND_CODES = np.array([code(name.lower().removeprefix("og:")) for name in KIND_NAMES], np.uint64)
_OG_KINDS = np.int64(sum(1 << place for place, name in enumerate(KIND_NAMES) if name.startswith("og:")))
_OG_TYPE_BYTES = len("og:type")
_AT_TYPE = np.frombuffer(b'"@type"', np.uint8)
_JSON_LD = np.frombuffer(b"ld+json", np.uint8)
_DISPLAY = np.frombuffer(b"display:none", np.uint8)
_COLON, _BRACKET = ord(":"), ord("[")


@bare
def note_words(html: Bytes, begin: Int, end: Int, room: Room) -> Int:
    """Write the buckets of the words of an attribute, and of pairs of words in one name; a hash of it all."""
    state, tokens = room.state, room.tokens
    whole = word = np.uint64(FNV_SEED)
    before = np.uint64(0)
    chars = 0
    small = False
    for at in range(begin, end + 1):
        byte = np.int64(html[at]) if at < end else 32
        letter = is_letter(byte)
        capital = letter and byte < 97 and small
        if chars and (not letter or capital):
            if chars > 1:
                tokens[state[TOKENS]] = np.int64(word) & (BUCKETS - 1)
                state[TOKENS] += 1
                whole = (whole ^ word) * np.uint64(FNV_PRIME)
                if before:
                    pair = (before ^ word) * np.uint64(FNV_PRIME) ^ (before >> np.uint64(29))
                    tokens[state[TOKENS]] = np.int64(pair) & (BUCKETS - 1)
                    state[TOKENS] += 1
                before = word
            word = np.uint64(FNV_SEED)
            chars = 0
        if letter:
            word = (word ^ np.uint64(byte | 32)) * np.uint64(FNV_PRIME)
            chars += 1
        elif is_space(byte):
            before = np.uint64(0)
        small = letter and byte >= 97
    return np.int64(whole)


@bare
def is_hidden(html: Bytes, values: NDArray[np.int64]) -> bool:
    """Whether the attributes hide the element."""
    if values[2 * HIDDEN] >= 0:
        return True
    begin, end = values[2 * ARIA_HIDDEN], values[2 * ARIA_HIDDEN + 1]
    if begin >= 0 and value_code(html, begin, end) == _TRUE:
        return True
    begin, end = values[2 * STYLE], values[2 * STYLE + 1]
    matched = 0
    for at in range(begin, end if begin >= 0 else begin):
        byte = html[at]
        if is_space(byte):
            continue
        matched = matched + 1 if byte | 32 == _DISPLAY[matched] | 32 else np.int64(byte | 32 == _DISPLAY[0])
        if matched == len(_DISPLAY):
            return True
    return False


@bare
def role_sign(html: Bytes, values: NDArray[np.int64]) -> Int:
    begin, end = values[2 * ROLE], values[2 * ROLE + 1]
    if begin < 0:
        return np.int64(0)
    name = value_code(html, begin, end)
    place = np.searchsorted(_ROLES, name)
    return _ROLE_SIGNS[place] if place < len(_ROLES) and _ROLES[place] == name else np.int64(0)


@bare
def _kind(html: Bytes, begin: Int, end: Int) -> Int:
    """The bits of KIND_NAMES that begin like the word at `begin`."""
    name = value_code(html, begin, end)
    found = np.int64(0)
    for place in range(len(_KIND_CODES)):
        found |= np.int64(_KIND_CODES[place] == name) << place
    return found


@bare
def _json_types(html: Bytes, at: Int, stop: Int, room: Room) -> None:
    """Note the types of schema.org that a piece of JSON-LD names."""
    while True:
        at = find(html, at, stop, _AT_TYPE) + len(_AT_TYPE)
        if at >= stop:
            return
        while at < stop and (is_space(html[at]) or html[at] == _COLON or html[at] == _BRACKET):
            at += 1
        if at < stop and html[at] == QUOTE:
            end = at + 1
            while end < stop and html[end] != QUOTE:
                end += 1
            room.state[KINDS] |= _kind(html, at + 1, end) & ~_OG_KINDS


@bare
def notice(html: Bytes, number: Int, room: Room) -> None:
    """Robots and licence of <meta>, <link> and <a>."""
    state, values = room.state, room.values
    if number == _META:
        begin, end = values[2 * CONTENT], values[2 * CONTENT + 1]
        at = PROPERTY if values[2 * NAME] < 0 else NAME
        if values[2 * at] < 0 or begin < 0:
            return
        name = value_code(html, values[2 * at], values[2 * at + 1])
        if name == _ROBOTS:
            place = ROBOTS + 2 * min(state[ROBOTS_TAGS], MAX_ROBOTS - 1)
            state[place], state[place + 1] = begin, end
            state[ROBOTS_TAGS] += 1
        elif name == _OG_TYPE and values[2 * at + 1] - values[2 * at] == _OG_TYPE_BYTES:
            state[KINDS] |= _kind(html, begin, end) & _OG_KINDS
        elif name in (_ABOUT, _OG_ABOUT) and end - begin > state[ABOUT_END] - state[ABOUT]:
            state[ABOUT], state[ABOUT_END] = begin, end
    elif values[2 * REL] >= 0 and values[2 * HREF] >= 0 and state[LICENSE_END] == 0:
        rel = value_code(html, values[2 * REL], values[2 * REL + 1])
        if rel == _LICENSE:
            state[LICENSE], state[LICENSE_END] = values[2 * HREF], values[2 * HREF + 1]


@bare
def _raw_end(html: Bytes, at: Int, stop: Int, name: np.uint64) -> Int:
    """Where the end tag of the raw element `name` begins."""
    while at < stop - 1:
        if html[at] == LT and html[at + 1] == SLASH and code_at(html, at + 2, stop) == name:
            return at
        at += 1
    return stop


@bare
def past_raw(html: Bytes, at: Int, stop: Int, name: np.uint64, number: Int, room: Room) -> Int:
    """Past the content of a raw element: TeX is written, the first title noted, the rest is no text."""
    end = _raw_end(html, at, stop, name)
    state, values = room.state, room.values
    if number == _TITLE and state[TITLE_END] == 0:
        state[TITLE], state[TITLE_END] = at, end
    elif number == _SCRIPT and values[2 * TYPE] >= 0:
        begin, stopped = values[2 * TYPE], values[2 * TYPE + 1]
        if value_code(html, begin, stopped) == _MATH_TEX:
            put_tex(html, at, end, room)
        elif find(html, begin, stopped, _JSON_LD) < stopped:
            _json_types(html, at, end, room)
    return end
