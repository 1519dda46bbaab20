"""Membership of many 64-bit keys in a fixed set, about a nanosecond each.

Almost no n-gram of a corpus is in a benchmark, so the common answer is no and must be cheap. Three levels, each asked
only about what the one before lets through:

    hot     at most HOT_BYTES, so that it stays in the second-level cache while text streams past it
    cool    COOL_BITS per key, in the third-level cache: says no to all but one stranger in a hundred
    keys    sorted, found through a table of where each stretch of equal upper bits starts: exact

Both filters are blocked Bloom filters (Putze, Sanders and Singler 2007) with 64-bit blocks: the upper bits of a key
choose the block, two groups of other bits choose two bits in it, so that one load decides. Keys are asked for in blocks
without a branch, so that their loads overlap. All of it is written to files and mapped, so that the workers of a
machine share one copy.

Keys: `gram` adds the rotated hashes of a few neighbouring words, which are random already, in one vector instruction a
word; `run_keys` is the polynomial sum of `n` words, for runs of any length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit

HOT_BYTES = 1 << 20
"""The second-level cache of a core of most servers of today."""

HOT_BITS = 16
"""Per key, at most."""

COOL_BITS = 16
"""Per key, at least."""

BLOCK_WORDS = 1024
"""Asked for at a time: 8 KiB of the first-level cache."""

BASE = np.uint64(0xD6E8FEB86659FD93)
"""Of the polynomial: odd, and 3 modulo 4, so that swapping two words changes the sum."""

_TURN = 17
"""Bits by which every further word of a gram is rotated: odd, so that no two of 64 words turn alike."""

_LOW = np.uint64(63)
_ONE = np.uint64(1)
_S6, _S12, _S18 = np.uint64(6), np.uint64(12), np.uint64(18)


Key: TypeAlias = Any
"""A 64-bit key: what indexing gives is one thing in Python and another in compiled code."""


class KeySet(NamedTuple):
    """Sorted unique keys with their filters."""

    keys: NDArray[np.uint64]
    starts: NDArray[np.int32]
    """First key of every stretch of equal upper bits, and the number of keys."""
    hot: NDArray[np.uint64]
    cool: NDArray[np.uint64]


@njit
def _shift(size: int) -> np.uint64:
    """By how much a key is shifted to choose one of `size` places, a power of two."""
    bits = 0
    while (1 << bits) < size:
        bits += 1
    return np.uint64(64 - bits)


@njit
def _hot_bits(key: Key) -> np.uint64:
    return (_ONE << (key & _LOW)) | (_ONE << ((key >> _S6) & _LOW))


@njit
def _cool_bits(key: Key) -> np.uint64:
    return (_ONE << ((key >> _S12) & _LOW)) | (_ONE << ((key >> _S18) & _LOW))


@njit
def _mark(keys: NDArray[np.uint64], hot: NDArray[np.uint64], cool: NDArray[np.uint64]) -> None:
    hot_shift, cool_shift = _shift(len(hot)), _shift(len(cool))
    for key in keys:
        hot[key >> hot_shift] |= _hot_bits(key)
        cool[key >> cool_shift] |= _cool_bits(key)


def _size(keys: int, bits: int) -> int:
    """Blocks, a power of two and at least 2, that give every key at least `bits`."""
    return 1 << max(1, (keys * bits // 64).bit_length())


def key_set(keys: NDArray[np.uint64]) -> KeySet:
    """The set of these sorted unique keys."""
    hot = np.zeros(min(_size(len(keys), HOT_BITS), HOT_BYTES // 8), np.uint64)
    cool = np.zeros(_size(len(keys), COOL_BITS), np.uint64)
    _mark(keys, hot, cool)
    stretches = _size(len(keys), 64)
    upper = keys >> np.uint64(65 - stretches.bit_length())
    firsts = np.searchsorted(upper, np.arange(stretches + 1, dtype=np.uint64))
    return KeySet(keys, firsts.astype(np.int32), hot, cool)


def save(found: KeySet, folder: Path, name: str) -> None:
    """Write the arrays as `name`_keys.npy and so on."""
    for field, values in found._asdict().items():
        np.save(folder / f"{name}_{field}.npy", values)


def mapped(path: Path) -> NDArray:
    """An array of a file, mapped and not read."""
    return np.asarray(np.load(path, mmap_mode="r"))


def load(folder: Path, name: str) -> KeySet:
    """The set that `save` wrote."""
    return KeySet(*(mapped(folder / f"{name}_{field}.npy") for field in KeySet._fields))


@njit
def may_hold(cool: NDArray[np.uint64], key: Key) -> bool:
    """False where a key is surely not in the set."""
    bits = _cool_bits(key)
    return cool[key >> _shift(len(cool))] & bits == bits


@njit
def place_of(keys: NDArray[np.uint64], starts: NDArray[np.int32], key: Key) -> int:
    """Number of a key; -1 where it is not there."""
    stretch = key >> _shift(len(starts) - 1)
    for place in range(starts[stretch], starts[stretch + 1]):
        if keys[place] == key:
            return place
    return -1


@njit
def grams(words: NDArray[np.uint64], first: int, count: int, n: int, out: NDArray[np.uint64]) -> None:
    """Keys of the `count` grams of n words that start at `first` and after."""
    own = out[:count]
    own[:] = words[first : first + count]
    for j in range(1, n):
        left = np.uint64(_TURN * j % 64)
        right = np.uint64(64) - left
        for i, word in enumerate(words[first + j : first + j + count]):
            own[i] += word << left | word >> right


@njit
def find_grams(words: NDArray[np.uint64], n: int, found: KeySet) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Where grams of n words are in the set, over the ends of documents too, and the number of each key."""
    hot, cool = found.hot, found.cool
    hot_shift, cool_shift = _shift(len(hot)), _shift(len(cool))
    block, likely = np.empty(BLOCK_WORDS, np.uint64), np.empty(BLOCK_WORDS, np.int32)
    at, places = np.empty(BLOCK_WORDS, np.int64), np.empty(BLOCK_WORDS, np.int32)
    total = 0
    last = len(words) - n + 1
    for first in range(0, last, BLOCK_WORDS):
        count = min(BLOCK_WORDS, last - first)
        grams(words, first, count, n, block)
        warm = 0
        for i in range(count):
            bits = _hot_bits(block[i])
            likely[warm] = i
            warm += np.int64(hot[block[i] >> hot_shift] & bits == bits)
        left = 0
        for i in range(warm):
            key = block[likely[i]]
            bits = _cool_bits(key)
            likely[left] = likely[i]
            left += np.int64(cool[key >> cool_shift] & bits == bits)
        if total + left > len(at):
            at, places = _longer(at), _longer(places)
        for i in range(left):
            place = place_of(found.keys, found.starts, block[likely[i]])
            if place >= 0:
                at[total], places[total] = first + likely[i], place
                total += 1
    return at[:total], places[:total]


