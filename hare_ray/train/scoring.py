# ruff: noqa: TID253 - torch is what this module is about
"""A trained model that tells its loss of every sequence, without gradients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from hare_ray.model.attention import choose
from hare_ray.model.decoder import Decoder
from hare_ray.model.export import from_hf
from hare_ray.model.shape import Shape
from hare_ray.train.sequences import Batch
from hare_ray.train.settings import SHAPE, WEIGHTS


def stored(folder: Path) -> tuple[Shape, dict[str, Tensor]]:
    """Shape and weights that a training left, or that lie in a folder of Hugging Face."""
    if (folder / SHAPE).is_file():
        return Shape(**json.loads((folder / SHAPE).read_text(encoding="utf-8"))), load_file(folder / WEIGHTS)
    return from_hf(folder)


class Scorer:
    """A model on a device."""

    def __init__(self, folder: Path, dtype: str, gpu: bool) -> None:
        """Load the weights."""
        self.device = torch.device("cuda" if gpu else "cpu")
        kind: torch.dtype = getattr(torch, dtype)
        shape, weights = stored(folder)
        self.model = Decoder(shape, choose(self.device, kind), seed=None)
        self.model.load_state_dict(weights)
        self.model.to(self.device, kind).eval()

    @torch.inference_mode()
    def losses(self, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Mean loss over the targets of every row, 0 where it has none; and their numbers."""
        tokens, segments, positions = (torch.from_numpy(each).to(self.device) for each in batch)
        each = self.model.losses(tokens, segments, positions)
        targets = ((segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0)).sum(1)
        mean = each.sum(1, dtype=torch.float64) / targets.clamp(min=1)
        return mean.float().cpu().numpy(), targets.int().cpu().numpy()
