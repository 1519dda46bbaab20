"""Eight bytes of text at a time: which of them are ASCII letters or digits, and what these are in lower case.

Tricks of arithmetic inside a 64-bit word (Warren, Hacker's Delight, 6-1; also called SWAR): a byte below 128 plus
128 - c has its top bit set where it is c or more, and no carry leaves it. So four additions classify eight characters,
where a table would take eight loads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hare_ray.text.hashing import bare

LOADED = 8

_TOP = np.uint64(0x8080808080808080)
_REST = np.uint64(0x7F7F7F7F7F7F7F7F)
_CASE = np.uint64(0x2020202020202020)
_FROM_A = np.uint64(0x1F1F1F1F1F1F1F1F)  # 128 - "a" in every byte
_BEYOND_Z = np.uint64(0x0505050505050505)
_FROM_0 = np.uint64(0x5050505050505050)
_BEYOND_9 = np.uint64(0x4646464646464646)


def _load(typing_context: Any, address: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(builder.add(*arguments), word.as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(types.int64, types.int64), generate


def _trailing_zeros(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


load: Any = intrinsic(_load)
"""load(address, place): the eight bytes there, the first in the lowest bits; they need no alignment."""

trailing_zeros: Any = intrinsic(_trailing_zeros)
"""Zero bits below the lowest one of a 64-bit number; 64 where there is none."""


@bare
def lower(eight: np.uint64) -> np.uint64:
    """Letters in lower case; digits stay. Meaningful for these alone."""
    return eight | _CASE


@bare
def alphanumerics(eight: np.uint64) -> np.uint64:
    """How many of the first bytes in a row are ASCII letters or digits, 0 to 8."""
    low = eight & _REST
    small = low | _CASE
    letters = (small + _FROM_A) & ~(small + _BEYOND_Z)
    digits = (low + _FROM_0) & ~(low + _BEYOND_9)
    others = ~((letters | digits) & ~eight) & _TOP
    return trailing_zeros(others) >> np.uint64(3)
