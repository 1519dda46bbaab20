"""What is known of every block of a scanned page, as numbers for the model that keeps or drops it.

    describe(page, ...) -> float32[blocks, FEATURES]

Of the block itself: length, words, links, punctuation, tag, place. Of the elements around it: the signs they
carry (nav, article, hidden ...), what the words of their classes speak for, and how much text of which kind
the nearest containers hold. Of the page: the same in all. Of blocks of the same tag and class: how many
there are and how much text is in them. Of the neighbours: the same as of the block, in short.

`followed` adds what a first model thought of the neighbours and containers of a block: text that belongs
stands together (two stages, as in Web2Text, arXiv 1801.02607, whose second stage is a chain).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.page_blocks import (
    BYTES,
    CAPITALS,
    CHARS,
    DIGITS,
    ENDS,
    GROUP_OF,
    HEADING_GROUP,
    PUNCTUATION,
    TAG_GROUPS,
    WORDS,
    Desk,
    add_up,
)
from hare_ray.corpus.page_bytes import bare
from hare_ray.corpus.page_notes import KIND_NAMES
from hare_ray.corpus.page_tags import SIGNS as SIGN_NAMES
from hare_ray.corpus.page_text import (
    AT_DEPTH,
    BEFORE,
    BLOCKS,
    BREAKS_IN,
    INNER,
    IS_ITEM,
    KINDS,
    LINK_BYTES,
    LINKS,
    NODE,
    NODES,
    PARENT,
    SIGNS,
    TAG,
    Room,
)
from hare_ray.kernel import njit

LEVELS = (1, 2, 3, 5)
"""Which containers are looked at: the block's own element is 0, the one around it 1."""

OWN = (
    *("words", "chars_per_word", "link_share", "punctuation", "digits", "capitals", "ends", "breaks", "links"),
    *("item", "gap", "text_score", "text_score_sum", "class_own", "class_node", "class_sum", "class_min", "class_max"),
    *("depth", "index", "words_before", "copies", "copies_before"),
)
PLACE = ("title_share", "after_title", "heading_score", "heading_distance", "heading_level")
PAGE = ("page_words", "page_links", "page_blocks", "page_in_p", "page_article", "page_main", "page_class", "page_long")
CONTAINER = (
    "words",
    "link_share",
    "words_per_block",
    "p_share",
    "page_share",
    "punctuation",
    "class",
    "blocks",
    "long",
)
SAME = ("same_blocks", "same_words", "same_links", "same_share")
NEAR = ("words", "link_share", "heading", "text_score", "class_node", "same_node")
OFFSETS = (-2, -1, 1, 2)
NAMES = (
    *OWN,
    *PLACE,
    *(f"is_{group.replace(' ', '_')}" for group in TAG_GROUPS),
    *(f"in_{name}" for name in SIGN_NAMES),
    *PAGE,
    *(f"kind_{name}" for name in KIND_NAMES),
    *(f"{name}_{level}" for level in LEVELS for name in CONTAINER),
    *SAME,
    *(f"{name}_{offset}" for offset in OFFSETS for name in NEAR),
)
FEATURES = len(NAMES)
_AT_PLACE = len(OWN)
_AT_TAG = _AT_PLACE + len(PLACE)
_AT_PAGE = _AT_TAG + len(TAG_GROUPS) + len(SIGN_NAMES)
_AT_CONTAINERS = _AT_PAGE + len(PAGE) + len(KIND_NAMES)
_AT_SAME = _AT_CONTAINERS + len(LEVELS) * len(CONTAINER)
_AT_NEAR = _AT_SAME + len(SAME)
_TAG_COUNT, _SIGN_COUNT, _PAGE_COUNT, _KIND_COUNT, _CONTAINER_COUNT, _NEAR_COUNT = (
    len(names) for names in (TAG_GROUPS, SIGN_NAMES, PAGE, KIND_NAMES, CONTAINER, NEAR)
)
_WORDS, _LINK_SHARE, _TEXT_SCORE, _CLASS_NODE = (
    OWN.index(name) for name in ("words", "link_share", "text_score", "class_node")
)

NO_TITLE = -1000
"""Distance from the title where the page has none."""
MIN_TITLE_SHARE = 0.25
"""A block that shares so much with <title> may be the title."""


