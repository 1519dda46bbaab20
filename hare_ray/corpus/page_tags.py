"""What the scanner of pages knows about HTML: tags by what they do to text, attributes, and character references.

Names are compared by their first 8 bytes in lower case, packed into one integer (`code`). A tag's entry says

    effect   void, hidden or raw content, breaks the line, closes what may be left open
    gap      what stands between the text before and after it: CELL < LINE < PARAGRAPH
    sign     its bit among the signs that everything inside it carries

after the HTML standard (sections 12.1.2, 13.2.5 and 15.3), in the coarse form that text needs.
"""

from __future__ import annotations

import html.entities
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NAME_BYTES = 8

VOID, RAW, UNSEEN, BREAKS, SCOPE, INLINE, TABLE_PART = (1 << bit for bit in range(7))
"""Effects. RAW: what is inside is no markup; UNSEEN: is no text of the page; SCOPE: end tags inside do not reach
through; INLINE: its end tag does not reach through elements that break the line."""

CELL, LINE, PARAGRAPH = 1, 2, 3

SIGNS = [
    "article",
    "main",
    "nav",
    "aside",
    "header",
    "footer",
    "form",
    "list",
    "item",
    "table",
    "dl",
    "figure",
    "quote",
    "pre",
    "button",
    "section",
    "heading",
    "paragraph",
    "noscript",
    "details",
    "dialog",
    "label",
    "address",
    "hidden",
    "link",
    "iframe",
    "cell",
    "figcaption",
]
"""Names of the bits that blocks inherit from the elements around them."""

BIT = {name: 1 << place for place, name in enumerate(SIGNS)}

_VOID = "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
_RAW = "script style title textarea xmp iframe noembed noframes"
_UNSEEN = (
    "script style title textarea iframe noembed noframes svg canvas audio video object applet select option "
    "optgroup datalist template map"
)
_INLINE = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q s samp small span "
    "strike strong sub sup time tt u var"
)
_PARAGRAPHS = (
    "p h1 h2 h3 h4 h5 h6 pre blockquote ul ol dl table article section main nav aside header footer figure form "
    "fieldset hr address details dialog listing xmp"
)
_LINES = (
    "div li dt dd tr caption figcaption legend summary center dir menu hgroup search body html frameset optgroup "
    "option thead tbody tfoot br button noscript plaintext"
)
_CELLS = "td th"
_SCOPE = "applet caption html table td th marquee object template foreignobject"
_TABLE_PARTS = "caption colgroup thead tbody tfoot tr td th"

_SIGN_OF = {
    "article": "article", "main": "main", "nav": "nav", "menu": "nav", "aside": "aside", "header": "header",
    "footer": "footer", "form": "form", "fieldset": "form", "ul": "list", "ol": "list", "dir": "list", "li": "item",
    "table": "table", "td": "cell", "th": "cell", "dl": "dl", "figure": "figure", "figcaption": "figcaption",
    "blockquote": "quote", "pre": "pre", "button": "button", "section": "section", "p": "paragraph",
    "noscript": "noscript", "details": "details", "dialog": "dialog", "label": "label", "address": "address",
    **{f"h{level}": "heading" for level in range(1, 7)},
}  # fmt: skip

ROLES = {
    "navigation": "nav", "main": "main", "banner": "header", "contentinfo": "footer", "complementary": "aside",
    "dialog": "dialog", "alertdialog": "dialog", "article": "article", "search": "form", "form": "form",
    "menu": "nav", "menubar": "nav", "button": "button", "heading": "heading", "list": "list", "listitem": "item",
    "table": "table", "tablist": "nav",
}  # fmt: skip
"""Values of the attribute `role`, and the sign they stand for."""

CLOSES = {
    "li": ("li", "ul ol menu dir"),
    "dt": ("dt dd", "dl"),
    "dd": ("dt dd", "dl"),
    "tr": ("tr td th", "table"),
    "td": ("td th", "table tr"),
    "th": ("td th", "table tr"),
    "thead": ("thead tbody tfoot tr td th caption colgroup", "table"),
    "tbody": ("thead tbody tfoot tr td th caption colgroup", "table"),
    "tfoot": ("thead tbody tfoot tr td th caption colgroup", "table"),
    "option": ("option", "select"),
}
"""Start tags that close open elements of the first names, up to one of the second. Those that break the line
close an open <p> besides."""


