"""Parents for the tests of inheritance: one that was trained, and one with idle units built around a smaller one."""

from dataclasses import replace
from functools import cache

import torch

from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.inherit import EMBEDDING, HEAD, LAYER, WRITERS, Kept, kind_of
from hare_ray.model.inherit_sample import Rows
from hare_ray.model.shape import Shape

SMALL = Shape(layers=3, hidden=32, heads=4, kv_heads=2, mlp_hidden=24, vocabulary=40, tied=False)
LARGE = replace(SMALL, layers=5, hidden=96, heads=12, kv_heads=4, mlp_hidden=40, norm_epsilon=SMALL.norm_epsilon / 3)
"""Three times the channels: a third of the epsilon makes both the same, see `hare_ray.model.inherit`."""


def sample(passes: int, seed: int, vocabulary: int = 40) -> list[Rows]:
    """Two documents to a row and padding; in each, every token is the one before plus a step that is the document's."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(passes):
        start, step = torch.randint(0, vocabulary, (4, 2, 1), generator=generator), torch.tensor([1, 3, 7, 11])
        steps = step[torch.randint(0, 4, (4, 2, 1), generator=generator)]
        tokens = ((start + steps * torch.arange(20)) % vocabulary).flatten(1)
        tokens = torch.cat([tokens, torch.zeros(4, 4, dtype=torch.int64)], 1)
        segments = torch.tensor([0] * 20 + [1] * 20 + [-1] * 4, dtype=torch.int32).repeat(4, 1)
        positions = torch.tensor([*range(20), *range(20), *range(4)], dtype=torch.int32).repeat(4, 1)
        found.append(Rows(tokens, segments, positions))
    return found


@cache
def trained(shape: Shape, steps: int = 120) -> Decoder:
    """A decoder that has learned the rule."""
    torch.manual_seed(1)
    decoder = Decoder(shape, choose("cpu"), seed=1)
    optimizer = torch.optim.AdamW(decoder.parameters(), 0.01, weight_decay=0.01)
    for step, rows in enumerate(sample(steps, seed=2)):
        optimizer.param_groups[0]["lr"] = 0.01 * min(1.0, (step + 1) / 10) * (1 - step / steps)
        loss, targets = decoder(*rows)
        optimizer.zero_grad()
        (loss / targets).backward()
        optimizer.step()
    return decoder.requires_grad_(True)


def chosen(shape: Shape, parent: Shape, seed: int) -> Kept:
    """Units by chance, as many as the shape has."""
    generator = torch.Generator().manual_seed(seed)

    def some(rows: int, units: int, wanted: int) -> torch.Tensor:
        return torch.stack([torch.randperm(units, generator=generator)[:wanted].sort().values for _ in range(rows)])

    groups = some(shape.layers, parent.kv_heads, shape.kv_heads)
    queries = parent.heads // parent.kv_heads
    within = some(shape.layers * shape.kv_heads, queries, shape.heads // shape.kv_heads)
    heads = groups[..., None] * queries + within.view(shape.layers, shape.kv_heads, -1)
    channels = some(1, parent.hidden, shape.hidden)[0]
    return Kept(channels, groups, heads.flatten(1), some(shape.layers, parent.mlp_hidden, shape.mlp_hidden))


def widened(small: Decoder, large: Shape, kept: Kept, layers: tuple[int, ...]) -> Decoder:
    """A decoder with the small one's losses in which only these layers and units do anything.

    Idle units read like others and write zeros. Norms in it divide by the root of a smaller mean: their weights make
    up for it.
    """
    parent = Decoder(large, choose("cpu"), seed=7)
    state, idle = dict(small.state_dict()), set(range(large.layers)) - set(layers)
    width, channels = large.head_dim, kept.channels
    with torch.no_grad():
        for name, weight in parent.named_parameters():
            match = LAYER.fullmatch(name)
            kind = kind_of(name)
            if kind in WRITERS or name == EMBEDDING:
                weight.zero_()
            if match is None:
                place = (slice(None), channels) if name in (EMBEDDING, HEAD) else channels
            elif int(match[1]) in idle:
                continue
            else:
                layer = layers.index(int(match[1]))
                name = f"model.layers.{layer}.{match[2]}.weight"
                place = (inner(kind, layer, kept, width)[:, None], channels) if weight.ndim == 2 else channels
            value = state[name] * (small.shape.hidden / large.hidden) ** 0.5 if weight.ndim == 1 else state[name]
            (weight.t() if kind in WRITERS else weight)[place] = value.t() if kind in WRITERS else value
    return parent


def inner(kind: str, layer: int, kept: Kept, width: int) -> torch.Tensor:
    """Rows of a matrix that reads, columns of one that writes, that belong to units that stay."""
    if kind in ("gate_proj", "up_proj", "down_proj"):
        return kept.neurons[layer]
    heads = (kept.groups if kind in ("k_proj", "v_proj") else kept.heads)[layer]
    return torch.cat([torch.arange(width) + width * int(head) for head in heads])
