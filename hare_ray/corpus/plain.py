"""Plain text that needs nothing done, found for a whole part at once.

    payload, media -> bool per row: the text is the payload, byte for byte

Clean corpora come as rows of plain text, a hundred thousand a part; taking each apart in Python would cost more than
all that follows. A row is left as it is where it is plain text in valid UTF-8, begins and ends with a visible ASCII
character, and holds none of what `extraction.tidy` or `charset.utf8` look for; every other row takes the long way, to
the same result.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.text import text_buffers
from hare_ray.text.hashing import bare

PLAIN = "text/plain"

GAP_NEWLINES = 4
"""Line ends with nothing but blanks between, from which on `tidy` closes the gap."""

_NEWLINE, _SPACE, _TAB = (np.uint8(ord(char)) for char in "\n \t")
_LAST_VISIBLE, _WIDE = np.uint8(0x7E), np.uint8(0x80)

_LONG_WAY, _ASCII, _OTHER = np.uint8(0), np.uint8(1), np.uint8(2)


@bare
def _is_visible(byte: np.uint8) -> bool | np.bool_:
    return byte > _SPACE and byte <= _LAST_VISIBLE


@bare
def _kind(data: NDArray[np.uint8], begin: int, stop: int) -> np.uint8:
    """Whether the bytes stay as they are, if they are valid UTF-8, and whether they are ASCII, which is valid."""
    if stop == begin or not (_is_visible(data[begin]) and _is_visible(data[stop - 1])):
        return _LONG_WAY
    kind, newlines = _ASCII, 0
    for at in range(begin, stop):
        byte = data[at]
        if byte == _NEWLINE:
            newlines += 1
            if newlines == GAP_NEWLINES:
                return _LONG_WAY
        elif byte not in (_SPACE, _TAB):
            newlines = 0
            if byte < _SPACE:
                return _LONG_WAY
            if byte >= _WIDE:
                kind = _OTHER
    return kind


@bare
def _kinds(
    data: NDArray[np.uint8], begins: NDArray[np.int64], stops: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    for row in range(len(begins)):
        if out[row]:
            out[row] = _kind(data, begins[row], stops[row])


def as_it_is(records: pa.Table, max_bytes: int) -> tuple[NDArray[np.bool_], pa.Array]:
    """Rows of `hare_ray.schema.RECORD` whose text is their payload of at most `max_bytes`, and these texts."""
    payload = records["payload"].combine_chunks()
    plain = pc.and_(pc.equal(records["media"], PLAIN), pc.less_equal(pc.binary_length(payload), max_bytes))
    kinds = np.array(pc.fill_null(plain, False)).astype(np.uint8)
    if kinds.any():
        for data, begins, stops in text_buffers(payload):  # one chunk
            _kinds(data, begins, stops, kinds)
    try:
        return kinds > _LONG_WAY, payload.filter(pa.array(kinds > _LONG_WAY)).cast(pa.large_string())
    except pa.ArrowInvalid:  # one of them is not UTF-8: what is not ASCII takes the long way
        return kinds == _ASCII, payload.filter(pa.array(kinds == _ASCII)).cast(pa.large_string())
