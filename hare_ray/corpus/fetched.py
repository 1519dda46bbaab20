"""One fetched record on its way into a table, and why it may not get there.

    reason            meaning                                             detail
    not_200           the server answered neither 200 nor a redirect      status
    redirect          301, 302, 303, 307, 308                             where to
    revisit           the crawler saw the same bytes again                -
    not_html          neither HTML nor plain text                         declared media type
    empty_payload     nothing, or white space only                        -
    too_large         more bytes than allowed, as stored or decompressed  the limit, in bytes
    compression_bomb  the same, and over 100 times the stored bytes       how many times, or how much
    bad_record        a broken record or file                             what the parser said
    unknown_format    a file of no format that can be read, by its name   what can be
    bad_row           a row without a text                                what is wrong
    not_sampled       outside the sample                                  -

The id is the xxh3-128 of URL and payload, each with its length in front, so that no two pairs give the same
bytes. The file is no part of it: the same record has one id in every file that holds it, which is how
deduplication knows it again, and cutting a crawl into other files changes no id. A record without a URL goes
by `file#row`, so rows without one stay apart. A record whose payload was never read has file name and offset
in place of the payload (behind a length that no payload has), so that such drops stay apart too.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.schema import DETAIL, REASON, RECORD

NOT_200 = "not_200"
REDIRECT = "redirect"
REVISIT = "revisit"
NOT_HTML = "not_html"
EMPTY_PAYLOAD = "empty_payload"
TOO_LARGE = "too_large"
COMPRESSION_BOMB = "compression_bomb"
BAD_RECORD = "bad_record"
UNKNOWN_FORMAT = "unknown_format"
BAD_ROW = "bad_row"
NOT_SAMPLED = "not_sampled"
WHATEVER_THE_SAMPLE = (BAD_RECORD, UNKNOWN_FORMAT, BAD_ROW)
"""Reasons that are reported for every record or file they hold for."""

HTML = "text/html"
PLAIN = "text/plain"
PAYLOAD = "payload"
READ = pa.schema([*RECORD, REASON, DETAIL])

LENGTH_BYTES = 8
NEVER_READ = b"\xff" * LENGTH_BYTES
"""Stands where the length of the payload stands: no payload is 2**64 - 1 bytes long."""
SAMPLE_SEED = 0x5A3B1E
"""Keeps the sample apart from every other choice that is made by hashing ids."""


class Fetched(NamedTuple):
    """A record as a format's reader hands it over; `payload` is None where a `reason` says why."""

    url: str
    offset: int
    payload: bytes | None
    media: str = PLAIN
    charset: str | None = None
    title: str | None = None
    reason: str | None = None
    detail: str | None = None
    license: str | None = None
    robots: str | None = None


def record_id(file: str, fetched: Fetched) -> bytes:
    """16 bytes that name the record.

    A payload that came without a URL, and goes by its place, has an id of its own alone: the same in whatever file.
    """
    without = bool(fetched.payload) and fetched.url == f"{file}#{fetched.offset}"
    url = b"" if without else fetched.url.encode("utf-8", "surrogatepass")
    if fetched.payload is None:
        name = file.encode("utf-8", "surrogatepass")
        offset = fetched.offset.to_bytes(LENGTH_BYTES, "little", signed=True)
        return xxhash.xxh3_128_digest(b"".join((_length(url), url, NEVER_READ, _length(name), name, offset)))
    hasher = xxhash.xxh3_128(b"".join((_length(url), url, _length(fetched.payload))))
    hasher.update(fetched.payload)
    return hasher.digest()


def _length(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "little")


def sampled(identity: bytes, share: float) -> bool:
    """Whether the record is in the sample; a larger share holds every smaller one."""
    return xxhash.xxh3_64_intdigest(identity, seed=SAMPLE_SEED) < share * 2.0**64


Item = TypeVar("Item")


class Wanted:
    """Which records of a stretch are asked for, by their number in it; None: all."""

    def __init__(self, rows: frozenset[int] | None) -> None:
        self.rows = rows

    def of(self, found: Iterable[Item]) -> Iterator[Item]:
        """The wanted ones; nothing behind the last of them is looked at."""
        if self.rows is None:
            yield from found
            return
        left = len(self.rows)
        for row, item in enumerate(found if left else ()):
            if row in self.rows:
                yield item
                left -= 1
                if not left:
                    return


class Columns:
    """Collects records column by column; payloads go into one buffer that the table then stands on."""

    def __init__(self, sample: float) -> None:
        self.sample = sample
        self.columns: dict[str, list[Any]] = {name: [] for name in READ.names if name != PAYLOAD}
        self.payloads = bytearray()
        self.ends = array("q", [0])
        self.absent = bytearray()

    def extend(self, file: str, records: Iterable[Fetched]) -> None:
        """Add the records of one file, in order; broken ones are reported whatever the sample."""
        # By position, in the order of READ: a call for every column of every record would cost as much as parsing it.
        appends = [column.append for column in self.columns.values()]
        for fetched in records:
            identity = record_id(file, fetched)
            reason, detail = fetched.reason, fetched.detail
            if self.sample < 1 and reason not in WHATEVER_THE_SAMPLE and not sampled(identity, self.sample):
                reason, detail = NOT_SAMPLED, None
            values = (
                identity,
                fetched.url,
                file,
                fetched.offset,
                fetched.media,
                fetched.charset,
                fetched.title,
                fetched.license,
                fetched.robots,
                reason,
                detail,
            )
            for append, value in zip(appends, values, strict=True):
                append(value)
            kept = reason is None and fetched.payload is not None
            if kept:
                self.payloads += fetched.payload or b""
            self.ends.append(len(self.payloads))
            self.absent.append(not kept)

    def table(self) -> pa.Table:
        """Everything collected, under `READ`."""
        valid = pa.array(np.frombuffer(self.absent, np.bool_) == 0).buffers()[1]
        payloads = pa.Array.from_buffers(
            pa.large_binary(), len(self.absent), [valid, pa.py_buffer(self.ends), pa.py_buffer(self.payloads)]
        )
        arrays = [
            payloads if field.name == PAYLOAD else pa.array(self.columns[field.name], field.type) for field in READ
        ]
        return pa.table(arrays, schema=READ)


def complete(fetched: Fetched, max_payload_bytes: int) -> Fetched:
    """`fetched`, or the same with a reason where its payload is empty or too large."""
    payload = fetched.payload
    if fetched.reason is not None or payload is None:
        return fetched
    if len(payload) > max_payload_bytes:
        return fetched._replace(payload=None, reason=TOO_LARGE, detail=f"over {max_payload_bytes} bytes")
    if not payload or payload.isspace():
        return fetched._replace(reason=EMPTY_PAYLOAD)
    return fetched
