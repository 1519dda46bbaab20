"""E-mail addresses, telephone numbers, and keys that open something, each from a byte that gives it away.

    e-mail   from its @: a local part of at most 64 bytes, a host with a dot and a top-level domain of letters.
             The hosts that RFC 2606 keeps for examples are nobody's, and `icon@2x.png` is a file.
    phone    from its + (E.164: 8 to 15 digits, groups of two and more after the area code, North American ones
             of exactly 11), or North American with brackets, dots or hyphens: (415) 555-2671, 415.555.2671
    secret   tokens that say whose they are (`TOKENS`), JSON web tokens with their signature, PEM private keys

A generic `password = ...` is not looked for: what follows is more often documentation than a password. A token
needs a digit, and where its prefix is short an upper-case letter as well, which identifiers and names of style
classes lack.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.corpus.pii_bytes import DIGIT, KEY, LOCAL, LOWER, NONE, UPPER, WORD, is_a, matches, run_end, starts_word
from hare_ray.kernel import njit
from hare_ray.text.hashing import Int

_DOT, _AT, _HYPHEN, _PLUS, _OPEN, _CLOSE, _SPACE, _SLASH = (ord(c) for c in ".@-+() /")
_ONE, _TWO, _NINE = (ord(c) for c in "129")
_NBSP = (0xC2, 0xA0)

MAX_LOCAL_BYTES, MAX_HOST_BYTES = 64, 253
"""RFC 5321, 4.5.3.1, and RFC 1035."""
TOP_LEVEL_LETTERS = (2, 24)
EXAMPLE_HOSTS = ("example.com", "example.net", "example.org")
FILE_ENDINGS = ("png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "css", "js", "mjs", "json", "html", "php", "pdf")
"""What ends a host where the @ is part of a file's name."""

E164_DIGITS = (8, 15)
"""Fewer is no subscriber's number with its country code; more is none at all."""
NORTH_AMERICAN_DIGITS = 11

TOKENS = (
    ("AKIA", 16, 16, UPPER | DIGIT, False),  # AWS access key
    ("ASIA", 16, 16, UPPER | DIGIT, False),  # AWS, temporary
    ("AIza", 35, 35, KEY, False),  # Google API
    ("ghp_", 36, 255, WORD, False), ("gho_", 36, 255, WORD, False), ("ghu_", 36, 255, WORD, False),  # GitHub
    ("ghs_", 36, 255, WORD, False), ("ghr_", 36, 255, WORD, False), ("github_pat_", 60, 255, WORD, False),
    ("glpat-", 20, 255, KEY, False),  # GitLab
    ("xoxb-", 24, 255, KEY, False), ("xoxp-", 24, 255, KEY, False), ("xoxa-", 24, 255, KEY, False),  # Slack
    ("xoxr-", 24, 255, KEY, False), ("xoxs-", 24, 255, KEY, False),
    ("sk_live_", 16, 255, WORD, False), ("sk_test_", 16, 255, WORD, False),  # Stripe
    ("rk_live_", 16, 255, WORD, False), ("rk_test_", 16, 255, WORD, False),
    ("sk-", 32, 255, KEY, True),  # OpenAI, Anthropic and those who follow them
    ("hf_", 30, 64, WORD, True), ("npm_", 36, 36, WORD, True),  # Hugging Face, npm
)  # fmt: skip
"""Prefix, bytes that follow at least and at most, of which class, and whether an upper-case letter is among them."""

BASE64_BYTES = 10
"""Of each part of a JSON web token, at least: the shortest header and signature have more."""
MAX_PEM_BYTES = 16_384
"""A private RSA key of 16,384 bits takes 12,700."""


def _words(words: tuple[str, ...], width: int) -> NDArray[np.uint8]:
    """One word a row, zeros behind it."""
    return np.array([list(word.encode().ljust(width, b"\0")) for word in words], np.uint8)


def _bytes(word: str) -> NDArray[np.uint8]:
    return np.frombuffer(word.encode(), np.uint8)


