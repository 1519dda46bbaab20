# ruff: noqa: TID253 - torch is what this module is about
"""From a parent's weights to those of a smaller decoder: layers, then units, then the norms' gain, each measured.

The account says what was kept and what it cost: the mean loss in nats of the parent, of the parent with fewer layers
(and all of its heads), of the smaller decoder, and of one with weights drawn at random, all on the sample; null without
one. The gain of the norms (see `hare_ray.model.inherit`) is then that of `GAINS`, or the estimate, with the least loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.importance import POWERS, by_taylor, by_weight
from hare_ray.model.inherit import (
    EMBEDDING,
    Kept,
    Scores,
    State,
    best,
    cut,
    pooled,
    pooled_heads,
    untied,
    with_layers,
    written_gain,
)
from hare_ray.model.inherit_sample import Rows, mean_loss
from hare_ray.model.layer_choice import by_skip_loss, middle
from hare_ray.model.masks import by_masks
from hare_ray.model.shape import Shape

if TYPE_CHECKING:
    from hare_ray.model.inherit_stage import Ways

GAINS = (0.0, 0.125, 0.25, 0.375, 0.5)
"""Powers of old / new channels that are tried."""

Account = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """What losses are measured with."""

    sample: Sequence[Rows]
    device: torch.device
    seed: int

    def built(self, shape: Shape, state: State | None) -> Decoder:
        """A decoder with these weights; without, with those of the seed."""
        decoder = Decoder(shape, choose(self.device, torch.float32), self.seed if state is None else None)
        if state is not None:
            decoder.load_state_dict(state)
        return decoder.to(self.device)

    def loss(self, shape: Shape, state: State | None) -> float | None:
        """On the sample; None without one."""
        return mean_loss(self.built(shape, state), self.sample) if self.sample else None


def inherited(
    parent: Shape, state: State, shape: Shape, ways: Ways, sample: Sequence[Rows]
) -> tuple[dict[str, torch.Tensor], Account]:
    """Weights of the shape, and the account. The state is in float32 and has the words of the shape already."""
    measure = Measure(sample, torch.device("cuda" if torch.cuda.is_available() else "cpu"), ways.seed)
    if parent.tied and not shape.tied:
        state = untied(state)
    whole = replace(parent, vocabulary=shape.vocabulary, tied=shape.tied)
    losses = {"parent": measure.loss(whole, state)}
    layers, rounds = _layers(whole, state, shape.layers, ways, measure)
    state, shallow = with_layers(state, layers), replace(whole, layers=shape.layers)
    losses["fewer_layers"] = measure.loss(shallow, state)
    heads = pooled_heads(shallow, shape)
    state, shallow = pooled(state, shallow, heads), replace(shallow, kv_heads=heads)
    kept = best(_scores(shallow, state, shape, ways, measure), shape)
    gain, small = _gained(state, kept, shape, measure)
    losses["inherited"], losses["random"] = measure.loss(shape, small), measure.loss(shape, None)
    account = {
        "layers": list(layers),
        "losses_without": rounds,
        "units": {name: numbers.tolist() for name, numbers in kept._asdict().items()},
        "gain": gain,
        "losses": losses,
        "parameters": {"parent": whole.parameters, "inherited": shape.parameters},
    }
    return small, account


def _layers(
    parent: Shape, state: State, wanted: int, ways: Ways, measure: Measure
) -> tuple[tuple[int, ...], list[dict[int, float]]]:
    if ways.layers == "middle":
        return middle(parent.layers, wanted), []
    return by_skip_loss(measure.built(parent, state), measure.sample, wanted)


def _scores(parent: Shape, state: State, shape: Shape, ways: Ways, measure: Measure) -> Scores:
    nothing_to_choose = replace(parent, norm_epsilon=shape.norm_epsilon) == shape
    if nothing_to_choose or ways.neurons in POWERS:
        return by_weight(state, parent, POWERS.get(ways.neurons, 1))
    decoder = measure.built(parent, state)
    if ways.mask is None:
        return by_taylor(decoder, measure.sample)
    return by_masks(decoder, measure.sample, shape, ways.mask, ways.seed)


def _gained(state: State, kept: Kept, shape: Shape, measure: Measure) -> tuple[float, dict[str, torch.Tensor]]:
    """The gain of the norms, and the weights with it."""
    old_to_new = state[EMBEDDING].shape[1] / shape.hidden
    gains = {written_gain(state, kept.channels)}
    if measure.sample:
        gains |= {old_to_new**power for power in GAINS}
    losses = {gain: measure.loss(shape, cut(state, kept, shape.head_dim, gain)) or 0.0 for gain in sorted(gains)}
    gain = min(losses, key=lambda tried: losses[tried])
    return gain, cut(state, kept, shape.head_dim, gain)
