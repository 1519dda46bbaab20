"""Quality: a committee learns from labelled texts and scores documents; the best of all and of every topic are kept."""

from hare_ray.quality.committee import Committee
from hare_ray.quality.labels import Labelled
from hare_ray.quality.rate import RatingPrompts, Ratings
from hare_ray.quality.score import Score
from hare_ray.quality.select import Select

__all__ = ["Committee", "Labelled", "RatingPrompts", "Ratings", "Score", "Select"]
