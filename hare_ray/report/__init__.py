"""One self-contained HTML page about a run, and cards of its data and its model, made from its directory alone."""

from __future__ import annotations

from hare_ray.report.closing import closing
from hare_ray.report.page import render, write

__all__ = ["closing", "render", "write"]
