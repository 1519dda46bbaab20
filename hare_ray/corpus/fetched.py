"""One fetched record on its way into a table, and why it may not get there.

    reason         meaning                                             detail
    not_200        the server answered neither 200 nor a redirect      status
    redirect       301, 302, 303, 307, 308                             where to
    revisit        the crawler saw the same bytes again                -
    not_html       neither HTML nor plain text                         declared media type
    empty_payload  nothing, or white space only                        -
    too_large      more bytes than allowed, as stored or decompressed  the limit, in bytes
    bad_record     a broken record or file                             what the parser said
    bad_row        a row without a text                                what is wrong
    not_sampled    outside the sample                                  -

The id is the xxh3-128 of URL and payload, each with its length in front, so that no two pairs give the same
bytes. The file is no part of it: the same record has one id in every file that holds it, which is how
deduplication knows it again, and cutting a crawl into other files changes no id. A record without a URL goes
by `file#row`, so rows without one stay apart. A record whose payload was never read has file name and offset
in place of the payload (behind a length that no payload has), so that such drops stay apart too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa
import xxhash

from hare_ray.schema import DETAIL, REASON, RECORD

NOT_200 = "not_200"
REDIRECT = "redirect"
REVISIT = "revisit"
NOT_HTML = "not_html"
EMPTY_PAYLOAD = "empty_payload"
TOO_LARGE = "too_large"
BAD_RECORD = "bad_record"
BAD_ROW = "bad_row"
NOT_SAMPLED = "not_sampled"

HTML = "text/html"
PLAIN = "text/plain"
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


def record_id(file: str, fetched: Fetched) -> bytes:
    """16 bytes that name the record."""
    hasher = xxhash.xxh3_128()
    _update(hasher, fetched.url.encode("utf-8", "surrogatepass"))
    if fetched.payload is None:
        hasher.update(NEVER_READ)
        _update(hasher, file.encode("utf-8", "surrogatepass"))
        hasher.update(fetched.offset.to_bytes(LENGTH_BYTES, "little", signed=True))
    else:
        _update(hasher, fetched.payload)
    return hasher.digest()


def _update(hasher: xxhash.xxh3_128, data: bytes) -> None:
    """Hash the length of `data`, then `data`."""
    hasher.update(len(data).to_bytes(LENGTH_BYTES, "little"))
    hasher.update(data)


def sampled(identity: bytes, share: float) -> bool:
    """Whether the record is in the sample; a larger share holds every smaller one."""
    return xxhash.xxh3_64_intdigest(identity, seed=SAMPLE_SEED) < share * 2.0**64


class Columns:
    """Collects records column by column."""

    def __init__(self, sample: float) -> None:
        self.sample = sample
        self.columns: dict[str, list[bytes | str | int | None]] = {name: [] for name in READ.names}

    def extend(self, file: str, records: Iterable[Fetched]) -> None:
        """Add the records of one file, in order; broken ones are reported whatever the sample."""
        for fetched in records:
            identity = record_id(file, fetched)
            reason, detail = fetched.reason, fetched.detail
            if reason not in (BAD_RECORD, BAD_ROW) and not sampled(identity, self.sample):
                reason, detail = NOT_SAMPLED, None
            self._append(
                identity,
                fetched.url,
                file,
                fetched.offset,
                fetched.media,
                fetched.charset,
                fetched.title,
                fetched.payload if reason is None else None,
                reason,
                detail,
            )

    def _append(self, *values: bytes | str | int | None) -> None:
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)

    def table(self) -> pa.Table:
        """Everything collected, under `READ`."""
        arrays = [pa.array(self.columns[field.name], field.type) for field in READ]
        return pa.table(arrays, schema=READ)


def complete(fetched: Fetched, max_payload_bytes: int) -> Fetched:
    """`fetched`, or the same with a reason where its payload is empty or too large."""
    payload = fetched.payload
    if fetched.reason is not None or payload is None:
        return fetched
    if len(payload) > max_payload_bytes:
        return fetched._replace(payload=None, reason=TOO_LARGE, detail=f"over {max_payload_bytes} bytes")
    if not payload.strip():
        return fetched._replace(reason=EMPTY_PAYLOAD)
    return fetched
