"""What is counted in the blocks of a scanned page, and in the elements around them.

Words of classes and of the text are hashed into buckets, whose weights (`Evidence`) the model has learned: what a
word speaks for where it stands in a class, or in the text, of a block that was kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.page_bytes import bare
from hare_ray.corpus.page_tags import FNV_PRIME, FNV_SEED, NUMBER
from hare_ray.corpus.page_text import (
    BLOCKS,
    END,
    FIRST_TOKEN,
    LINK_BYTES,
    NODE,
    NODES,
    PARENT,
    SIGNATURE,
    START,
    TAG,
    Room,
)
from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

WORD_BUCKETS = 1 << 14
"""Of words and pairs of words in the text."""

STATS = ["words", "chars", "bytes", "punctuation", "digits", "capitals", "ends"]
WORDS, CHARS, BYTES, PUNCTUATION, DIGITS, CAPITALS, ENDS = range(len(STATS))
"""Counts of a block."""

TAG_GROUPS = ("p", "li", "td th", "div", "h1 h2 h3 h4 h5 h6", "pre blockquote", "dt dd", "figcaption caption", "h1")
GROUP_OF = np.zeros((len(NUMBER) + 1, len(TAG_GROUPS)), np.float32)
for _place, _group in enumerate(TAG_GROUPS):
    for _name in _group.split():
        GROUP_OF[NUMBER[_name], _place] = 1
P_GROUP, HEADING_GROUP = 0, 4

MAX_TITLE_BYTES = 300
"""A longer block is not compared with the title."""

LONG_WORDS = 20
"""A block of so many words is running text rather than a label."""

IDEOGRAPHS_PER_WORD = 2
"""Chinese and Japanese have no spaces between words."""
_FIRST_IDEOGRAPH, _LAST_IDEOGRAPH = 0xE3, 0xED
"""First bytes in UTF-8 of kana, ideographs and Hangul."""

_TERMINAL = np.zeros(256, np.uint8)
_TERMINAL[list(b".!?:\"')")] = 1
_PUNCTUATION = np.zeros(256, np.uint8)
_PUNCTUATION[list(b".,;:!?")] = 1


class Evidence(NamedTuple):
    """Weights of words: what they speak for where they stand in classes and in text."""

    classes: NDArray[np.float32]
    words: NDArray[np.float32]


class Desk(NamedTuple):
    """Where a page's numbers are worked out, reused from page to page."""

    stats: NDArray[np.int64]
    text_scores: NDArray[np.float32]
    title_shares: NDArray[np.float32]
    """Per block: share of its words that are the title's, less where it has little of the title."""
    in_title: NDArray[np.uint8]
    """Per bucket: whether a word of the title is in it."""
    node_scores: NDArray[np.float32]
    path_scores: NDArray[np.float32]
    """Per node: sum, least and most of the scores from the root down."""
    totals: NDArray[np.float32]
    """Per node: words, link words, blocks, words in <p>, punctuation, words in long blocks of all inside."""
    buckets: NDArray[np.int32]
    same: NDArray[np.int64]
    """Per block: blocks, words, link bytes and bytes of all blocks of the same tag and class."""
    order: NDArray[np.int64]
    """Blocks of the same tag and class side by side."""
    copies: NDArray[np.int64]
    """Per block: blocks of the same text, how many of them stand before it, and which is the first."""
    beliefs: NDArray[np.float32]
    """Per node: words that the first model believes in, and all words."""


def desk(most_blocks: Int, most_nodes: Int, most_bytes: int) -> Desk:
    """Place for a page of so many blocks and nodes."""
    return Desk(
        np.zeros((most_blocks, len(STATS)), np.int64),
        np.zeros((most_blocks, 2), np.float32),
        np.zeros(most_blocks, np.float32),
        np.zeros(WORD_BUCKETS, np.uint8),
        np.zeros(most_nodes, np.float32),
        np.zeros((most_nodes, 3), np.float32),
        np.zeros((most_nodes, 6), np.float32),
        np.zeros(most_bytes + 2, np.int32),
        np.zeros((most_blocks, 4), np.int64),
        np.zeros(most_blocks, np.int64),
        np.zeros((most_blocks, 3), np.int64),
        np.zeros((most_nodes, 2), np.float32),
    )


@bare
def word_buckets(text: NDArray[np.uint8], begin: Int, end: Int, out: NDArray[np.int32]) -> Int:
    """Write the buckets of words and of pairs of words of [begin, end); how many."""
    state = np.uint64(FNV_SEED)
    before = np.uint64(0)
    chars = count = 0
    for at in range(begin, end + 1):
        byte = np.int64(text[at]) if at < end else 32
        if 65 <= byte <= 90:
            byte += 32
        if 97 <= byte <= 122 or byte >= 128:
            state = (state ^ np.uint64(byte)) * np.uint64(FNV_PRIME)
            chars += 1
        elif chars:
            out[count] = np.int64(state ^ (state >> np.uint64(31))) & (WORD_BUCKETS - 1)
            count += 1
            if before:
                pair = (before * np.uint64(31) ^ state) * np.uint64(FNV_PRIME)
                out[count] = np.int64(pair ^ (pair >> np.uint64(31))) & (WORD_BUCKETS - 1)
                count += 1
            before = state
            state = np.uint64(FNV_SEED)
            chars = 0
    return count