@bare
def _own(room: Room, desk: Desk, out: NDArray[np.float32]) -> None:
    count = room.state[BLOCKS]
    total = max(desk.totals[0, 0], np.float32(1))
    before = np.float32(0)
    for number in range(count):
        block, row, score = room.blocks[number], desk.stats[number], out[number]
        inner = block[INNER]
        words = np.float32(max(row[WORDS], 1))
        score[0] = np.log1p(words)
        score[1] = row[CHARS] / words
        score[2] = min(1.0, block[LINK_BYTES] / max(row[BYTES], 1))
        score[3] = row[PUNCTUATION] / words
        score[4] = row[DIGITS] / max(row[CHARS], 1)
        score[5] = row[CAPITALS] / words
        score[6] = row[ENDS]
        score[7], score[8], score[9], score[10] = block[BREAKS_IN], block[LINKS], block[IS_ITEM], block[BEFORE]
        score[11], score[12] = desk.text_scores[number, 0], desk.text_scores[number, 1]
        score[13], score[14] = desk.node_scores[inner], desk.node_scores[block[NODE]]
        for column in range(3):
            score[15 + column] = desk.path_scores[inner, column]
        score[18] = block[AT_DEPTH]
        score[19] = number / count
        score[20] = before / total
        score[21], score[22] = desk.copies[number, 0], desk.copies[number, 1]
        before += row[WORDS]


@bare
def _place(room: Room, desk: Desk, out: NDArray[np.float32]) -> None:
    """Where a block stands: from the title, and under which heading."""
    count = room.state[BLOCKS]
    best, best_share = -1, MIN_TITLE_SHARE
    heading, heading_score, level = -1, np.float32(0), 0
    for number in range(count):
        share = desk.title_shares[number]
        if share > best_share:
            best, best_share = number, share
        score = out[number, _AT_PLACE:]
        score[0] = share
        score[2] = heading_score
        score[3] = number - heading
        score[4] = level
        tag = room.blocks[number, TAG]
        if GROUP_OF[tag, HEADING_GROUP]:
            heading, heading_score, level = number, desk.text_scores[number, 0], tag
    for number in range(count):
        out[number, _AT_PLACE + 1] = number - best if best >= 0 else NO_TITLE


@bare
def _page(room: Room, desk: Desk, row: NDArray[np.float32]) -> None:
    """What is the same for all blocks."""
    count = room.state[BLOCKS]
    page = desk.totals[0]
    total = max(page[0], np.float32(1))
    article = main = most = np.float32(0)
    for number in range(count):
        block, words = room.blocks[number], desk.stats[number, WORDS]
        article += words * (block[SIGNS] & 1)
        main += words * (block[SIGNS] >> 1 & 1)
        most = max(most, desk.path_scores[block[INNER], 0])
    row[0] = np.log1p(total)
    row[1] = page[1] / total
    row[2] = np.log1p(np.float32(count))
    row[3] = page[3] / total
    row[4] = article / total
    row[5] = main / total
    row[6] = most
    row[7] = page[5] / total
    for kind in range(_KIND_COUNT):
        row[_PAGE_COUNT + kind] = room.state[KINDS] >> kind & 1


@bare
def _containers(room: Room, desk: Desk, number: int, row: NDArray[np.float32]) -> None:
    """What the elements around a block hold."""
    total = max(desk.totals[0, 0], np.float32(1))
    node = room.blocks[number, NODE]
    level, place = 0, 0
    for wanted in LEVELS:
        while level < wanted and node > 0:
            node = room.nodes[node, PARENT]
            level += 1
        inside = desk.totals[node]
        words = max(inside[0], np.float32(1))
        row[place] = np.log1p(words)
        row[place + 1] = inside[1] / words
        row[place + 2] = words / max(inside[2], np.float32(1))
        row[place + 3] = inside[3] / words
        row[place + 4] = words / total
        row[place + 5] = inside[4] / words
        row[place + 6] = desk.path_scores[node, 0]
        row[place + 7] = inside[2]
        row[place + 8] = inside[5] / words
        place += _CONTAINER_COUNT


@bare
def _around(room: Room, desk: Desk, out: NDArray[np.float32]) -> None:
    """Tag, signs, page, containers, and blocks alike."""
    count = room.state[BLOCKS]
    total = max(desk.totals[0, 0], np.float32(1))
    _page(room, desk, out[0, _AT_PAGE:])
    for number in range(count):
        block, score = room.blocks[number], out[number]
        for group in range(_TAG_COUNT):
            score[_AT_TAG + group] = GROUP_OF[block[TAG], group]
        for bit in range(_SIGN_COUNT):
            score[_AT_TAG + _TAG_COUNT + bit] = block[SIGNS] >> bit & 1
        for column in range(_AT_PAGE, _AT_CONTAINERS):
            score[column] = out[0, column]
        _containers(room, desk, number, score[_AT_CONTAINERS:])
        same = desk.same[number]
        score[_AT_SAME] = np.log(np.float32(same[0]))
        score[_AT_SAME + 1] = np.log1p(np.float32(same[1]))
        score[_AT_SAME + 2] = same[2] / max(same[3], 1)
        score[_AT_SAME + 3] = same[1] / total


