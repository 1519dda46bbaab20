"""The lines that C4 keeps, copied into one buffer.

cleaned(text, wanted) -> (large_string column, {count: int64[documents]})
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.corpus.rules_chars import BRACKET
from hare_ray.corpus.rules_clean import CITATIONS, REMOVED
from hare_ray.corpus.rules_counts import COUNTS, KEPT_CURLY_BRACKETS, KEPT_LINES, KEPT_LOREM_IPSUMS, Wanted
from hare_ray.corpus.rules_lines import content, shape
from hare_ray.corpus.rules_marks import Marks, marks_of
from hare_ray.corpus.rules_phrases import phrases_in
from hare_ray.corpus.rules_scan import citation_end, line_break, scan_line
from hare_ray.kernel import njit
from hare_ray.text.hashing import Int
from hare_ray.text.words import Text, text_buffers

_FEED = ord("\n")


@njit
def _copy(
    data: NDArray[np.uint8], begin: Int, stop: Int, has_citations: bool, out: NDArray[np.uint8], place: Int
) -> tuple[Int, Int]:
    """Copy the bytes [begin, stop) but citations; the place after them, and how many citations there were."""
    if not has_citations:
        out[place : place + stop - begin] = data[begin:stop]
        return place + stop - begin, 0
    citations = 0
    at = begin
    while at < stop:
        after = citation_end(data, at, stop)
        if after == at:
            out[place] = data[at]
            place += 1
            at += 1
        else:
            citations += 1
            at = after
    return place, citations


@njit
def _document(data, begin, stop, marks, row, out, place):  # noqa: ANN001, ANN202, PLR0913
    """Copy the lines of one document that stay; the place after them, and how many citations went."""
    citations = 0
    while begin < stop:
        end, after = line_break(data, begin, stop)
        scan = scan_line(data, begin, end, marks.flags, row)
        if scan.tokens:
            booked = shape(data, scan, marks.max_word_chars, marks.min_line_words)
            if booked == KEPT_LINES:
                booked = content(phrases_in(data, scan.first, scan.last, marks.phrases), scan.seen)
            row[booked] += 1
            if booked in (KEPT_LINES, KEPT_LOREM_IPSUMS, KEPT_CURLY_BRACKETS):
                place, found = _copy(data, scan.first, scan.last, scan.seen & BRACKET != 0, out, place)
                citations += found
                out[place] = _FEED
                place += 1
        begin = after
    return place, citations


@njit
def _documents(texts, marks, rows, out, offsets, citations):  # noqa: ANN001, ANN202
    data, begins, stops = texts
    for number in range(len(begins)):
        offsets[number + 1], citations[number] = _document(
            data, begins[number], stops[number], marks, rows[number], out, offsets[number]
        )


def _chunk(chunk: pa.Array, marks: Marks, rows: NDArray[np.int64], citations: NDArray[np.int64]) -> pa.Array:
    (texts,) = text_buffers(chunk)
    _, begins, stops = texts
    out = np.empty(int((stops - begins).sum()) + len(chunk), np.uint8)
    offsets = np.zeros(len(chunk) + 1, np.int64)
    _documents(texts, marks, rows, out, offsets, citations)
    valid = None if not chunk.null_count else pa.array(np.asarray(chunk.is_valid())).buffers()[1]
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(out[: offsets[-1]])]
    return pa.Array.from_buffers(pa.large_string(), len(chunk), buffers, chunk.null_count)


def cleaned(text: Text, wanted: Wanted) -> tuple[pa.ChunkedArray, dict[str, NDArray[np.int64]]]:
    """The lines of every document that stay, and counts of what went."""
    marks = marks_of(wanted, np.empty(0, np.uint64), False)
    rows = np.zeros((len(text), len(COUNTS)), np.int64)
    citations = np.zeros(len(text), np.int64)
    chunks, first = [], 0
    for chunk in text.chunks if isinstance(text, pa.ChunkedArray) else [text]:
        here = slice(first, first + len(chunk))
        chunks.append(_chunk(chunk, marks, rows[here], citations[here]))
        first += len(chunk)
    removed = {name: rows[:, COUNTS.index(name)] for name in REMOVED}
    whole = pc.utf8_trim_whitespace(pa.chunked_array(chunks, pa.large_string()))
    return whole, {**removed, CITATIONS: citations}
