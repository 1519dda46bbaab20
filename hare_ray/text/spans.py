"""Words whose places someone else has determined, such as another tokenizer, as `hare_ray.text.words` gives its own.

words_at(text, offsets, starts, ends) -> Words   the hashes are of the bytes as they stand: nothing is folded
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit
from hare_ray.text.hashing import SEED, Int, finish, mix
from hare_ray.text.words import Text, Words, text_buffers

WORD_BYTES = 8
"""Bytes that are hashed in one step."""


@njit
def hash_bytes(data: NDArray[np.uint8], begin: Int, stop: Int) -> np.uint64:
    """Hash of the bytes [begin, stop), eight a step."""
    state = SEED ^ np.uint64(stop - begin)
    edge = stop - (stop - begin) % WORD_BYTES
    for value in data[begin:edge].view(np.uint64):
        state = mix(state, value)
    value = np.uint64(0)
    for byte in data[edge:stop]:
        value = value << np.uint64(8) | np.uint64(byte)
    return finish(mix(state, value))


@njit
def _hashes(data, begins, offsets, starts, ends, out):  # noqa: ANN001, ANN202
    for document in range(len(begins)):
        for word in range(offsets[document], offsets[document + 1]):
            out[word] = hash_bytes(data, begins[document] + starts[word], begins[document] + ends[word])


def words_at(text: Text, offsets: NDArray[np.int64], starts: NDArray[np.int32], ends: NDArray[np.int32]) -> Words:
    """The words at bytes [starts, ends) of their documents."""
    if len(offsets) != len(text) + 1 or not len(starts) == len(ends) == offsets[-1]:
        raise ValueError(
            f"given {len(text)} documents, {len(offsets)} offsets that end at {offsets[-1]}, {len(starts)} starts and "
            f"{len(ends)} ends; expected one offset more than documents, and a start and an end for every word"
        )
    hashes = np.empty(len(starts), np.uint64)
    first = 0
    for data, begins, _ in text_buffers(text):
        _hashes(data, begins, offsets[first : first + len(begins) + 1], starts, ends, hashes)
        first += len(begins)
    return Words(offsets, hashes, starts, ends)
