"""Packed batches and small shapes for the tests of the room."""

import torch
from torch import Tensor

from hare_ray.model.shape import Shape


def small(tied: bool = False, kv_heads: int = 2) -> Shape:
    return Shape(layers=2, hidden=64, heads=4, kv_heads=kv_heads, mlp_hidden=96, vocabulary=101, tied=tied)


def packed(rows: list[list[int]], tokens: int, vocabulary: int = 101, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Random tokens, segments and positions for rows of documents of these lengths; the rest is padding."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocabulary, (len(rows), tokens), generator=generator)
    segments = torch.full((len(rows), tokens), -1, dtype=torch.int32)
    positions = torch.zeros((len(rows), tokens), dtype=torch.int32)
    for row, lengths in enumerate(rows):
        begin = 0
        for number, length in enumerate(lengths):
            segments[row, begin : begin + length] = number
            positions[row, begin : begin + length] = torch.arange(length)
            begin += length
    return ids, segments, positions


ROWS = [[7, 30, 3], [40], [1, 2, 17], []]
"""Several documents, one, padding behind, nothing but padding."""
