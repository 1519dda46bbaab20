"""Numbers that lead to a person, each from its first byte: IP addresses, payment cards, IBANs.

Every matcher returns the byte after the hit, or NONE. Checksums are what keeps counts honest: one number in ten
passes Luhn's (ISO/IEC 7812-1) and one in 97 the IBAN's (ISO 13616), so the shape must be right as well.

    IPv4   four octets without leading zeros, not part of a longer dotted number, not behind the word version,
           outside the special ranges
    IPv6   in 2000::/3, which is all that is allocated, eight groups or `::` and at least three, not special
    card   13 to 19 digits with the prefix and length of an issuer, in one run or in the groups that are
           printed on cards, and Luhn's sum; not an article number (EAN-13, GTIN-14) that is right as one
    IBAN   the length of its country, upper case, in one run or in groups of four, remainder 1 of 97
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.pii_bytes import DIGIT, HEX, NONE, UPPER, WORD, is_a, matches, run_end
from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

_DOT, _COLON, _SPACE, _HYPHEN, _COMMA, _ZERO = (ord(c) for c in ".: -,0")
_A = ord("A")

SPECIAL_IPV4 = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3"
)
"""IANA's registry of special addresses, and multicast and all above: they are nobody's."""

CARD_GROUPS = ((4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (4, 3, 3, 3))
MAX_CARD_DIGITS = 19
ISSUERS = (
    (4000, 4999, 13), (4000, 4999, 16), (4000, 4999, 19),  # Visa
    (5100, 5599, 16), (2221, 2720, 16),  # Mastercard
    (3400, 3499, 15), (3700, 3799, 15),  # American Express
    (3000, 3059, 14), (3600, 3699, 14), (3800, 3999, 14),  # Diners Club
    (6011, 6011, 16), (6440, 6599, 16),  # Discover
    (3528, 3589, 16),  # JCB
    (6200, 6299, 16), (6200, 6299, 17), (6200, 6299, 18), (6200, 6299, 19),  # UnionPay
)  # fmt: skip
"""First and last of the first four digits, and the length, from the issuers' published ranges."""
HALF, MASK = 16, 0xFFFF
ARTICLE_DIGITS = (13, 14)
"""Lengths that article numbers have too."""

IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
    "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
    "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
    "YE30"
)
"""Country and characters, from the SWIFT registry."""
IBAN_GROUP = 4


def _ranges() -> NDArray[np.int64]:
    rows = []
    for network in SPECIAL_IPV4.split():
        address, bits = network.split("/")
        first = sum(int(octet) << shift for octet, shift in zip(address.split("."), (24, 16, 8, 0), strict=True))
        rows.append((first, first + (1 << (32 - int(bits)))))
    return np.array(rows)


def _patterns() -> NDArray[np.int64]:
    return np.array([sum(n << 5 * place for place, n in enumerate(reversed(groups))) for groups in CARD_GROUPS])


def _lengths() -> NDArray[np.int64]:
    table = np.zeros((26, 26), np.int64)
    for entry in IBAN_LENGTHS.split():
        table[ord(entry[0]) - _A, ord(entry[1]) - _A] = int(entry[2:])
    return table


_VERSION = np.frombuffer(b"ersion ", np.uint8)
_SPECIAL = _ranges()
_PATTERNS = _patterns()
_ISSUERS = np.array(ISSUERS)
_IBANS = _lengths()


@njit
def _goes_on(data: NDArray[np.uint8], at: Int, stop: Int) -> bool | np.bool_:
    """Whether a number that ends at `at` is the beginning of a longer one."""
    return is_a(data, at, stop, WORD) or (
        is_a(data, at + 1, stop, DIGIT) and data[at] in (_DOT, _COMMA, _SPACE, _HYPHEN)
    )


@njit
def _went_before(data: NDArray[np.uint8], at: Int, begin: Int) -> bool | np.bool_:
    """Whether a number that begins at `at` is the end of a longer one."""
    return at - begin >= 2 and is_a(data, at - 2, at, DIGIT) and data[at - 1] in (_DOT, _COMMA, _SPACE, _HYPHEN)


@njit
def _octet(data: NDArray[np.uint8], at: Int, end: Int) -> Int:
    """Value of the digits [at, end), or -1 where they are no octet."""
    value = np.int64(0)
    for place in range(at, end):
        value = value * 10 + data[place] - _ZERO
    return -1 if end == at or value > 255 or (end - at > 1 and data[at] == _ZERO) else value


@njit
def ipv4(data: NDArray[np.uint8], at: Int, begin: Int, stop: Int) -> Int:
    """End of the public IPv4 address at `at`."""
    if at - begin >= 2 and data[at - 1] == _DOT and is_a(data, at - 2, at, DIGIT):
        return NONE
    if at - begin > len(_VERSION) and matches(data, at - len(_VERSION), at, _VERSION):
        return NONE
    packed = np.int64(0)
    for octet in range(4):
        if octet:
            if at >= stop or data[at] != _DOT:
                return NONE
            at += 1
        end = run_end(data, at, min(stop, at + 4), DIGIT)
        value = _octet(data, at, end)
        if value < 0:
            return NONE
        packed = packed << 8 | value
        at = end
    if is_a(data, at, stop, WORD) or (is_a(data, at + 1, stop, DIGIT) and data[at] == _DOT):
        return NONE
    for row in range(len(_SPECIAL)):
        if _SPECIAL[row, 0] <= packed < _SPECIAL[row, 1]:
            return NONE
    return at


