"""What leads to a person or opens a door, per document: counted for the rules, found for `redact`.

    kind      name of the count   what                                                  how
    email     emails              e-mail addresses                                      `pii_signs`
    phone     phones              telephone numbers with + or in North American form    `pii_signs`
    address   addresses           public IP addresses, of versions 4 and 6              `pii_numbers`
    iban      ibans               bank accounts with the right checksum                 `pii_numbers`
    card      cards               payment cards of a known issuer, Luhn's sum right     `pii_numbers`
    secret    secrets             access tokens, JSON web tokens, private keys          `pii_signs`

    personal(text) -> Personal, int64[documents] of each; a null has none

It is made to count what is written plainly: an obfuscated address ("name at host") or a national number without
its code is not seen, and a version number of four parts that nobody calls one is taken for an IP address.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

KINDS = ("email", "phone", "address", "iban", "card", "secret")
EMAIL, PHONE, ADDRESS, IBAN, CARD, SECRET = range(len(KINDS))


class Personal(NamedTuple):
    """Hits per document, in the order of KINDS."""

    emails: NDArray[np.int64]
    phones: NDArray[np.int64]
    addresses: NDArray[np.int64]
    ibans: NDArray[np.int64]
    cards: NDArray[np.int64]
    secrets: NDArray[np.int64]


def personal(text: pa.Array | pa.ChunkedArray) -> Personal:
    """Count what could lead to a person."""
    from hare_ray.corpus.pii_scan import find

    hits = find(text)
    cells = np.bincount(hits.documents * len(KINDS) + hits.kinds, minlength=len(text) * len(KINDS))
    return Personal(*cells.reshape(len(text), len(KINDS)).T)