_PREFIX_WIDTH = 12
_PREFIXES = _words(tuple(token[0] for token in TOKENS), _PREFIX_WIDTH)
_SHAPES = np.array([(len(prefix), *rest) for prefix, *rest in TOKENS], np.int64)
_HOSTS = _words(EXAMPLE_HOSTS, len("example.com"))
_ENDING_WIDTH = 5
_ENDINGS = _words(FILE_ENDINGS, _ENDING_WIDTH)
_PRIVATE, _BEGIN, _END, _DASHES = (_bytes(w) for w in ("PRIVATE KEY", "-----BEGIN ", "-----END ", "-----"))
_JWT = _bytes("eyJ")


@njit
def _is_listed(data: NDArray[np.uint8], at: Int, end: Int, words: NDArray[np.uint8]) -> bool | np.bool_:
    """Whether [at, end) is one of the words, whatever its case."""
    width = words.shape[1]
    if end - at > width:
        return False
    for row in range(len(words)):
        place = np.int64(0)
        while place < end - at and data[at + place] | 32 == words[row, place] | 32:
            place += 1
        if place == end - at and (place == width or words[row, place] == 0):
            return True
    return False


@njit
def _host_end(data: NDArray[np.uint8], at: Int, stop: Int) -> Int:
    """End of the longest host name at `at` that has a dot and ends in a top-level domain."""
    stop = min(stop, at + MAX_HOST_BYTES)
    best = np.int64(NONE)
    start = at
    first = True
    while True:
        letters = run_end(data, at, stop, UPPER | LOWER)
        least, most = TOP_LEVEL_LETTERS
        if not first and least <= letters - at <= most and not is_a(data, letters, stop, WORD):
            best = letters
        end = at
        while end < stop and (data[end] == _HYPHEN or (is_a(data, end, stop, WORD) and data[end] != ord("_"))):
            end += 1
        if end == at or end >= stop or data[end] != _DOT or data[start] == _HYPHEN:
            return best
        at = end + 1
        first = False


@njit
def email(data: NDArray[np.uint8], at: Int, free: Int, stop: Int) -> tuple[Int, Int]:
    """Begin and end of the address around the @ at `at`; it begins at `free` at the earliest."""
    start = at
    while start > free and is_a(data, start - 1, stop, LOCAL):
        start -= 1
        if at - start > MAX_LOCAL_BYTES:
            return NONE, NONE
    while start < at and not is_a(data, start, stop, WORD):
        start += 1
    if start == at:
        return NONE, NONE
    end = _host_end(data, at + 1, stop)
    if end == NONE or _is_listed(data, at + 1, end, _HOSTS):
        return NONE, NONE
    top = end
    while data[top - 1] != _DOT:
        top -= 1
    return (NONE, NONE) if _is_listed(data, top, end, _ENDINGS) else (start, end)


@njit
def _gap(data: NDArray[np.uint8], at: Int, stop: Int) -> Int:
    """Where the next group of digits begins after at most one mark, a space among them, and brackets."""
    end = at
    if end < stop and data[end] == _CLOSE:
        end += 1
    if end + 1 < stop and data[end] == _NBSP[0] and data[end + 1] == _NBSP[1]:
        end += 2
    elif end < stop and data[end] in (_SPACE, _DOT, _HYPHEN, _SLASH):
        end += 1
    if end < stop and data[end] == _OPEN:
        end += 1
    return end if end > at and is_a(data, end, stop, DIGIT) else at


@njit
def international(data: NDArray[np.uint8], at: Int, begin: Int, stop: Int) -> Int:
    """End of the telephone number whose + is at `at`."""
    if not starts_word(data, at, begin) or not is_a(data, at + 1, stop, DIGIT) or data[at + 1] < _ONE:
        return NONE
    domestic = data[at + 1] == _ONE
    least, most = E164_DIGITS
    most = NORTH_AMERICAN_DIGITS if domestic else most
    digits = groups = np.int64(0)
    last = at = at + 1
    while True:
        end = run_end(data, at, min(stop, at + most + 1), DIGIT)
        if digits + end - at > most or (groups > 1 and end - at == 1):
            break
        if domestic and digits <= 1 < digits + end - at and data[at + 1 - digits] < _TWO:
            return NONE  # no area code begins so
        digits += end - at
        groups += 1
        last = end
        at = _gap(data, end, stop)
        if at == end:
            break
    return NONE if digits < (most if domestic else least) or is_a(data, last, stop, WORD) else last