@bare
def _measure(text: NDArray[np.uint8], begin: Int, end: Int, row: NDArray[np.int64]) -> None:
    """Count what is in a block."""
    row[:] = 0
    fresh = True
    ideographs = 0
    for at in range(begin, end):
        byte = text[at]
        row[CHARS] += byte & 0xC0 != 0x80
        row[PUNCTUATION] += _PUNCTUATION[byte]
        row[DIGITS] += 48 <= byte <= 57
        ideographs += _FIRST_IDEOGRAPH <= byte <= _LAST_IDEOGRAPH
        if byte == 32 or byte == 10:
            fresh = True
        elif fresh:
            row[WORDS] += 1
            row[CAPITALS] += 65 <= byte <= 90
            fresh = False
    row[WORDS] += ideographs // IDEOGRAPHS_PER_WORD
    row[BYTES] = end - begin
    row[ENDS] = _TERMINAL[text[end - 1]]


@bare
def _nodes(room: Room, evidence: Evidence, desk: Desk) -> None:
    """Scores of classes, node by node and along the path from the root."""
    nodes = room.nodes
    desk.node_scores[0] = 0
    desk.path_scores[0, :] = 0
    desk.totals[: room.state[NODES], :] = 0
    for node in range(1, room.state[NODES]):
        score = np.float32(0)
        first, last = nodes[node, FIRST_TOKEN], nodes[node + 1, FIRST_TOKEN]
        for place in range(first, last):
            score += evidence.classes[room.tokens[place]]
        desk.node_scores[node] = score
        parent = nodes[node, PARENT]
        desk.path_scores[node, 0] = desk.path_scores[parent, 0] + score
        desk.path_scores[node, 1] = min(desk.path_scores[parent, 1], score)
        desk.path_scores[node, 2] = max(desk.path_scores[parent, 2], score)


@bare
def add_up(room: Room, sums: NDArray[np.float32]) -> None:
    """Add what every element holds by itself to all around it: children come after their parents."""
    for node in range(room.state[NODES] - 1, 0, -1):
        parent = room.nodes[node, PARENT]
        for column in range(sums.shape[1]):
            sums[parent, column] += sums[node, column]


@bare
def _blocks(room: Room, evidence: Evidence, desk: Desk, titles: NDArray[np.int32]) -> None:
    """Counts, text scores and title shares of blocks, and the sums of counts in every element around."""
    for bucket in titles:
        desk.in_title[bucket] = 1
    for number in range(room.state[BLOCKS]):
        block = room.blocks[number]
        row = desk.stats[number]
        _measure(room.text, block[START], block[END], row)
        found = word_buckets(room.text, block[START], block[END], desk.buckets)
        score = np.float32(0)
        both = 0
        for place in range(found):
            score += evidence.words[desk.buckets[place]]
            both += desk.in_title[desk.buckets[place]]
        is_short = len(titles) and row[BYTES] <= MAX_TITLE_BYTES
        share = both / max(found, 1) * min(1.0, 2 * both / max(len(titles), 1))
        desk.title_shares[number] = share if is_short else 0.0
        desk.text_scores[number, 0] = score / np.sqrt(np.float32(found + 1))
        desk.text_scores[number, 1] = score
        linked = row[WORDS] * min(1.0, block[LINK_BYTES] / max(row[BYTES], 1))
        in_p = row[WORDS] * GROUP_OF[block[TAG], P_GROUP]
        total = desk.totals[block[NODE]]
        total[0] += row[WORDS]
        total[1] += linked
        total[2] += 1
        total[3] += in_p
        total[4] += row[PUNCTUATION]
        total[5] += row[WORDS] * (row[WORDS] >= LONG_WORDS)
    add_up(room, desk.totals)
    for bucket in titles:
        desk.in_title[bucket] = 0


@njit
def _same(room: Room, desk: Desk) -> None:
    """Blocks, words and link bytes in blocks of the same tag and class: columns 0 to 3 of `same`."""
    count = room.state[BLOCKS]
    keys = np.empty(count, np.int64)
    for number in range(count):
        keys[number] = room.nodes[room.blocks[number, NODE], SIGNATURE]
    order = np.argsort(keys, kind="mergesort")
    desk.order[:count] = order
    first = 0
    while first < count:
        last = first
        words = link_bytes = all_bytes = 0
        while last < count and keys[order[last]] == keys[order[first]]:
            number = order[last]
            words += desk.stats[number, WORDS]
            link_bytes += room.blocks[number, LINK_BYTES]
            all_bytes += desk.stats[number, BYTES]
            last += 1
        for place in range(first, last):
            desk.same[order[place], 0] = last - first
            desk.same[order[place], 1] = words
            desk.same[order[place], 2] = link_bytes
            desk.same[order[place], 3] = all_bytes
        first = last


@njit
def _copies(room: Room, desk: Desk) -> None:
    """How many blocks have the same text, and how many of them stand before."""
    count = room.state[BLOCKS]
    keys = np.empty(count, np.uint64)
    for number in range(count):
        state = np.uint64(FNV_SEED)
        for at in range(room.blocks[number, START], room.blocks[number, END]):
            state = (state ^ np.uint64(room.text[at])) * np.uint64(FNV_PRIME)
        keys[number] = state
    order = np.argsort(keys, kind="mergesort")
    first = 0
    while first < count:
        last = first
        while last < count and keys[order[last]] == keys[order[first]]:
            last += 1
        for place in range(first, last):
            desk.copies[order[place], 0] = last - first
            desk.copies[order[place], 1] = place - first
            desk.copies[order[place], 2] = order[first]
        first = last


@njit
def measure(room: Room, evidence: Evidence, desk: Desk, titles: NDArray[np.int32]) -> None:
    """Fill the desk for the page in the room; `titles`: the buckets of the words of its title."""
    _nodes(room, evidence, desk)
    _blocks(room, evidence, desk, titles)
    _same(room, desk)
    _copies(room, desk)