@njit
def _longer(values: Any) -> Any:
    """The same values with room for as many more, and for a block."""
    out = np.empty(2 * len(values) + BLOCK_WORDS, values.dtype)
    out[: len(values)] = values
    return out


@njit
def run_key(words: NDArray[np.uint64], first: int | np.int64, length: int | np.int64) -> np.uint64:
    """Key of the words [first, first + length)."""
    total = np.uint64(0)
    for word in words[first : first + length]:
        total = total * BASE + word
    return total


@njit
def run_keys(words: NDArray[np.uint64], offsets: NDArray[np.int64], n: int) -> tuple:
    """Keys of all runs of n words that stay within a document, and the document of each."""
    room = 0
    for document in range(len(offsets) - 1):
        room += max(0, offsets[document + 1] - offsets[document] - n + 1)
    keys, documents = np.empty(room, np.uint64), np.empty(room, np.int64)
    drop = np.uint64(1)
    for _ in range(n - 1):
        drop *= BASE
    place = 0
    for document in range(len(offsets) - 1):
        first, stop = offsets[document], offsets[document + 1]
        if stop - first < n:
            continue
        total = run_key(words, first, n)
        for start in range(first, stop - n + 1):
            keys[place], documents[place] = total, document
            place += 1
            if start + n < stop:
                total = (total - words[start] * drop) * BASE + words[start + n]
    return keys, documents