@njit
def american(data: NDArray[np.uint8], at: Int, stop: Int) -> Int:
    """End of the North American number at `at`, which is its bracket or first digit."""
    bracket = data[at] == _OPEN
    at += bracket
    if stop - at < len("415-555-2671") or run_end(data, at, min(stop, at + 4), DIGIT) - at != 3 or data[at] < _TWO:
        return NONE
    at += 3
    if bracket:
        if data[at] != _CLOSE:
            return NONE
        at += 1
        at += data[at] == _SPACE
    elif data[at] in (_SPACE, _DOT, _HYPHEN):
        at += 1
    else:
        return NONE
    if run_end(data, at, min(stop, at + 4), DIGIT) - at != 3 or data[at] < _TWO or at + 3 >= stop:
        return NONE
    if data[at + 3] != _DOT and data[at + 3] != _HYPHEN:
        return NONE
    at += 4
    near = min(stop, at + 5)
    if not run_end(data, at, near, WORD) - at == 4 == run_end(data, at, near, DIGIT) - at:
        return NONE
    at += 4
    return NONE if is_a(data, at + 1, stop, DIGIT) and data[at] in (_DOT, _HYPHEN) else at  # an ISBN goes on


@njit
def token(data: NDArray[np.uint8], at: Int, free: Int, stop: Int) -> tuple[Int, Int]:
    """Begin and end of the token whose prefix has its last mark, or its I, at `at`."""
    for row in range(len(_PREFIXES)):
        length, least, most, flags, mixed = _SHAPES[row]
        prefix = _PREFIXES[row, :length]
        start = at - length + 1 if data[at] != ord("I") else at - (1 if prefix[1] == ord("I") else 2)
        if start < free or not starts_word(data, start, free) or not matches(data, start, stop, prefix):
            continue
        end = run_end(data, start + length, min(stop, start + length + most + 1), flags)
        while end > start + length and data[end - 1] == _HYPHEN:
            end -= 1
        if not least <= end - start - length <= most or is_a(data, end, stop, WORD):
            continue
        digit = upper = False
        for place in range(start + length, end):
            digit |= is_a(data, place, end, DIGIT)
            upper |= is_a(data, place, end, UPPER)
        if digit and (upper or not mixed):
            return start, end
    return NONE, NONE


@njit
def web_token(data: NDArray[np.uint8], at: Int, free: Int, stop: Int) -> tuple[Int, Int]:
    """Begin and end of the JSON web token whose J is at `at`; of none: the byte before which none begins, and NONE."""
    start = at - 2
    if start < free or not starts_word(data, start, free) or not matches(data, start, stop, _JWT):
        return NONE, NONE
    # Whatever fails behind the first part, or ends it too early, does so for every token that begins inside that part.
    first = end = run_end(data, start, stop, KEY)
    if first - start < BASE64_BYTES or not matches(data, first + 1, stop, _JWT):
        return first, NONE
    for _ in range(2):
        if end >= stop or data[end] != _DOT:
            return first, NONE
        begin = end + 1
        end = run_end(data, begin, stop, KEY)
        if end - begin < BASE64_BYTES:
            return first, NONE
    return start, end


@njit
def private_key(data: NDArray[np.uint8], at: Int, stop: Int) -> Int:
    """End of the PEM block at `at`, if it holds a private key."""
    if not matches(data, at, stop, _BEGIN):
        return NONE
    stop = min(stop, at + MAX_PEM_BYTES)
    header = run_end(data, at + len(_BEGIN), stop, UPPER)
    while header < stop and data[header] == _SPACE:
        header = run_end(data, header + 1, stop, UPPER)
    private = False
    for place in range(at + len(_BEGIN), header):
        private |= matches(data, place, header, _PRIVATE)
    if not private or not matches(data, header, stop, _DASHES):
        return NONE
    end = header + len(_DASHES)
    while end < stop and not matches(data, end, stop, _DASHES):
        end += 1
    if not matches(data, end, stop, _END):
        return NONE
    end += len(_END)
    while end < stop and not matches(data, end, stop, _DASHES):
        end += 1
    return end + len(_DASHES) if matches(data, end, stop, _DASHES) else NONE