def code(name: str) -> int:
    """The first 8 bytes of a name as one integer, the first byte highest."""
    return int.from_bytes(name.encode()[:NAME_BYTES], "big")


class Tags(NamedTuple):
    """Sorted codes of the tags that mean something, and their entries in the same order."""

    codes: NDArray[np.uint64]
    effects: NDArray[np.int64]
    gaps: NDArray[np.int64]
    signs: NDArray[np.int64]
    closes: NDArray[np.int64]
    """Which group of tags a start tag closes, as a bit set; `member`: the groups a tag is in."""
    member: NDArray[np.int64]
    until: NDArray[np.int64]
    """The groups at which a tag stops the closing."""
    roles: NDArray[np.uint64]
    role_signs: NDArray[np.int64]


NAMES = sorted(
    {
        *f"{_VOID} {_RAW} {_UNSEEN} {_INLINE} {_PARAGRAPHS} {_LINES} {_CELLS} {_SCOPE} {_TABLE_PARTS}".split(),
        "math",
    },
    key=code,
)  # fmt: skip
"""Known tags, in the order of their codes; a tag's number is its place here, from 1 on; 0 is any other tag."""

NUMBER = {name: place + 1 for place, name in enumerate(NAMES)}


@cache
def tags() -> Tags:
    """The tables."""
    rows = len(NAMES) + 1
    effects, gaps, signs, closes, member, until = (np.zeros(rows, np.int64) for _ in range(6))
    for names, effect in (
        (_VOID, VOID), (_RAW, RAW), (_UNSEEN, UNSEEN), (_INLINE, INLINE), (_SCOPE, SCOPE), (_TABLE_PARTS, TABLE_PART),
    ):  # fmt: skip
        for name in names.split():
            effects[NUMBER[name]] |= effect
    for names, gap in ((_CELLS, CELL), (_LINES, LINE), (_PARAGRAPHS, PARAGRAPH)):
        for name in names.split():
            gaps[NUMBER[name]] = gap
            effects[NUMBER[name]] |= BREAKS
    for name, sign in _SIGN_OF.items():
        signs[NUMBER[name]] = BIT[sign]
    for group, (starter, (closed, stops)) in enumerate(CLOSES.items()):
        closes[NUMBER[starter]] = 1 << group
        for name in closed.split():
            member[NUMBER[name]] |= 1 << group
        for name in stops.split():
            until[NUMBER[name]] |= 1 << group
    codes = np.array([0, *(code(name) for name in NAMES)], np.uint64)
    roles = sorted(ROLES, key=code)
    return Tags(
        codes, effects, gaps, signs, closes, member, until,
        np.array([code(role) for role in roles], np.uint64),
        np.array([BIT[ROLES[role]] for role in roles], np.int64),
    )  # fmt: skip


class References(NamedTuple):
    """Named character references by the hash of their name (without the semicolon), sorted."""

    hashes: NDArray[np.uint64]
    places: NDArray[np.int64]
    """Of the UTF-8 in `data`; one more than there are names."""
    loose: NDArray[np.bool_]
    """Whether the semicolon may be left out."""
    data: NDArray[np.uint8]


FNV_SEED, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
"""FNV-1a, 64 bits."""


def name_hash(name: str) -> int:
    """FNV-1a of a name."""
    state = FNV_SEED
    for byte in name.encode():
        state = (state ^ byte) * FNV_PRIME % 2**64
    return state


@cache
def references() -> References:
    """The 2,125 names of the HTML standard (section 13.5)."""
    table = html.entities.html5
    names = sorted({name.rstrip(";") for name in table}, key=name_hash)
    values = [table.get(f"{name};", table.get(name, "")).encode() for name in names]
    return References(
        np.array([name_hash(name) for name in names], np.uint64),
        np.cumsum([0, *map(len, values)]).astype(np.int64),
        np.array([name in table for name in names]),
        np.frombuffer(b"".join(values), np.uint8),
    )


WINDOWS_1252 = np.array([ord(bytes([byte]).decode("cp1252", "replace")) for byte in range(0x80, 0xA0)], np.int64)
"""What numeric references 128 to 159 mean."""
