"""The first weights of a small model, taken from a larger one (PanGu-pi Pro, arXiv 2402.02791, section 3.2).

    parent    config.json, *.safetensors: a Mistral or Llama in the format of Hugging Face
    remap     remap.npy, int32[old vocabulary] -> id in the smaller vocabulary, -1 where the word is gone
    sample    packed rows, of the smaller vocabulary: tokens, lengths
    ->        config.json, generation_config.json, model.safetensors (float32), inherit.json (what was kept, and the
              losses before and after)

A training starts from the folder. The paper's models of 1 B parameters that began so, with 50 B tokens, came to 46.06
on average by L1, 47.00 by L2, 47.90 by Taylor and 48.08 by learned masks, from 42.06 with random weights (table 5). It
does not say which layers it kept, nor how masks were learned; see `layer_choice` and `masks` for what is done here.

    layers    middle, skip_loss            see `hare_ray.model.layer_choice`
    neurons   l1, l2, taylor, mask         see `hare_ray.model.importance` and `hare_ray.model.masks`

It runs on a GPU where its worker has one (`needs`). A parent takes 4 bytes a parameter, and learned masks a pass with
gradients in its activations; Taylor adds the gradient of one matrix at a time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hare_ray.model.shape import Shape
from hare_ray.stage import Make, Stage, Table

if TYPE_CHECKING:
    from torch import Tensor

    from hare_ray.gather import Desk
    from hare_ray.model.inherit_sample import Rows

LAYERS = ("middle", "skip_loss")
NEURONS = ("l1", "l2", "taylor", "mask")
MEASURED = ("skip_loss", "taylor", "mask")
"""What needs a sample."""

ACCOUNT, REMAP = "inherit.json", "remap.npy"


@dataclass(frozen=True)
class MaskLearning:
    """How long and how fast masks are learned; a step is one pass over a few rows of the sample.

    Sheared LLaMA (arXiv 2310.06694) took 3,200 steps. Of a decoder of 1.4 M parameters on bytes of Wikipedia (loss
    1.85) two of eight layers and half of everything else went: the loss was 4.2 by L1, 4.4 by L2, 3.1 by Taylor, and by
    masks 2.9 after 150 steps of 4 x 64 bytes at 0.1, 2.6 after 600 at 0.05. At 0.2 and above what is chosen is noise.
    """

    steps: int
    learning_rate: float
    """Of Adam, for gates and multipliers alike."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.steps < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"given steps={self.steps}, learning_rate={self.learning_rate}, expected at least 1 and above 0"
            )


@dataclass(frozen=True)
class Ways:
    """How to choose."""

    layers: str
    neurons: str
    mask: MaskLearning | None
    seed: int


class Inherit(Make):
    """A smaller decoder cut out of a larger one."""

    parent: Stage
    """An Export, or a Source of a model's folder."""
    shape: Shape
    """Of what comes out: fewer layers, channels, heads or neurons, heads as wide as the parent's."""
    layers: str
    """'middle' or 'skip_loss'."""
    neurons: str
    """'l1', 'l2', 'taylor' or 'mask'."""
    seed: int
    """Of the sample, and of the gates that are drawn while masks are learned."""
    remap: Stage | None = None
    """With remap.npy, as a compressed tokenizer has it; None: the vocabularies are the same."""
    sample: Table | None = None
    """Packed rows; without them layers go by 'middle' and units by 'l1' or 'l2', and no loss is measured."""
    sequences: int = 0
    """How many rows of the sample are used."""
    sequence_tokens: int = 0
    """Tokens of a row of the sample."""
    mask: MaskLearning | None = None
    """With neurons='mask', and only then."""

    imports: ClassVar[tuple[str, ...]] = ("torch", "safetensors")

    def __post_init__(self) -> None:
        """Refuse ways that do not exist, or lack what they need."""
        for name, known in (("layers", LAYERS), ("neurons", NEURONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)!r}, expected one of {known}")
        measured = [way for way in (self.layers, self.neurons) if way in MEASURED]
        if measured and self.sample is None:
            raise ValueError(f"{self!r}: given no sample, expected packed rows, because {measured} look at them")
        if (self.neurons == "mask") != (self.mask is not None):
            raise ValueError(
                f"{self!r}: given neurons={self.neurons!r}, mask={self.mask}; expected a MaskLearning with 'mask' only"
            )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 to 2^63 - 1")
        if self.sample is not None and min(self.sequences, self.sequence_tokens) < 1:
            raise ValueError(
                f"{self!r}: given sequences={self.sequences}, sequence_tokens={self.sequence_tokens}; "
                "expected at least 1 of both where there is a sample"
            )

    def make(self, desk: Desk) -> dict[str, int]:
        """Read, choose, cut, write."""
        from hare_ray.model.export import from_hf, to_hf
        from hare_ray.model.inherit import check_fits
        from hare_ray.model.inherited import inherited

        folder = desk.files(self.parent)
        parent, stored = from_hf(folder)
        check_fits(parent, self.shape)
        state = {name: weight.float() for name, weight in stored.items()}
        del stored
        new_of_old = None if self.remap is None else np.load(desk.files(self.remap) / REMAP)
        state = self.in_new_words(state, new_of_old, parent.vocabulary)
        ways = Ways(self.layers, self.neurons, self.mask, self.seed)
        small, account = inherited(parent, state, self.shape, ways, self.rows(desk))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        to_hf(
            small,
            self.shape,
            desk.folder,
            dtype="float32",
            context_tokens=config["max_position_embeddings"],
            special=special_of(config, new_of_old),
        )
        text = json.dumps(account, indent=2, sort_keys=True) + "\n"
        (desk.folder / ACCOUNT).write_text(text, encoding="utf-8")
        return {"weights": self.shape.parameters, "parent_weights": parent.parameters, "sequences": self.sequences}

    def in_new_words(
        self, state: dict[str, Tensor], new_of_old: np.ndarray | None, vocabulary: int
    ) -> dict[str, Tensor]:
        """The parent's state with the words of the shape."""
        import torch

        from hare_ray.model.inherit import remapped

        if new_of_old is not None:
            return remapped(state, torch.from_numpy(new_of_old), self.shape.vocabulary)
        if self.shape.vocabulary != vocabulary:
            raise ValueError(
                f"{self!r}: given vocabulary={self.shape.vocabulary}, expected the parent's {vocabulary}; "
                "give that, or as `remap` the compressed tokenizer that says which words stay"
            )
        return state

    def rows(self, desk: Desk) -> list[Rows]:
        """The sample, a few rows at a time."""
        from hare_ray.model.inherit_sample import drawn, rows_of

        if self.sample is None:
            return []
        table = drawn(desk, self.sample, self.sequences, self.seed)
        return rows_of(table, self.sequence_tokens, self.shape.vocabulary)


def special_of(config: dict[str, Any], new_of_old: np.ndarray | None) -> Any:
    """Ids of the parent's special tokens in the words of the smaller model; None where it has none, or lost it.

    Older files say -1, or a number behind the vocabulary, where there is none.
    """
    from hare_ray.model.export import SpecialTokens

    found: dict[str, int | None] = {}
    for name in ("bos", "eos", "pad"):
        number = config.get(f"{name}_token_id")
        number = number[0] if isinstance(number, list) else number
        if number is None or not 0 <= number < config["vocab_size"]:
            found[name] = None
            continue
        new = number if new_of_old is None else int(new_of_old[number])
        found[name] = new if new >= 0 else None
    return SpecialTokens(**found)
