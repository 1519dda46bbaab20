"""E-mail addresses, telephone numbers and public IP addresses per document, for the rules to act on.

    personal(text) -> Personal(emails, phones, addresses), int64[documents] each; a null has none

The expressions run in RE2, whose time is linear in the text whatever a page contains, and only over
documents that hold a character without which there is no hit. They are made to count, not to find every
last one: an obfuscated address ("name at host") is not seen, and a version number of four parts is taken
for an address. Private, loopback, link-local, multicast and reserved addresses are nobody's and do not
count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

EMAIL = r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}\b"
"""Local part, @, and a host with at least one dot and a top-level domain of letters."""

PHONE = (
    r"(?:\+[0-9]{1,3}[ .-]?\(?[0-9]{1,4}\)?(?:[ .-]?[0-9]{2,4}){2,4}"
    r"|(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[.-][0-9]{4})\b"
)
"""International numbers with their plus; North American ones with brackets, dots or hyphens."""

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
ADDRESS = rf"\b{_OCTET}(?:\.{_OCTET}){{3}}\b"
"""Four numbers of at most 255."""

RESERVED = (
    rf"\b(?:(?:0|10|127|22[4-9]|2[34][0-9]|25[0-5])\.{_OCTET}|169\.254|192\.168|172\.(?:1[6-9]|2[0-9]|3[01]))"
    rf"\.{_OCTET}\.{_OCTET}\b"
)
"""Addresses in ranges that are not public."""


class Personal(NamedTuple):
    """Hits per document."""

    emails: NDArray[np.int64]
    phones: NDArray[np.int64]
    addresses: NDArray[np.int64]


def _hits(text: pa.Array, expression: str, sign: str) -> NDArray[np.int64]:
    """Matches of `expression` per document, looked for only where `sign`, a cheaper expression, is found."""
    hits = np.zeros(len(text), np.int64)
    candidates = np.flatnonzero(pc.fill_null(pc.match_substring_regex(text, sign), False).to_numpy(False))
    if len(candidates):
        found = pc.count_substring_regex(text.take(pa.array(candidates)), expression)
        hits[candidates] = found.to_numpy(zero_copy_only=False)
    return hits


def personal(text: pa.Array | pa.ChunkedArray) -> Personal:
    """Count what could lead to a person."""
    column = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    dotted = r"[0-9]\.[0-9]+\.[0-9]+\.[0-9]"
    addresses = _hits(column, ADDRESS, dotted) - _hits(column, RESERVED, dotted)
    return Personal(_hits(column, EMAIL, "@"), _hits(column, PHONE, r"[0-9][ .-][0-9]{4}|\+[0-9]"), addresses)
