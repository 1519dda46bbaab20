# ruff: noqa: TID253 - speaks to torch's process group
"""The workers of torch's process group, whoever made it."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from hare_ray.train.settings import Ranks


def members() -> Ranks:
    """All of them, as this one sees them."""
    count = dist.get_world_size()

    def together(value: Any) -> list[Any]:
        found: list[Any] = [None] * count
        dist.all_gather_object(found, value)
        return found

    return Ranks(dist.get_rank(), count, together)
