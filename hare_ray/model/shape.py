"""The shape of a decoder as a value, and the arithmetic that follows from it: weights, FLOPs, MFU.

FLOPs of training one token, forward and backward, in the convention of PaLM (arXiv 2204.02311, appendix B):

    6 N + 12 L H Q T      L layers, H heads, Q head dimension, T tokens of a sequence

N counts the weights that take part in a matrix product: the body and the head. The lookup of an embedding is none,
so an untied embedding is left out; a tied one is counted once, as the head. The second term takes attention as full.
With a causal mask and documents that do not see each other the work is sum(length^2) / 2 in place of T^2, which
`true_flops` counts. MFU = FLOPs a token x tokens a second of one device / its peak; activations that are computed
twice are not credited. Name the convention beside every MFU: PaLM's flatters where documents are short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PEAK_FLOPS: tuple[tuple[str, float], ...] = (
    ("H100 PCIe", 756e12),
    ("H800 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H200 NVL", 835e12),
    ("H100", 989e12),
    ("H800", 989e12),
    ("H200", 989e12),
    ("GH200", 989e12),
    ("H20", 148e12),
    ("A100", 312e12),
    ("A800", 312e12),
    ("A40", 149.7e12),
    ("A30", 165e12),
    ("A10", 125e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("MI300X", 1307.4e12),
)
"""Words of a device's name, and its peak in bf16 without sparsity, as its maker's data sheet says. The first whose
words are all there counts; whole words, because an A10G is no A10 and an H20 no H200."""

SLICE = "mig"
"""A word in the name of a part of a GPU, whose peak is not that of the whole."""


@dataclass(frozen=True)
class Shape:
    """A decoder in the Mistral architecture."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    mlp_hidden: int
    vocabulary: int
    tied: bool
    """True: the head is the embedding, transposed."""
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name in ("layers", "hidden", "heads", "kv_heads", "mlp_hidden", "vocabulary"):
            if getattr(self, name) < 1:
                raise ValueError(f"given {name}={getattr(self, name)}, expected at least 1")
        for name in ("rope_theta", "norm_epsilon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"given {name}={getattr(self, name)}, expected a positive number")
        if self.hidden % self.heads:
            raise ValueError(
                f"given hidden={self.hidden}, heads={self.heads}; expected a multiple: every head is as wide"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"given heads={self.heads}, kv_heads={self.kv_heads}; "
                "expected a multiple: every key and value head serves as many queries"
            )
        if self.head_dim % 2:
            raise ValueError(
                f"given hidden={self.hidden}, heads={self.heads}: heads {self.head_dim} wide; "
                "expected an even width, because rotary positions turn pairs"
            )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    @property
    def matmul_parameters(self) -> int:
        """Weights that take part in a matrix product: body and head."""
        kv_hidden = self.kv_heads * self.head_dim
        layer = 2 * self.hidden**2 + 2 * self.hidden * kv_hidden + 3 * self.hidden * self.mlp_hidden
        return self.layers * layer + self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights."""
        norms = (2 * self.layers + 1) * self.hidden
        embedding = 0 if self.tied else self.vocabulary * self.hidden
        return self.matmul_parameters + norms + embedding

    @property
    def embedding_share(self) -> float:
        """Embedding and head among all weights, 0 to 1: PEHL of arXiv 2402.02791 (2.1), which wants it under 0.2."""
        return (1 if self.tied else 2) * self.vocabulary * self.hidden / self.parameters

    def flops_per_token(self, sequence_tokens: int) -> int:
        """Training FLOPs of a token in sequences of that length, in PaLM's convention: full attention."""
        return 6 * self.matmul_parameters + 12 * self.layers * self.hidden * sequence_tokens

    def true_flops(self, lengths: Iterable[int]) -> int:
        """Training FLOPs of whole documents of these lengths in tokens, each seeing what is before in itself."""
        each = [int(length) for length in lengths]
        pairs_2 = sum(length**2 for length in each)
        return 6 * self.matmul_parameters * sum(each) + 6 * self.layers * self.hidden * pairs_2


def peak_flops(device: str) -> float | None:
    """Peak of a device in dense bf16, by its name as torch gives it; None where it is not known."""
    words = set(re.findall(r"[a-z0-9]+", device.lower()))
    if SLICE in words:
        return None
    return next((peak for name, peak in PEAK_FLOPS if set(name.lower().split()) <= words), None)


def mfu(tokens_per_second: float, flops_per_token: float, device: str) -> float | None:
    """Share of its peak that one device turns into training, 0 to 1; None where the peak is not known.

    `tokens_per_second` is of one device. `flops_per_token` comes from `Shape.flops_per_token`, or from
    `Shape.true_flops` divided by the tokens.
    """
    peak = peak_flops(device)
    return None if peak is None else tokens_per_second * flops_per_token / peak
