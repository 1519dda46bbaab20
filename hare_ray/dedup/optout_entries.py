"""Lists of who wants to be left out, and the form in which URLs are compared with them.

One entry a line; a line that begins with `{` is a JSON object, other lines are text, with `#` before comments.

    text                         JSON                          covers
    https://example.org/page     {"url": "https://..."}        this page
    example.org                  {"host": "example.org"}       the host and its subdomains
    32 hex digits                {"id": "..."}                 the record

A URL of nothing but a host, as text, means the host: who asks for https://example.org/ means the site. As JSON it is
the page it names. Objects may have further members (a date, a name), which are not read. A host may be written
`*.example.org` or `.example.org`; the domain itself is covered too.

URLs are compared without scheme, user, port, leading `www.`, fragment and `/` at the end; hosts in lower case and as
IDNA writes them. The path counts as it stands, with the query. Lists and documents go through the same expression, so
what is written alike is compared alike.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

URL, HOST, ID = "url", "host", "id"

SITE = "site"
"""A host written with www: that site alone, since www.gov.uk does not speak for all of gov.uk."""

_PARTS = (
    r"(?s)^(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):/+)?(?:[^/?#\\@]*@)?(?:[wW]{3}\.)?"
    r"(?P<host>\[[^\]/?#]*\]|[^/?#\\:]*?)\.*(?::[0-9]*)?(?P<path>[/?\\][^#]*)?(?:#.*)?$"
)
_ID = re.compile(r"[0-9a-fA-F]{32}")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)+")
"""With a dot, as RFC 1123 has it; the underscore is no host's by the letter but some have it."""
_WWW = re.compile(r"(?i)(?:[a-z][a-z0-9+.\-]*:/+)?(?:[^/?#\\@]*@)?www\.")
_COMMENT = re.compile(r"(^|\s)#.*")


@dataclass(frozen=True)
class Entry:
    """One request."""

    name: str
    """As it was written."""
    kind: str
    value: str
    """The normal form; of an id, lower-case hex."""


def normal(urls: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Hosts and whole URLs in the form that is compared; a URL that is none stands as it is, with no host."""
    parts = pc.extract_regex(urls, _PARTS)
    hosts = pc.utf8_lower(pc.struct_field(parts, "host"))
    beyond = pc.fill_null(pc.invert(pc.string_is_ascii(hosts)), False)
    if pc.any(beyond).as_py():
        changed = [_ascii(host) for host in hosts.filter(beyond).to_pylist()]
        hosts = pc.replace_with_mask(hosts, beyond, pa.array(changed, hosts.type))
    paths = pc.utf8_rtrim(pc.struct_field(parts, "path"), "/")
    whole = pc.binary_join_element_wise(hosts, paths, "")
    return pc.fill_null(hosts, ""), pc.coalesce(whole, urls)


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:  # no name that could be registered; compared as it is
        return host


def parse(path: Path) -> list[Entry]:
    """The entries of a file, which may be gzipped; raises ValueError that names the line of a malformed one."""
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    asked = []
    for number, line in enumerate(lines, 1):
        with _malformed(path, number, line):
            asked += [(number, *one) for one in [_asked(line.decode().strip())] if one]
    column = pa.array([re.sub(r"^\*?\.", "", text) for _, _, text in asked], pa.string())
    parts = pc.extract_regex(column, _PARTS).to_pylist()
    entries = []
    for (number, kind, text), part, *normed in zip(asked, parts, *map(pa.Array.to_pylist, normal(column)), strict=True):
        with _malformed(path, number, lines[number - 1]):
            entries.append(_entry(kind, text, part or {"scheme": "", "path": ""}, (normed[0], normed[1])))
    return entries


@contextmanager
def _malformed(path: Path, number: int, line: bytes) -> Iterator[None]:
    """Say which line an error is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{path.name}, line {number}: given {line[:80]!r}: {error}; expected a URL, a host such as example.org, "
            'an id of 32 hex digits, or one of them as JSON: {"url": ...}, {"host": ...}, {"id": ...}'
        ) from error


def _asked(line: str) -> tuple[str | None, str] | None:
    """Kind, None where the text decides, and text of a line; None for comments and blank lines."""
    if not line.startswith("{"):
        text = _COMMENT.sub("", line).strip()
        kind = ID if _ID.fullmatch(text) else None
    else:
        members = json.loads(line)
        named = [name for name in (URL, HOST, ID) if name in members]
        if len(named) != 1 or not isinstance(members[named[0]], str):
            raise ValueError(f"it names {', '.join(named) or 'nothing'}")
        kind, text = named[0], members[named[0]]
    if re.search(r"\s", text):
        raise ValueError("white space inside")
    if kind == ID and not _ID.fullmatch(text):
        raise ValueError("no id")
    return (kind, text) if text or kind else None


def _entry(kind: str | None, text: str, part: dict[str, str], normed: tuple[str, str]) -> Entry:
    """The entry in its normal form; `normed`: host and whole URL."""
    if kind == ID:
        return Entry(text, ID, text.lower())
    host, whole = normed
    site = _HOST.fullmatch(host) is not None
    path = part["path"].strip("/")
    if kind is None:
        if not part["scheme"] and "@" in text.split("/")[0]:
            raise ValueError("an address of mail names no page")
        kind = URL if path or not site else HOST
    if kind == HOST and path:
        raise ValueError("a host has no path")
    if not (site or (kind == URL and part["scheme"] and host)):
        raise ValueError(f"{host!r} is no host")
    if kind == HOST and _WWW.match(text):
        kind = SITE
    return Entry(text, kind, whole if kind == URL else host)
