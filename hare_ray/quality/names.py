"""Names that building a recipe needs, in a module that imports nothing heavy."""

from __future__ import annotations

MEMBERS = ("meaning", "network", "words", "ngrams", "shape", "fluency")
"""In this order they vote; described in `hare_ray.quality.voters`."""

REPORT = "report.json"
"""File of a committee: what its members are worth."""
