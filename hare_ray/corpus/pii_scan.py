"""Every hit of every kind in a column of text, in one pass over the bytes.

    find(text) -> Hits   documents, starts, ends, kinds: int64[hits] each, in order, no two of them overlap

Nineteen bytes in twenty are no anchor (`pii_bytes.ANCHOR`) and cost one look into a table; what an anchor could be
part of is asked of the matchers in a fixed order, and the scan goes on behind the hit. Nothing looks further than
a bounded number of bytes around its anchor, except for web tokens, whose parts have any length: where one fails, no
other is tried before the end of its first part. So time is linear in the text whatever it contains. starts and ends
are bytes of the document's UTF-8, as for words.

A compiled scan, because an expression per kind reads the text once per kind, has no checksums, and finds a number
of cards' length by trying at every digit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.corpus.pii import ADDRESS, CARD, EMAIL, IBAN, PHONE, SECRET
from hare_ray.corpus.pii_bytes import ANCHOR, CLASSES, DIGIT, NONE, UPPER, is_a, run_end, starts_word
from hare_ray.corpus.pii_numbers import card, iban, ipv4, ipv6
from hare_ray.corpus.pii_signs import american, email, international, private_key, token, web_token
from hare_ray.kernel import njit
from hare_ray.text import text_buffers
from hare_ray.text.hashing import Int

_AT, _PLUS, _OPEN, _HYPHEN, _COLON, _J, _TWO, _THREE = (ord(c) for c in "@+(-:J23")
_COLON_PLACE = 4
BYTES_PER_HIT = 2048
"""First guess of the room needed; where it is too little, room grows."""


class Hits(NamedTuple):
    """Where personal information lies."""

    documents: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    kinds: NDArray[np.int64]


@njit
def _number(data: NDArray[np.uint8], at: Int, begin: Int, free: Int, stop: Int) -> tuple[Int, Int, Int]:
    """Begin, end and kind of the hit whose first digit is at `at`."""
    if at - free >= 2 and is_a(data, at - 1, at, UPPER) and is_a(data, at - 2, at, UPPER):
        end = iban(data, at - 2, begin, stop) if starts_word(data, at - 2, begin) else NONE
        return at - 2, end, IBAN
    if not starts_word(data, at, begin):
        return at, NONE, IBAN
    if data[at] in (_TWO, _THREE) and at + _COLON_PLACE < stop and data[at + _COLON_PLACE] == _COLON:
        end = ipv6(data, at, begin, stop)
        if end != NONE:
            return at, end, ADDRESS
    end = ipv4(data, at, begin, stop)
    if end != NONE:
        return at, end, ADDRESS
    end = card(data, at, begin, stop)
    if end != NONE:
        return at, end, CARD
    return at, american(data, at, stop), PHONE


@njit
def _key(data: NDArray[np.uint8], at: Int, free: Int, stop: Int) -> tuple[Int, Int, Int]:
    """Begin, end and kind of the secret that shows itself at `at`; begin without an end: as of `web_token`."""
    if data[at] == _J:
        start, end = web_token(data, at, free, stop)
        return start, end, SECRET
    if data[at] == _HYPHEN and at + 1 < stop and data[at + 1] == _HYPHEN:
        return at, private_key(data, at, stop), SECRET
    start, end = token(data, at, free, stop)
    return start, end, SECRET


@njit
def _hit(data: NDArray[np.uint8], at: Int, begin: Int, free: Int, stop: Int) -> tuple[Int, Int, Int]:
    """Begin, end and kind of the hit around the anchor at `at`; the end is NONE where there is none."""
    sign = data[at]
    if CLASSES[sign] & DIGIT:
        return _number(data, at, begin, free, stop)
    if sign == _AT:
        start, end = email(data, at, free, stop)
        return start, end, EMAIL
    if sign == _PLUS:
        return at, international(data, at, begin, stop), PHONE
    if sign == _OPEN:
        return at, american(data, at, stop), PHONE
    return _key(data, at, free, stop)


@njit
def _scan(data: NDArray[np.uint8], begin: Int, stop: Int, document: Int, room: NDArray[np.int64], count: Int) -> Int:
    """Write the hits of one document from number `count` on; the number after them, or -1 where room is short."""
    at = free = barren = begin  # no web token begins before `barren`
    while at < stop:
        if CLASSES[data[at]] & ANCHOR == 0 or (data[at] == _J and at < barren):
            at += 1
            continue
        start, end, kind = _hit(data, at, begin, free, stop)
        if end == NONE:
            barren = max(barren, start) if data[at] == _J else barren
            at = max(at + 1, run_end(data, at, stop, DIGIT))
            continue
        if count == len(room):
            return -1
        room[count, 0] = document
        room[count, 1] = start - begin
        room[count, 2] = end - begin
        room[count, 3] = kind
        count += 1
        at = free = end
    return count


@njit
def _documents(data, begins, stops, first, room, place):  # noqa: ANN001, ANN202
    """Scan documents from number place[0] on, hits from place[1] on, as long as there is room; moves both."""
    while place[0] < len(begins):
        document = place[0]
        count = _scan(data, begins[document], stops[document], first + document, room, place[1])
        if count < 0:
            return
        place[0] += 1
        place[1] = count


def find(text: pa.Array | pa.ChunkedArray) -> Hits:
    """All hits of a string column."""
    room = np.empty((64 + text.nbytes // BYTES_PER_HIT, 4), np.int64)
    first = count = 0
    for data, begins, stops in text_buffers(text):
        place = np.array([0, count])
        _documents(data, begins, stops, first, room, place)
        while place[0] < len(begins):
            room = np.concatenate([room, np.empty_like(room)])
            _documents(data, begins, stops, first, room, place)
        first, count = first + len(begins), int(place[1])
    return Hits(*room[:count].T)
