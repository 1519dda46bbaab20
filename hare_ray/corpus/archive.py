"""The records of a WARC, WET or ARC file, with their byte offsets, past whatever is broken in between.

Any stretch [start, end) of the stored bytes may be asked for. It holds the records that begin in it, so that the
stretches of any cut hold every record once, in order, and so do their reports of damage:

    plain         a record opens where its first line is recognised; it is whole where its length leads to the line
                  ends that the format puts behind a block, and is one broken record otherwise
    members       gzip members or zstd and lz4 frames of one record each. A member opens where its magic number
                  stands and the first inflated bytes open a record
    one whole     compressed against the standard: one member, or members cut at will. Every stretch inflates from
                  the beginning. A record belongs to the stretch that holds the stored position at which the piece of
                  inflated bytes with its first byte was asked for, and that is its offset

Behind something broken, reading goes on at the next opening. Bytes between records (other than padding) are one
broken record, which belongs to the stretch of the record before. All of this depends on the bytes alone, never on
where a stretch begins: from there, the next opening is looked for. What is quoted in a record (a WARC inside a page)
looks the same as a record; so reading begins up to `LOOK_BACK_BYTES` before the stretch, where the record that holds
the quote opens and leads past it. Only an archive quoted in a record that is longer than that, and cut inside, would
give its records.

FastWARC parses faster, but ends for good at the first broken byte, and inflates a bomb to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from hare_ray.corpus.grammar import (
    ARC,
    GRAMMARS,
    HEADER_BYTES,
    OPENING_BYTES,
    PAGES,
    UNENDED,
    WARC,
    Grammar,
    Header,
    parse,
)
from hare_ray.corpus.inflate import GZIP, LZ4, MAGIC, PLAIN, ZSTD, Inflater, Piece, codec_of, skippable
from hare_ray.corpus.stream import BombError, Inflated, PlainText, Text, cut
from hare_ray.corpus.window import PADDING, SCAN_BYTES, Window

LOOK_BACK_BYTES = 1 << 20
"""Longer than all but one web page in ten thousand."""
END = 1 << 62
SHORT_BYTES = 1 << 12
"""Most headers are shorter."""
FIRST_SCAN_BYTES = 2 * OPENING_BYTES
"""Where the next opening is looked for first; twice as far with every step, so that a near one costs little."""
ENDINGS = {".gz": GZIP, ".zst": ZSTD, ".lz4": LZ4}


class Record(NamedTuple):
    """A record, or what is wrong at that offset. `block` is cut where it is longer than was asked for."""

    offset: int
    header: Header | None = None
    block: bytes = b""
    error: str = ""
    bomb: bool = False


class _Step(NamedTuple):
    """A record, and where the next may begin; None: to be looked for."""

    record: Record
    next: int | None


class Archive:
    """One file; `most`: bytes of a block to keep, longer ones keep their beginning."""

    def __init__(self, file: BinaryIO, name: str, start: int, end: int, most: int) -> None:
        self.window = Window(file, start, end)
        self.start, self.end, self.most = start, self.window.end, most
        ending = next((codec for suffix, codec in ENDINGS.items() if name.lower().endswith(suffix)), PLAIN)
        head = self.window.get(0, OPENING_BYTES)
        dictionary_first = skippable(self.window, 0) is not None
        self.codec = codec_of(head) or (ending if dictionary_first or not _opens_any(head) else PLAIN)
        self.inflater = Inflater(self.window, self.codec) if self.codec else None
        first = self._inflated(0).peek(0, OPENING_BYTES) if self.inflater and self.inflater.begins(0) else head
        by_name = ARC if ".arc" in name.lower() else WARC
        self.grammar = next((g for g in GRAMMARS if g.opening.match(first)), by_name)

    def records(self) -> Iterator[Record]:
        """All records, of any type, that begin in the stretch."""
        if self.window.first_byte(0) is None:
            if self.start == 0:
                yield Record(0, error="an empty file")
            return
        whole = self.inflater is not None and self._one_whole(self.inflater)
        steps = (
            self._whole(self.inflater)
            if whole and self.inflater
            else self._chain(self._members if self.inflater else self._plain)
        )
        yield from steps

    # Openings

    def _opens(self, position: int) -> bool:
        if self.inflater is None:
            return self.grammar.opening.match(self.window.get(position, OPENING_BYTES)) is not None
        return self.inflater.begins(position) and self._opens_inside(position)

    def _opens_inside(self, position: int) -> bool:
        if self.inflater is None:
            return False
        return self.grammar.opening.match(self.inflater.opening(position, self.grammar.opening_bytes)) is not None

    def _next_opening(self, position: int, limit: int) -> int | None:
        """The first opening in [position, limit)."""
        step = FIRST_SCAN_BYTES
        while position < limit:
            begin = max(position - 1, 0)  # an ARC record opens behind a line end
            block = self.window.get(begin, min(step, limit - begin) + OPENING_BYTES)
            reach = min(begin + step, limit)
            for found in self._candidates(block):
                at = begin + found
                if position <= at < reach and (self.inflater is None or self._opens_inside(at)):
                    return at
            position = max(reach, position + 1)
            step = min(2 * step, SCAN_BYTES)
        return None

    def _candidates(self, block: bytes) -> Iterator[int]:
        if self.inflater is None:
            yield from (match.start() for match in self.grammar.found.finditer(block))
            return
        at = block.find(MAGIC[self.codec])
        while at >= 0:
            yield at
            at = block.find(MAGIC[self.codec], at + 1)

    # Files that can be cut

    def _chain(self, read: Callable[[int], Iterator[_Step]]) -> Iterator[Record]:
        begin: int | None = 0
        if self.start:
            begin = self._next_opening(max(self.start - LOOK_BACK_BYTES, 0), self.start)
            begin = self._next_opening(self.start, self.end) if begin is None else begin
        owner = begin or 0
        while begin is not None:
            at = self._behind_padding(begin)
            if at is None:
                return
            if self._opens(at):
                if at >= self.end:
                    return
                owner, begin = at, None
                for step in read(at):
                    begin = step.next
                    if owner >= self.start:
                        yield step.record
                begin = self._next_opening(at + 1, self.end) if begin is None else begin
                continue
            if owner >= self.start:
                yield Record(at, error=f"no {self.grammar.name} record opens here")
            begin = self._next_opening(at + 1, self.end)

    def _behind_padding(self, position: int) -> int | None:
        at = self.window.first_byte(position)
        while at is not None and self.codec and (end := skippable(self.window, at)) is not None:
            at = self.window.first_byte(end)
        return at

    def _plain(self, position: int) -> Iterator[_Step]:
        yield _step(PlainText(self.window), self.grammar, position, self.most, alone=False)

    def _members(self, position: int) -> Iterator[_Step]:
        """The records of the member at `position`: one, as a rule."""
        text, at = self._inflated(position), 0
        while True:
            record, behind = _step(text, self.grammar, at, self.most, alone=True)
            record = record._replace(offset=position)
            more = None if behind is None else _behind_padding(text, behind)
            if more is None:
                break
            yield _Step(record, None)
            at = more
            if not self.grammar.opening.match(text.peek(at, OPENING_BYTES)):
                record = Record(position, error=f"no {self.grammar.name} record opens behind the first one")
                break
        text.reaches(END)
        if text.error is not None and not record.error and not cut(text.error):
            record = _damaged(record, text)
        ends_at = self.inflater.ends_at if self.inflater and text.error is None else None
        yield _Step(record, ends_at)

    def _inflated(self, position: int) -> Inflated:
        assert self.inflater is not None
        return Inflated(self.inflater.pieces(position), self.most)

    # Files compressed as one whole

    def _one_whole(self, inflater: Inflater) -> bool:
        """Whether the first member holds more, or less, than one record."""
        position = self._behind_padding(0)
        if position is None or not self._opens(position):
            return False
        text = self._inflated(position)
        record, behind = _step(text, self.grammar, 0, 0, alone=True)
        if behind is not None:
            rest = text.peek(behind, OPENING_BYTES).lstrip(PADDING)
            return bool(rest)
        after = inflater.ends_at
        return (
            text.error is None
            and record.header is not None
            and after is not None
            and after < self.window.size
            and (inflater.begins(after) and not self._opens(after))
        )

    def _run(self, inflater: Inflater, position: int) -> Iterator[Piece]:
        """The pieces of the members from `position` on, one behind another."""
        at: int | None = position
        while at is not None and inflater.begins(at):
            yield from inflater.pieces(at)
            at = inflater.ends_at and self._behind_padding(inflater.ends_at)

    def _whole(self, inflater: Inflater) -> Iterator[Record]:
        begin: int | None = self._behind_padding(0)
        while begin is not None and begin < self.end:
            text = Inflated(self._run(inflater, begin), self.most)
            last = Record(begin)
            for last in self._texts(text):
                if last.offset >= self.end:
                    return
                if last.offset >= self.start:
                    yield last
            place, ended = max(text.place, last.offset, begin), inflater.ends_at
            if text.error is not None:
                damaged = _damaged(Record(place), text)
            else:
                stop = None if ended is None else self._behind_padding(ended)
                if stop is None:
                    return
                damaged = Record(stop, error=f"no {self.grammar.name} record opens here")
            if not (text.error and last.error) and self.start <= damaged.offset < self.end:
                yield damaged
            begin = self._next_opening(damaged.offset + 1, self.end)

    def _texts(self, text: Inflated) -> Iterator[Record]:
        """The records of an inflated text."""
        at = _behind_padding(text, 0)
        while at is not None:
            place = text.stored(at)
            if not self.grammar.opening.match(text.peek(at, OPENING_BYTES)):
                record, behind = Record(place, error=f"no {self.grammar.name} record opens here"), None
            else:
                record, behind = _step(text, self.grammar, at, self.most, alone=False)
            yield record._replace(offset=place)
            if behind is None:
                behind = None if text.error else self._find(text, max(at, text.base) + 1)
            at = None if behind is None else _behind_padding(text, behind)

    def _find(self, text: Inflated, at: int) -> int | None:
        """The next opening of an inflated text."""
        step = FIRST_SCAN_BYTES
        while True:
            block = text.peek(at - 1, step)
            match = self.grammar.found.search(block, 1)
            if match:
                return at - 1 + match.start()
            if len(block) < step:
                return None
            at += step - OPENING_BYTES
            step = min(2 * step, SCAN_BYTES)
            text.mark(at - 1)


def _behind_padding(text: Inflated, position: int) -> int | None:
    """The first byte from `position` on that is no padding, marked; None: there is none."""
    while rest := text.peek(position, OPENING_BYTES):
        filled = rest.lstrip(PADDING)
        position += len(rest) - len(filled)
        text.mark(position)
        if filled:
            return position
    return None


def _opens_any(head: bytes) -> bool:
    return any(grammar.opening.match(head) for grammar in GRAMMARS)


def _damaged(record: Record, text: Text) -> Record:
    return record._replace(block=b"", error=str(text.error), bomb=isinstance(text.error, BombError))


def _step(text: Text, grammar: Grammar, position: int, most: int, alone: bool) -> _Step:
    """The record that opens at `position`; `alone`: its member ends where it ends."""
    header = parse(grammar, text.peek(position, SHORT_BYTES))
    if header == UNENDED:
        header = parse(grammar, text.peek(position, HEADER_BYTES))
    if isinstance(header, str):
        broken = Record(position, error=header)
        return _Step(_damaged(broken, text) if text.error else broken, None)
    begin = position + header.bytes
    end = begin + header.length
    wanted = header.length if header.length <= most + HEADER_BYTES else HEADER_BYTES
    block = text.peek(begin, wanted) if header.kind in PAGES else b""
    record = Record(position, header, block)
    if not text.reaches(end):
        if text.error:
            return _Step(_damaged(record, text), None)
        said = f"the file ends before the {header.length} bytes that the record declares"
        return _Step(record._replace(block=b"", error=said), None)
    if alone or _ends(text, grammar, end):
        return _Step(record, end)
    return _Step(record._replace(block=b"", error="what lies behind the record is no end of one"), None)


def _ends(text: Text, grammar: Grammar, end: int) -> bool:
    behind = text.peek(end, OPENING_BYTES)
    rest = behind.lstrip(PADDING)
    if not rest or behind.startswith(grammar.ends):
        return True
    return grammar is WARC and WARC.opening.match(rest) is not None  # the line of an ARC record needs a line end before
