"""Shapes by name. Every head is at least 32 wide: narrower ones vLLM does not run on CPUs."""

from __future__ import annotations

from hare_ray.model.shape import Shape

PRESETS: dict[str, Shape] = {
    # 3.1 M: learns to write English on a CPU in minutes. Its vocabulary is small and tied, or it would be all of it.
    "tiny": Shape(layers=6, hidden=192, heads=6, kv_heads=2, mlp_hidden=512, vocabulary=4096, tied=True),
    # 61 M: deep and narrow, as small models do best (arXiv 2402.02791, table 2); embedding 14 % of the weights, below
    # the 20 % of its section 2.1.
    "60m": Shape(layers=18, hidden=512, heads=8, kv_heads=4, mlp_hidden=1408, vocabulary=16_384, tied=True),
    # 246 M: what HARE's ablation trains (arXiv 2406.11410, section 4.1); the paper gives its size
    # alone, the proportions are those of the large one.
    "250m": Shape(layers=16, hidden=1024, heads=16, kv_heads=4, mlp_hidden=2816, vocabulary=32_000, tied=False),
    # 1.123 B: HARE (arXiv 2406.11410, section 3, and its released configuration).
    "1b": Shape(layers=22, hidden=2048, heads=32, kv_heads=8, mlp_hidden=5632, vocabulary=32_000, tied=False),
    # 1.00 B: PanGu-pi-1B Pro (arXiv 2402.02791, table 9; heads 128 wide, table 12; expansion 2.77, table 3, to the
    # nearest multiple of 16, which float8 and tensor cores want).
    "pangu-1b-pro": Shape(
        layers=21, hidden=1792, heads=14, kv_heads=14, mlp_hidden=4960, vocabulary=48_000, tied=False
    ),
}
