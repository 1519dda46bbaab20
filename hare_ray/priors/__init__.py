"""What humans decided, as commented YAML that a domain expert can edit; this module: which texts, and how much of each.

    load_sources()       -> the mixture of the HARE paper (arXiv 2406.11410, Table 3, A.2 and A.3), in percent
    load_seed_tokens()   -> its Table 4: tokens written from the seeds of each source
    load_mixtures()      -> which parts of it the two stages of training read
    shares()             -> the weights of D1, D2 and D3

Every file begins with what it is, what an edit changes and an example; `hare_ray.priors.reading` checks it and says
file, line and cure. Priors reach stages as values in fields, so an edit here is another recipe and what it touches is
made again: `hare plan --root` says what that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hare_ray.priors.reading import check_different, read

Part = Literal["D1", "D2", "D3"]
PARTS: tuple[Part, ...] = ("D1", "D2", "D3")
"""Open data, synthetic text, tasks in natural language."""

WHOLE_PERCENT = 100.0
TOLERANCE_PERCENT = 0.5
"""What all weights together may miss 100 by: the paper's are rounded to hundredths, and come to 100.00."""


@dataclass(frozen=True)
class SourceWeight:
    """One source of the paper's mixture, and where it or something like it can be had."""

    name: str
    part: Part
    weight_percent: float
    status: Literal["available", "substitute", "unavailable"]
    """'available': this very source; 'substitute': the nearest open one; 'unavailable': none is named."""
    location: str = ""
    """An id on the Hugging Face hub; empty where status is 'unavailable'."""

    def __post_init__(self) -> None:
        """Refuse a weight that is none, and a place that contradicts the status."""
        if not 0 <= self.weight_percent <= WHOLE_PERCENT:
            raise ValueError(f"{self.name}: given weight_percent={self.weight_percent:g}, expected 0 to 100")
        if bool(self.location) == (self.status == "unavailable"):
            raise ValueError(
                f"{self.name}: given status {self.status} and location {self.location or 'none'}; expected a location "
                "for available and substitute, and none for unavailable"
            )


@dataclass(frozen=True)
class SeedTokens:
    """What the paper had written from the seeds of some sources (Table 4)."""

    sources: tuple[str, ...]
    kind: str
    """Of the prompts."""
    billion_tokens: float

    def __post_init__(self) -> None:
        """Refuse less than nothing."""
        if self.billion_tokens < 0:
            raise ValueError(f"given billion_tokens={self.billion_tokens:g}, expected 0 or more")


@dataclass(frozen=True)
class Sources:
    """All of sources.yaml."""

    sources: tuple[SourceWeight, ...]
    seeds: tuple[SeedTokens, ...]

    def __post_init__(self) -> None:
        """Refuse weights that are no shares of one whole, names used twice, and seeds of sources that are not there."""
        names = [source.name for source in self.sources]
        check_different(names, "sources")
        total = sum(source.weight_percent for source in self.sources)
        if abs(total - WHOLE_PERCENT) > TOLERANCE_PERCENT:
            parts = ", ".join(f"{part} {weight:g}" for part, weight in zip(PARTS, weights(self.sources), strict=True))
            raise ValueError(
                f"given weight_percent that add up to {total:.2f} ({parts}), expected 100; give what one source "
                "loses to others"
            )
        unknown = sorted({name for seed in self.seeds for name in seed.sources} - set(names))
        if unknown:
            raise ValueError(f"seeds: given the sources {unknown}, expected names that stand under sources")


@dataclass(frozen=True)
class StageParts:
    """What a stage of training reads."""

    name: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        """Refuse nothing, and a part that is named twice."""
        if not self.parts or len(set(self.parts)) < len(self.parts):
            raise ValueError(f"{self.name}: given parts {list(self.parts)}, expected each of {PARTS} once at most")


@dataclass(frozen=True)
class Mixtures:
    """All of mixtures.yaml."""

    max_epochs: float
    """How often a text is read in one stage, at most."""
    stages: tuple[StageParts, ...]

    def __post_init__(self) -> None:
        """Refuse less than one reading, and names used twice."""
        if self.max_epochs < 1:
            raise ValueError(f"given max_epochs={self.max_epochs:g}, expected at least 1")
        check_different([stage.name for stage in self.stages], "stages")

    def weights(self, stage: str) -> dict[str, float]:
        """Part -> weight in percent, for the stage called `stage`; a part that is alone has all."""
        parts = next((one.parts for one in self.stages if one.name == stage), None)
        if parts is None:
            raise ValueError(f"there is no stage {stage!r} in mixtures.yaml; it has {[s.name for s in self.stages]}")
        known = dict(zip(PARTS, shares(), strict=True))
        return {part: known[part] if len(parts) > 1 else 1.0 for part in parts}


def load_sources() -> tuple[SourceWeight, ...]:
    """All sources of the mixture, in the order of the paper."""
    return read("sources", Sources).sources


def load_seed_tokens() -> tuple[SeedTokens, ...]:
    """What the paper had written, by source of the seeds."""
    return read("sources", Sources).seeds


def load_mixtures() -> Mixtures:
    """What each stage of training reads."""
    return read("mixtures", Mixtures)


def shares() -> tuple[float, float, float]:
    """The weights of D1, D2 and D3 in percent: 46.5, 13.63 and 39.87."""
    return weights(load_sources())


def weights(sources: tuple[SourceWeight, ...]) -> tuple[float, float, float]:
    """The sums by part, in percent."""
    first, second, third = (sum(s.weight_percent for s in sources if s.part == part) for part in PARTS)
    return round(first, 2), round(second, 2), round(third, 2)
