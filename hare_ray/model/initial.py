"""How first weights are drawn: from N(0, std^2), with a std that a rule gives for every matrix.

The rules that arXiv 2402.02791 compares (section 3.1, table 4; appendix B, table 11), where L is the number of layers
and N = 2 L that of residual branches, two a layer; in brackets its average score at 1 B parameters:

    constant   std everywhere (42.59)
    gpt2       std / sqrt(N) in every matrix of the layers (42.13)
    internlm   std / sqrt(N) in o_proj and gate_proj, std in the others (41.19)
    depth      q_proj, k_proj: from sqrt(2) std in the first layer down to std in the last;
               v_proj, o_proj: from std / sqrt(2) up to std; the MLP: std (42.94)

The paper gives neither its std nor how `depth` goes from one end to the other: 0.02 is what released checkpoints of
this architecture name, and the way is linear in the layer's number; both are our choice. Embedding and head have std
under every rule, and norms begin at 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RULES = ("constant", "gpt2", "internlm", "depth")

SHRUNK: dict[str, tuple[str, ...]] = {
    "gpt2": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "internlm": ("o_proj", "gate_proj"),
}
"""Matrices whose std is divided by sqrt(N)."""

FIRST = {"q_proj": math.sqrt(2), "k_proj": math.sqrt(2), "v_proj": math.sqrt(0.5), "o_proj": math.sqrt(0.5)}
"""Under `depth`: multiples of std in the first layer, all 1 in the last."""


@dataclass(frozen=True)
class Initial:
    """A rule and its standard deviation."""

    rule: str = "constant"
    std: float = 0.02

    def __post_init__(self) -> None:
        """Refuse what draws nothing."""
        if self.rule not in RULES:
            raise ValueError(f"given rule={self.rule!r}, expected one of {', '.join(RULES)}")
        if not 0 < self.std < math.inf:
            raise ValueError(f"given std={self.std}, expected a positive number")

    def std_of(self, name: str, layer: int | None, layers: int) -> float:
        """Of the matrix with this parameter name in the `layer`-th of `layers`, from 0; None: it is in no layer."""
        if layer is None:
            return self.std
        matrix = name.removesuffix(".weight").rpartition(".")[2]
        if matrix in SHRUNK.get(self.rule, ()):
            return self.std / math.sqrt(2 * layers)
        if self.rule == "depth" and layers > 1:
            first = FIRST.get(matrix, 1.0)
            return self.std * (first + (1.0 - first) * layer / (layers - 1))
        return self.std


CONSTANT = Initial()
"""One std for every layer: as good as any rule by depth, says the paper."""