@bare
def _near(room: Room, out: NDArray[np.float32]) -> None:
    count = room.state[BLOCKS]
    for number in range(count):
        place = _AT_NEAR
        for offset in OFFSETS:
            other = number + offset
            if 0 <= other < count:
                out[number, place] = out[other, _WORDS]
                out[number, place + 1] = out[other, _LINK_SHARE]
                out[number, place + 2] = GROUP_OF[room.blocks[other, TAG], HEADING_GROUP]
                out[number, place + 3] = out[other, _TEXT_SCORE]
                out[number, place + 4] = out[other, _CLASS_NODE]
                out[number, place + 5] = room.blocks[other, NODE] == room.blocks[number, NODE]
            else:
                out[number, place : place + _NEAR_COUNT] = -1
            place += _NEAR_COUNT


@njit
def describe(room: Room, desk: Desk, out: NDArray[np.float32]) -> None:
    """Fill out[blocks, FEATURES] for the page in the room, measured on the desk."""
    _own(room, desk, out)
    _place(room, desk, out)
    _around(room, desk, out)
    _near(room, out)


STEPS = (-3, -2, -1, 1, 2, 3)
WINDOWS = (2, 5, 12)
FOLLOWED = (
    *("p", "p_page", "p_page_max", "p_before", "p_after", "words_kept", "p_heading", "p_same"),
    *(f"p_{step}" for step in STEPS),
    *(f"p_window_{window}" for window in WINDOWS),
    *(f"p_container_{level}" for level in LEVELS),
)
_AT_STEPS, _SAME = 8, FOLLOWED.index("p_same")
_AT_WINDOWS = _AT_STEPS + len(STEPS)
_AT_LEVELS = _AT_WINDOWS + len(WINDOWS)


@bare
def _believed(room: Room, desk: Desk, p: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """The beliefs of all nodes, and of blocks of the same tag and class."""
    desk.beliefs[: room.state[NODES]] = 0
    count = room.state[BLOCKS]
    for number in range(count):
        words = np.float32(max(desk.stats[number, WORDS], 1))
        node = room.blocks[number, NODE]
        desk.beliefs[node, 0] += words * p[number]
        desk.beliefs[node, 1] += words
    add_up(room, desk.beliefs)
    first = 0
    while first < count:
        size = desk.same[desk.order[first], 0]
        top = bottom = np.float32(0)
        for number in desk.order[first : first + size]:
            words = np.float32(max(desk.stats[number, WORDS], 1))
            top += words * p[number]
            bottom += words
        for number in desk.order[first : first + size]:
            out[number, _SAME] = top / bottom
        first += size


@bare
def _neighbours(
    room: Room, desk: Desk, p: NDArray[np.float32], running: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    count = room.state[BLOCKS]
    for number in range(count):
        row = out[number]
        place = _AT_STEPS
        for step in STEPS:
            other = number + step
            row[place] = p[other] if 0 <= other < count else -1
            place += 1
        for window in WINDOWS:
            low, high = max(number - window, 0), min(number + window + 1, count)
            row[place] = (running[high, 0] - running[low, 0]) / (running[high, 1] - running[low, 1])
            place += 1
        node, level = room.blocks[number, NODE], 0
        for wanted in LEVELS:
            while level < wanted and node > 0:
                node = room.nodes[node, PARENT]
                level += 1
            row[place] = desk.beliefs[node, 0] / max(desk.beliefs[node, 1], np.float32(1))
            place += 1


@njit
def followed(room: Room, desk: Desk, p: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Fill out[blocks, len(FOLLOWED)] from what the first model gave every block."""
    count = room.state[BLOCKS]
    running = np.zeros((count + 1, 2), np.float32)
    best = np.float32(0)
    for number in range(count):
        words = np.float32(max(desk.stats[number, WORDS], 1))
        running[number + 1, 0] = running[number, 0] + words * p[number]
        running[number + 1, 1] = running[number, 1] + words
        best = max(best, p[number])
    _believed(room, desk, p, out)
    _neighbours(room, desk, p, running, out)
    heading = np.float32(-1)
    kept, words = running[count]
    for number in range(count):
        row = out[number]
        row[0] = p[number]
        row[1] = kept / max(words, np.float32(1))
        row[2] = best
        row[3] = running[number, 0] / max(kept, np.float32(1))
        row[4] = (kept - running[number, 0]) / max(kept, np.float32(1))
        row[5] = np.log1p(kept)
        row[6] = heading
        if GROUP_OF[room.blocks[number, TAG], HEADING_GROUP]:
            heading = p[number]