@njit
def _group(data: NDArray[np.uint8], at: Int, end: Int) -> Int:
    """Value of the hexadecimal digits [at, end)."""
    value = np.int64(0)
    for place in range(at, end):
        byte = np.int64(data[place])
        value = value << 4 | (byte & 15) + 9 * (byte >= _A)
    return value


@njit
def _is_allocated(first: Int, second: Int) -> bool | np.bool_:
    """Whether an address with these first groups is global unicast and neither a protocol's nor documentation's."""
    if first == 0x2001:
        return second >= 0x200 and second != 0xDB8
    return 0x2000 <= first < 0x4000 and (first != 0x3FFF or second >= 0x1000)


@njit
def ipv6(data: NDArray[np.uint8], at: Int, begin: Int, stop: Int) -> Int:
    """End of the public IPv6 address at `at`, which is the first byte of four hexadecimal digits and a colon."""
    if at > begin and data[at - 1] == _COLON:
        return NONE
    start = at
    groups = np.int64(0)
    gap = False
    while True:
        end = run_end(data, at, min(stop, at + 5), HEX)
        if end == at:
            break
        if end - at > 4 or groups == 8:
            return NONE
        groups += 1
        at = end
        if is_a(data, at + 1, stop, HEX) and data[at] == _COLON:
            at += 1
        elif at + 1 < stop and data[at] == _COLON and data[at + 1] == _COLON:
            if gap:
                return NONE
            gap = True
            at += 2
        else:
            break
    if is_a(data, at, stop, WORD) or not (3 <= groups <= 7 if gap else groups == 8):
        return NONE
    second = start + 5
    first_groups = _group(data, start, start + 4), _group(data, second, run_end(data, second, stop, HEX))
    return at if _is_allocated(*first_groups) else NONE


@njit
def _issued(first: Int, digits: Int) -> bool | np.bool_:
    for row in range(len(_ISSUERS)):
        if _ISSUERS[row, 0] <= first <= _ISSUERS[row, 1] and _ISSUERS[row, 2] == digits:
            return True
    return False


@njit
def _printed(pattern: Int, digits: Int) -> bool | np.bool_:
    """Whether the lengths of the groups, five bits each, are one run or those on cards."""
    if pattern == digits:
        return True
    for known in _PATTERNS:  # noqa: SIM110 - numba knows no generators
        if pattern == known:
            return True
    return False


@njit
def card(data: NDArray[np.uint8], at: Int, begin: Int, stop: Int) -> Int:
    """End of the payment card number at `at`."""
    if _went_before(data, at, begin):
        return NONE
    digits = group = pattern = first = np.int64(0)
    plain = doubled = np.int64(0)  # sums over even places in the low bits, over odd ones in the high bits
    separator = np.int64(0)
    while True:
        if is_a(data, at, stop, DIGIT):
            value = np.int64(data[at] - _ZERO)
            first = first * 10 + value if digits < 4 else first
            plain += value << HALF * (digits & 1)
            doubled += 2 * value - 9 * (value > 4) << HALF * (digits & 1)
            digits += 1
            group += 1
            if digits > MAX_CARD_DIGITS:
                return NONE
        elif (
            is_a(data, at + 1, stop, DIGIT)
            and data[at] in (_SPACE, _HYPHEN)
            and (separator == 0 or separator == data[at])
        ):
            separator = np.int64(data[at])
            pattern = pattern << 5 | group
            group = np.int64(0)
        else:
            break
        at += 1
    pattern = pattern << 5 | group
    if _goes_on(data, at, stop) or not _issued(first, digits) or not _printed(pattern, digits):
        return NONE
    # Luhn doubles every second digit from the last but one back: those at places as even as their number is.
    heavy, light = HALF * (digits & 1), HALF * (1 - digits & 1)
    if ((doubled >> heavy & MASK) + (plain >> light & MASK)) % 10:
        return NONE
    # An article number weighs the same places three times.
    article = digits in ARTICLE_DIGITS and (3 * (plain >> heavy & MASK) + (plain >> light & MASK)) % 10 == 0
    return NONE if article and pattern == digits else at


@njit
def _remainder(value: Int, byte: Int) -> Int:
    """`value` with one more digit or upper-case letter (10 to 35), modulo 97."""
    if byte < _A:
        return (value * 10 + byte - _ZERO) % 97
    return (value * 100 + byte - _A + 10) % 97


@njit
def iban(data: NDArray[np.uint8], at: Int, begin: Int, stop: Int) -> Int:
    """End of the IBAN at `at`, which is the first byte of two upper-case letters and a digit."""
    if not is_a(data, at + 3, stop, DIGIT):
        return NONE
    start = at
    length = _IBANS[data[at] - _A, data[at + 1] - _A]
    if length == 0:
        return NONE
    rest = np.int64(0)
    place = np.int64(0)
    grouped = at + IBAN_GROUP < stop and data[at + IBAN_GROUP] == _SPACE
    while place < length:
        if grouped and place and place % IBAN_GROUP == 0:
            if at >= stop or data[at] != _SPACE:
                return NONE
            at += 1
        if not is_a(data, at, stop, DIGIT | UPPER):
            return NONE
        if place >= IBAN_GROUP:
            rest = _remainder(rest, np.int64(data[at]))
        at += 1
        place += 1
    for byte in data[start : start + IBAN_GROUP]:
        rest = _remainder(rest, np.int64(byte))
    return NONE if rest != 1 or is_a(data, at, stop, WORD) else at
