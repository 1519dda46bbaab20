"""Raw records and how they are sorted: what the steps of deduplication hand to each other.

    pack(keys u64[n], numbers u32[n], ...)  ->  bytes, column after column, and unpack(bytes, layout) back
    sorted_order(keys u64[n], skip)         ->  order of a stable sort, `skip` leading bits known to be equal
    distinct(wide u64[n, 2], skip)          ->  order, and where a run of equal 128-bit keys begins

Columns of numbers go as they lie in memory: Arrow's format costs more than the work on tables of two columns.

Sorting 64-bit numbers alone is vectorised in numpy and ten times as fast as sorting them with something attached. So
the leading bits of a key and the record's index share one number, which is sorted; the few keys that agree in these
bits and differ further back are put in order by insertion. That asks for keys that are hashes, and keeps the order of
records with equal keys. A 128-bit key is sorted by a 64-bit hash of it and then by itself, so that any bytes will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.kernel import njit

Layout = Sequence[tuple[str, int]]
"""Type and width of every column; wide types first, so that every column lies at a multiple of its size."""

WIDE = ("u8", 2)
"""A 128-bit key."""

_ODD_1 = np.uint64(0x9E3779B97F4A7C15)
_ODD_2 = np.uint64(0xD6E8FEB86659FD93)
_S32 = np.uint64(32)


def pack(*columns: NDArray) -> bytes:
    """Bytes of columns of equal length, one after the other."""
    return b"".join(np.ascontiguousarray(column).reshape(-1).view(np.uint8).data for column in columns)


def unpack(data: bytes, layout: Layout) -> list[NDArray]:
    """The columns of `pack`, without a copy."""
    sizes = [np.dtype(kind).itemsize * width for kind, width in layout]
    count, rest = divmod(len(data), sum(sizes))
    if rest:
        raise ValueError(f"given {len(data)} bytes, expected records of {sum(sizes)}; the object was cut short")
    found, start = [], 0
    for (kind, width), size in zip(layout, sizes, strict=True):
        column = np.frombuffer(data, kind, count * width, start) if count else np.empty(0, kind)
        found.append(column.reshape(count, width) if width > 1 else column)
        start += count * size
    return found


def unpacked(objects: Iterable[bytes], layout: Layout) -> list[NDArray]:
    """The columns of several objects, one after the other."""
    tables = [unpack(data, layout) for data in objects]
    return [np.concatenate(columns) for columns in zip(*(tables or [unpack(b"", layout)]), strict=True)]


def halves(values: pa.Array) -> NDArray[np.uint64]:
    """A binary(16) column without nulls as two numbers per row."""
    return fixed_bytes(values).view(np.uint64)


def fixed_bytes(values: pa.Array) -> NDArray[np.uint8]:
    """A binary(width) column without nulls as rows of bytes."""
    width = values.type.byte_width
    if len(values) == 0:
        return np.empty((0, width), np.uint8)
    data = np.frombuffer(values.buffers()[1], np.uint8, width * len(values), width * values.offset)
    return data.reshape(-1, width)


def binary(rows: NDArray[np.uint8]) -> pa.Array:
    """A column of fixed width out of rows of bytes."""
    rows = np.ascontiguousarray(rows)
    return pa.Array.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, pa.py_buffer(rows)])


def column(table: pa.Table, name: str) -> pa.Array:
    """One column in one piece."""
    return table.column(name).combine_chunks()


def starts(*columns: NDArray) -> NDArray[np.bool_]:
    """Where a run of equal values begins."""
    begins = np.ones(len(columns[0]), bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return begins


def hashed(wide: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A 64-bit hash of every 128-bit key, whose leading bits are good."""
    return (wide[:, 0] + (wide[:, 1] ^ (wide[:, 1] >> _S32)) * _ODD_1) * _ODD_2


def leading(keys: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """The partition of every key: its first `bits` bits."""
    if bits == 0:
        return np.zeros(len(keys), np.int64)
    return (keys >> np.uint64(64 - bits)).astype(np.int64)


def cut(places: NDArray, count: int) -> Iterator[tuple[int, NDArray]]:
    """The rows of every one of `count` places, in order; `places` tells each row's."""
    kind = np.uint16 if count <= 1 << 16 else np.uint32  # a radix sort where it can be: numpy has one for 16 bits
    order = np.argsort(places.astype(kind), kind="stable")
    ends = np.cumsum(np.bincount(places, minlength=count))
    start = 0
    for place, end in enumerate(ends):
        yield place, order[start:end]
        start = end


@njit
def _settle(keys: NDArray[np.uint64], order: NDArray[np.int64]) -> None:
    """Finish a sort in which neighbours are out of order only where leading bits agree."""
    for i in range(1, len(keys)):
        key, row, place = keys[i], order[i], i
        while place > 0 and keys[place - 1] > key:
            keys[place], order[place] = keys[place - 1], order[place - 1]
            place -= 1
        keys[place], order[place] = key, row


def sorted_order(keys: NDArray[np.uint64], skip: int = 0) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The order of a stable sort, and the keys in it; all keys agree in their first `skip` bits."""
    index_bits = np.uint64(max(len(keys), 1).bit_length())
    mixture = (keys << np.uint64(skip)) >> index_bits << index_bits
    mixture |= np.arange(len(keys), dtype=np.uint64)
    mixture.sort()
    mixture &= (np.uint64(1) << index_bits) - np.uint64(1)
    order = mixture.view(np.int64)
    found = keys[order]
    _settle(found, order)
    return order, found


@njit
def _settle_wide(keys: NDArray[np.uint64], wide: NDArray[np.uint64], order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Sort runs of equal hashes by the keys themselves, stably; where a run of equal keys begins."""
    begins = np.ones(len(keys), np.bool_)
    for i in range(1, len(keys)):
        row, place = order[i], i
        first, second = wide[row, 0], wide[row, 1]
        while place > 0 and keys[place - 1] == keys[i]:
            before = order[place - 1]
            if wide[before, 0] < first or (wide[before, 0] == first and wide[before, 1] <= second):
                break
            order[place] = before
            place -= 1
        order[place] = row
    for i in range(1, len(keys)):
        one, two = order[i - 1], order[i]
        begins[i] = wide[one, 0] != wide[two, 0] or wide[one, 1] != wide[two, 1]
    return begins


def distinct(wide: NDArray[np.uint64], skip: int = 0) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The order of a stable sort by hash and key, and where a run of equal keys begins in it."""
    order, keys = sorted_order(hashed(wide), skip)
    return order, _settle_wide(keys, wide, order)


def unique_pairs(first: NDArray, second: NDArray) -> tuple[NDArray, NDArray]:
    """Pairs sorted, each once."""
    if len(first) == 0:
        return first, second
    if first.dtype == np.uint32:
        both = np.unique(first.astype(np.uint64) << _S32 | second)
        return (both >> _S32).astype(np.uint32), both.astype(np.uint32)
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    fresh = np.ones(len(first), bool)
    fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first[fresh], second[fresh]
