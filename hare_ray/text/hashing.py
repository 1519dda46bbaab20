"""The 64-bit hash of words, n-grams and lines: state = (state ^ value) * K, folded onto itself after every step.

A multiply-xorshift hash: two different sequences of values collide with a probability of about 2^-64.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from hare_ray.kernel import njit

Int: TypeAlias = "int | np.int64"

SEED = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: an arbitrary start that is not zero."""

MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
"""An odd 64-bit number with well mixed bits."""

FINISHER = np.uint64(0xBF58476D1CE4E5B9)
"""The first multiplier of splitmix64."""

_S32 = np.uint64(32)

bare = njit(_nrt=False)
"""Compiled without reference counts, for functions that make no arrays: Numba counts references of every array that is
handed on or cut, with atomic operations."""


@bare
def mix(state: np.uint64, value: np.uint64) -> np.uint64:
    """One step of the running hash."""
    state = (state ^ value) * MULTIPLIER
    return state ^ (state >> _S32)


@bare
def finish(state: np.uint64) -> np.uint64:
    """The hash of what was mixed in so far."""
    state = (state ^ (state >> _S32)) * FINISHER
    return state ^ (state >> _S32)
