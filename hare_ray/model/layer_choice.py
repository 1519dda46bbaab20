# ruff: noqa: TID253 - torch is what this module is about
"""Which layers of a decoder a shallower one keeps (PanGu-pi Pro, arXiv 2402.02791, section 3.2, step 1).

middle       the first half and the last half of what is wanted, one more in front where it is odd; between them
             one block is dropped. The paper skips adjacent layers and finds the first two or three and the last
             ones to matter most and the middle redundant; which ones it kept it does not say.
skip_loss    one layer after another is dropped, each time that without which the loss on a sample is least. The
             first and the last are never dropped. Costs about L * (L - L') passes over the sample.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hare_ray.model.decoder import Decoder
from hare_ray.model.inherit_sample import Rows, mean_loss

Skipped = dict[int, float]
"""Losses without each of the layers that could have been dropped."""


def middle(layers: int, wanted: int) -> tuple[int, ...]:
    """Numbers of the layers at both ends."""
    behind = wanted // 2
    return (*range(wanted - behind), *range(layers - behind, layers))


def by_skip_loss(decoder: Decoder, sample: Sequence[Rows], wanted: int) -> tuple[tuple[int, ...], list[Skipped]]:
    """Numbers of the layers that are left, and the losses that decided each of the drops."""
    layers = list(decoder.model.layers)
    kept = list(range(len(layers)))
    rounds: list[Skipped] = []
    try:
        while len(kept) > wanted:
            losses: Skipped = {}
            for number in kept[1:-1]:
                decoder.model.layers = nn.ModuleList(layers[other] for other in kept if other != number)
                losses[number] = mean_loss(decoder, sample)
            rounds.append(losses)
            kept.remove(min(losses, key=lambda number: losses[number]))
    finally:
        decoder.model.layers = nn.ModuleList(layers)
    return tuple(kept), rounds
