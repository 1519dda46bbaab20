"""Hosts and URLs as 64-bit hashes: a block list in memory, and a column of URLs looked up in it.

An entry is its normal form, hashed:

    host    lower case, no user, port, trailing dot or leading `www.`; a pair of letters outside ASCII is hashed as
            it is, so names in other scripts are brought to their ASCII form (IDNA) before
    URL     the host, then the path as it stands, without `/` at its end; the scheme says nothing

A host is hashed from its end, so that one pass gives the hash of every parent domain on its way: of a.b.example it
asks for `example`, `b.example` and `a.b.example`. A path is hashed on from the host, and asked for at every `/`,
`?`, `#` and at the end, so /bad blocks /bad/x and /bad?x but not /badger.

`Index` is the sorted hashes and, for the top bits of a hash, where those with such top bits begin: eight bytes an
entry and one more, two memory reads a question. A false hit has a probability of 2^-64 per entry and question.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import SEED, Int, finish, mix

ENTRIES_PER_BUCKET = 8
"""One cache line of hashes."""
MAX_HOST_BYTES = 253
"""RFC 1035; a longer one is none, and looking at its end would be quadratic in nothing."""

_DOT, _SLASH, _QUERY, _FRAGMENT, _COLON, _AT, _HASH, _NEWLINE = (ord(c) for c in "./?#:@#\n")
_PIPE, _CARET, _BACKSLASH = (ord(c) for c in "|^\\")
_UPPER_A, _UPPER_Z = ord("A"), ord("Z")
_W = ord("w")
_OPEN = ord("[")


class Index(NamedTuple):
    """A set of hashes."""

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]
    shift: np.uint64


def index(hashes: NDArray[np.uint64]) -> Index:
    """The set of `hashes`."""
    hashes = np.sort(hashes)  # numpy's `unique` hashes first and takes several times as long
    hashes = hashes[np.concatenate([np.ones(min(1, len(hashes)), bool), hashes[1:] != hashes[:-1]])]
    bits = max(1, int(len(hashes) // ENTRIES_PER_BUCKET).bit_length())
    shift = np.uint64(64 - bits)
    filled = np.bincount((hashes >> shift).astype(np.int64), minlength=2**bits)
    return Index(hashes, np.concatenate([np.zeros(1, np.int64), np.cumsum(filled)]), shift)


@njit
def _holds(entries: Index, value: np.uint64) -> bool:
    bucket = np.int64(value >> entries.shift)
    for place in range(entries.starts[bucket], entries.starts[bucket + 1]):  # noqa: SIM110 - numba knows no generators
        if entries.hashes[place] == value:
            return True
    return False


@njit
def _host(data: NDArray[np.uint8], at: Int, stop: Int) -> tuple[Int, Int, Int]:
    """Begin and end of the host of the URL [at, stop), and where its path begins; a scheme may be missing."""
    for place in range(at, stop - 2):
        if data[place] == _COLON and data[place + 1] == _SLASH and data[place + 2] == _SLASH:
            at = place + 3
            break
        if data[place] in (_SLASH, _DOT, _QUERY, _AT):
            break
    path = at
    while path < stop and data[path] not in (_SLASH, _QUERY, _FRAGMENT, _BACKSLASH):
        if data[path] == _AT:
            at = path + 1
        path += 1
    end = at
    while end < path and (data[end] != _COLON or data[at] == _OPEN):
        end += 1
    while end > at and data[end - 1] == _DOT:
        end -= 1
    if end - at > 4 and data[at] | 32 == _W and data[at + 1] | 32 == _W and data[at + 2] | 32 == _W:
        at += 4 * (data[at + 3] == _DOT)
    return at, end, path


@njit
def _lower(byte: np.uint8) -> np.uint64:
    return np.uint64(byte + 32 * (_UPPER_A <= byte <= _UPPER_Z))


@njit
def _entry(data: NDArray[np.uint8], at: Int, stop: Int) -> tuple[np.uint64, bool | np.bool_]:
    """Hash of the entry [at, stop), and whether it has a path."""
    at, end, path = _host(data, at, stop)
    state = SEED
    for place in range(end - 1, at - 1, -1):
        state = mix(state, _lower(data[place]))
    while stop > path and data[stop - 1] == _SLASH:
        stop -= 1
    for place in range(path, stop):
        state = mix(state, np.uint64(data[place]))
    return finish(state), stop > path


@njit
def _trimmed(data: NDArray[np.uint8], at: Int, stop: Int) -> tuple[Int, Int]:
    """The entry in the line [at, stop): no comment, white space, address of a hosts file, or filter marks."""
    end = at
    while end < stop and not (data[end] == _HASH and (end == at or data[end - 1] <= 32)):
        end += 1
    while end > at and data[end - 1] <= 32:
        end -= 1
    begin = end
    while begin > at and data[begin - 1] > 32:  # the last word: a hosts file has the address before it
        begin -= 1
    while begin < end and data[begin] in (_PIPE, _DOT):
        begin += 1
    if end > begin and data[end - 1] == _CARET:
        end -= 1
    return begin, end


@njit
def parse(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hashes of the hosts and of the URLs in a file with one entry a line."""
    lines = np.int64(1)
    for byte in data:
        lines += byte == _NEWLINE
    hashes = np.empty(lines, np.uint64)
    hosts = np.int64(0)
    urls = lines
    at = np.int64(0)
    while at < len(data):
        stop = at
        while stop < len(data) and data[stop] != _NEWLINE:
            stop += 1
        begin, end = _trimmed(data, at, stop)
        if end > begin:
            value, path = _entry(data, begin, end)
            if path:
                urls -= 1
                hashes[urls] = value
            else:
                hashes[hosts] = value
                hosts += 1
        at = stop + 1
    return hashes[:hosts].copy(), hashes[urls:].copy()


@njit
def _find(data: NDArray[np.uint8], at: Int, stop: Int, hosts: Index, urls: Index) -> tuple[Int, Int, Int]:
    """Begin and end of what is blocked in the URL [at, stop), and 1 for its host, 2 for the URL; all 0 for nothing."""
    at, end, path = _host(data, at, stop)
    if end - at > MAX_HOST_BYTES:
        return 0, 0, 0
    state = SEED
    for place in range(end - 1, at - 1, -1):
        if data[place] == _DOT and _holds(hosts, finish(state)):
            return place + 1, end, 1
        state = mix(state, _lower(data[place]))
    if end > at and _holds(hosts, finish(state)):
        return at, end, 1
    if len(urls.hashes):
        for place in range(path, stop):
            ends = data[place] in (_SLASH, _QUERY, _FRAGMENT)
            if ends and place > path and _holds(urls, finish(state)):
                return at, place, 2
            state = mix(state, np.uint64(data[place]))
        if stop > path and _holds(urls, finish(state)):
            return at, stop, 2
    return 0, 0, 0


@njit
def look_up(data, begins, stops, hosts, urls, found):  # noqa: ANN001, ANN201
    """Write what `_find` says of every URL into `found`, int64[urls, 3]; places count from its own beginning."""
    for row in range(len(begins)):
        begin, end, kind = _find(data, begins[row], stops[row], hosts, urls)
        found[row, 0] = begin - begins[row]
        found[row, 1] = end - begins[row]
        found[row, 2] = kind
