"""Pages of blocked hosts, of blocked URLs, or with a banned word in their URL; the lists are the user's files.

    reason           meaning                                                           detail
    blocked_domain   the host or a parent domain of it is on a list                    which
    blocked_url      the URL or the beginning of its path, up to a / ? or #, is        which
    banned_word      a word of the URL (letters and digits in a row) is `banned_words`  -

One entry a line: a domain, a host or a URL, `#` before comments; the forms of hosts files (`0.0.0.0 a.example`)
and of filter lists (`||a.example^`) are understood. A folder in the layout of the UT1 lists (NAME/domains,
NAME/urls) can be given as it is; its regular expressions (NAME/expressions) are left out, as they judge what the
words do and would have to be tried one by one. How entries are compared: `blocklist_index`.
"""

from __future__ import annotations

import gzip
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.schema import DETAIL, REASON
from hare_ray.stage import Annotate, Files, PartFunction, Source, Table

if TYPE_CHECKING:
    from hare_ray.corpus.blocklist_index import Index

BLOCKED_DOMAIN = "blocked_domain"
BLOCKED_URL = "blocked_url"
BANNED_WORD = "banned_word"

LISTS = ("domains", "urls")
LIST_ENDINGS = (".txt", ".list", ".hosts", ".csv", ".gz")
LEFT_OUT = ("expressions", "usage", "very_restrictive_expression", "README", "LICENSE", "LICENSE.pdf", "global_usage")
"""Files of the UT1 lists that hold no entries."""


class BlockList(Annotate):
    """A verdict by URL."""

    docs: Table
    lists: Source | None
    """None: no list, only words."""
    banned_words: tuple[str, ...]

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    writes: ClassVar[pa.Schema] = pa.schema([REASON, DETAIL])
    reads: ClassVar[tuple[str, ...] | None] = ("url",)

    def __post_init__(self) -> None:
        """Refuse a stage that blocks nothing, and words that are none."""
        super().__post_init__()
        wrong = [word for word in self.banned_words if not re.fullmatch("[a-z0-9]+", word)]
        if wrong or (self.lists is None and not self.banned_words):
            raise ValueError(
                f"{self!r} is given lists {self.lists} and words {wrong or self.banned_words}; expected a source of "
                "lists, or words of lower-case letters a-z and digits"
            )

    def prepare(self, files: Files) -> PartFunction:
        """Read the lists."""
        from hare_ray.corpus.blocklist_index import index

        hosts, urls = (np.empty(0, np.uint64),) * 2 if self.lists is None else _read(self.lists, files(self.lists))
        return partial(_judge, self.banned_words, index(hosts), index(urls))


def _read(lists: Source, folder: Path) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hashes of all hosts and URLs in the files of a source; its folder may hold others."""
    from hare_ray.corpus.blocklist_index import parse

    found, none = [], np.empty(0, np.uint64)
    paths = [folder / entry.name for entry in lists.resolved[1]]
    for path in (path for path in paths if path.name not in LEFT_OUT):
        if path.name.endswith(".tar.gz") or (path.name not in LISTS and path.suffix not in LIST_ENDINGS):
            raise ValueError(
                f"{path.name} is no block list by its name; expected {', '.join(LISTS)} or an ending of "
                f"{' '.join(LIST_ENDINGS)}: unpack it, or name the lists alone in the source's location"
            )
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        found.append(parse(np.frombuffer(_ascii_hosts(data), np.uint8)))
    hosts, urls = (np.concatenate([none, *(one[kind] for one in found)]) for kind in (0, 1))
    if not len(hosts) + len(urls):
        raise ValueError(f"{lists!r} holds no entry; expected files with one domain or URL a line")
    return hosts, urls


_WORD = re.compile(rb"[^\s/?#:@|^\\]+")
MAX_HOST_BYTES = 4 * 253
"""A host has at most 253 letters (RFC 1035), of up to four bytes each."""


def _ascii_hosts(data: bytes) -> bytes:
    """`data` with hosts beyond ASCII, the first such word of a line or URL, as IDNA writes them."""
    if data.isascii():
        return data
    lines = data.split(b"\n")
    return b"\n".join(line if line.isascii() else _ascii_host(line) for line in lines)


def _ascii_host(line: bytes) -> bytes:
    scheme = line.find(b"://")
    start = scheme + 3 if scheme >= 0 else 0
    stop = min((place for mark in b"/?#\\" if (place := line.find(mark, start)) >= 0), default=len(line))
    return line[:start] + _WORD.sub(_to_ascii, line[start:stop]) + line[stop:]


def _to_ascii(host: re.Match[bytes]) -> bytes:
    if host[0].isascii() or len(host[0]) > MAX_HOST_BYTES:
        return host[0]
    try:
        return host[0].decode().encode("idna")
    except UnicodeError:  # no name that could be registered; compared as it is
        return host[0]


def _judge(words: tuple[str, ...], hosts: Index, urls: Index, docs: pa.Table) -> pa.Table:
    from hare_ray.corpus.blocklist_index import look_up
    from hare_ray.text import text_buffers

    column = docs["url"].combine_chunks()
    beyond = np.flatnonzero(pc.invert(pc.string_is_ascii(column)).to_numpy(zero_copy_only=False))
    if len(beyond):
        mask = np.zeros(len(column), bool)
        mask[beyond] = True
        changed = [_ascii_host(one.encode()).decode() for one in column.take(pa.array(beyond)).to_pylist()]
        column = pc.replace_with_mask(column, pa.array(mask), pa.array(changed, column.type))
    found = np.zeros((len(column), 3), np.int64)
    for data, begins, stops in text_buffers(column):
        look_up(data, begins, stops, hosts, urls, found)
    reasons = np.array([None, BLOCKED_DOMAIN, BLOCKED_URL], object)[found[:, 2]]
    details = np.full(len(column), None, object)
    for row in np.flatnonzero(found[:, 2]):
        details[row] = column[row].as_py().encode()[found[row, 0] : found[row, 1]].decode().lower()
    reason = pa.array(reasons, pa.string())
    if words:
        expression = rf"(?i)(?:^|[^a-z0-9])(?:{'|'.join(words)})(?:[^a-z0-9]|$)"
        banned = pc.match_substring_regex(column, expression)
        reason = pc.coalesce(reason, pc.if_else(banned, BANNED_WORD, None).cast(pa.string()))
    return pa.table({"reason": reason, "detail": pa.array(details, pa.string())})
