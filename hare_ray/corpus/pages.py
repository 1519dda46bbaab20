"""Main text of HTML pages: scanned (`page_scan`), described (`page_features`), judged (`page_model`).

    Pages(max_depth).read(html) -> Page

A `Pages` keeps its buffers from page to page; one worker has one.
"""

from __future__ import annotations

import html
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus import page_model as pm
from hare_ray.corpus import page_text as pt
from hare_ray.corpus.page_blocks import WORDS, Desk, Evidence, desk, measure, word_buckets
from hare_ray.corpus.page_features import FEATURES, describe
from hare_ray.corpus.page_scan import FINE, scan
from hare_ray.corpus.page_text import Room, room

MAX_TITLE_WORDS = 64
"""The rest of a longer title is left out where blocks are compared with it."""


class Page(NamedTuple):
    """What is taken of a page."""

    text: bytes
    """UTF-8."""
    title: str | None
    license: str | None
    robots: str | None


class PageError(ValueError):
    """A page that is given up; `status`: TOO_DEEP or TOO_MANY."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Pages:
    """Reads pages, one after the other."""

    def __init__(self, max_depth: int) -> None:
        self.max_depth = max_depth
        self.model: pm.Model | None = None
        self.room: Room = room(0, 0, max_depth)
        self.desk: Desk = desk(1, 1, 0)
        self.data = np.empty(0, np.uint8)
        self.features = np.empty((0, pm.COLUMNS), np.float32)

    def scan(self, data: bytes) -> int:
        """Scan a page of UTF-8 into the room; FINE, TOO_DEEP or TOO_MANY."""
        tags = data.count(b"<")
        if 2 * len(data) + 16 > len(self.room.text) or tags + 2 > len(self.room.nodes):
            self.room = room(_grown(len(data)), _grown(tags), self.max_depth)
        self.data = np.frombuffer(data, np.uint8)
        return scan(self.data, self.room)

    def span(self, begin: int, end: int) -> str | None:
        """Text of the page's own bytes, such as its title; None where there is none."""
        state = self.room.state
        text = self.data[state[begin] : state[end]].tobytes().decode("utf-8", "ignore")
        return " ".join(html.unescape(text).split()).replace("\x00", "") or None

    def describe(self, evidence: Evidence) -> NDArray[np.float32]:
        """What is known of the blocks of the scanned page: float32[blocks, pm.COLUMNS], the last ones unfilled."""
        blocks, nodes, size = (int(self.room.state[name]) for name in (pt.BLOCKS, pt.NODES, pt.TEXT))
        old = self.desk
        if blocks > len(old.stats) or nodes > len(old.totals) or size + 2 > len(old.buckets):
            self.desk = desk(_grown(blocks), _grown(nodes), _grown(size))
        if blocks > len(self.features):
            self.features = np.empty((_grown(blocks), pm.COLUMNS), np.float32)
        title = np.frombuffer((self.span(pt.TITLE, pt.TITLE_END) or "").encode(), np.uint8)
        buckets = np.empty(len(title) + 2, np.int32)
        count = word_buckets(title, 0, len(title), buckets)
        measure(self.room, evidence, self.desk, buckets[: min(count, MAX_TITLE_WORDS)])
        features = self.features[:blocks]
        describe(self.room, self.desk, features[:, :FEATURES])
        return features

    def read(self, data: bytes, judge: bool = True) -> Page:
        """Main text (where it is to be judged) and what a page says of itself.

        Raises PageError where more elements are open at once, or there are more blocks, than is sane.
        """
        status = self.scan(data)
        if status != FINE:
            raise PageError(status)
        told = [self.span(place, place + 1) for place in range(pt.ROBOTS, pt.STATE_SIZE, 2)]
        robots = ", ".join(filter(None, told)) or None
        text = self._text() if judge else b""
        return Page(text, self.span(pt.TITLE, pt.TITLE_END), self.span(pt.LICENSE, pt.LICENSE_END), robots)

    def _text(self) -> bytes:
        blocks = int(self.room.state[pt.BLOCKS])
        about = self.span(pt.ABOUT, pt.ABOUT_END)
        if blocks == 0:
            return (about or "").encode()
        model = self.model = self.model or pm.load()
        features = self.describe(model.evidence)
        if about is not None and self.desk.stats[:blocks, WORDS].sum() < pm.FEW_WORDS:
            return about.encode()
        keep = np.empty(blocks, np.bool_)
        pm.judge(self.room, self.desk, model, features, keep)
        out = np.empty(int(self.room.state[pt.TEXT]) + pm.MOST_ADDED_BYTES * blocks, np.uint8)
        return out[: pm.render(self.room, keep, out)].tobytes()


def _grown(size: int) -> int:
    """Room for a bit more than `size`, so that it seldom grows."""
    return size + size // 4 + 64
