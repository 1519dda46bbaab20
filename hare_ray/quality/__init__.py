"""Quality: a committee learns from examples and scores documents; of every topic the better part is kept."""

from hare_ray.quality.committee import Committee
from hare_ray.quality.score import Score
from hare_ray.quality.select import Select

__all__ = ["Committee", "Score", "Select"]
