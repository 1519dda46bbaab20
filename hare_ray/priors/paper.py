"""The paper's training recipe as values, and the tables that print it.

Numbers that are the paper's carry its section; what it leaves open is an `Open` with our choice and the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from hare_ray.model.shape import Shape
from hare_ray.priors import load_seed_tokens, load_sources
from hare_ray.priors.reading import check_different, read

if TYPE_CHECKING:
    from rich.table import Table as Grid  # a machine that only trains may not have it


@dataclass(frozen=True)
class Open:
    """A choice the paper leaves to its reader."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class OpenPoints:
    """All of open_points.yaml."""

    points: tuple[Open, ...]

    def __post_init__(self) -> None:
        """Refuse names used twice."""
        check_different([point.name for point in self.points], "points")


def load_open() -> tuple[Open, ...]:
    """The points of open_points.yaml."""
    return read("open_points", OpenPoints).points


@dataclass(frozen=True)
class Training:
    """How the decoder is trained."""

    sequence_tokens: int
    batch_tokens: int
    learning_rate: float
    warmup_steps: int
    decay_share: float
    """Last share of stage 2 in which the learning rate falls to 0."""
    betas: tuple[float, float]
    epsilon: float
    weight_decay: float
    gradient_clip: float
    precision: str
    spike_sigmas: float = 6.0
    """A step whose loss or gradient norm is so far above the mean of the last 128 is skipped; 0: none is."""
    float8: bool = False
    """Matrix products of the layers in float8, scaled by tensor; on GPUs from Hopper on, from 1 B parameters on."""


@dataclass(frozen=True)
class Paper:
    """One size of the method."""

    name: str
    model: Shape
    training: Training
    stage_1_tokens: float
    """D1 alone (paper, section 3: 52 B)."""
    stage_2_tokens: float
    """D1 + D2 + D3 by weight."""

    def tables(self) -> list[Grid]:
        """Sources, seeds, stages, model, training and open points, for a person."""
        return [self._sources(), self._seeds(), self._model(), self._training(), self._open()]

    def _grid(self, title: str, *columns: str) -> Grid:
        from rich.table import Table as Grid

        grid = Grid(title=f"{self.name}: {title}", title_justify="left")
        for column in columns:
            grid.add_column(column, overflow="fold")
        return grid

    def _sources(self) -> Grid:
        grid = self._grid("data", "source", "weight %", "stage 2 tokens", "status", "location")
        sources = load_sources()
        for part in ("D1", "D2", "D3"):
            inside = [source for source in sources if source.part == part]
            share = sum(source.weight_percent for source in inside)
            grid.add_row(f"[bold]{part}[/]", f"[bold]{share:g}[/]", f"[bold]{self._tokens(share)}[/]")
            for source in inside:
                percent = source.weight_percent
                grid.add_row(source.name, f"{percent:g}", self._tokens(percent), source.status, source.location)
        return grid

    def _seeds(self) -> Grid:
        grid = self._grid("the paper's synthetic text", "seeds from", "prompts", "tokens written")
        for seed in load_seed_tokens():
            grid.add_row(", ".join(seed.sources), seed.kind, f"{seed.billion_tokens:g} B")
        return grid

    def _tokens(self, percent: float) -> str:
        return f"{percent / 100 * self.stage_2_tokens / 1e9:.2f} B"

    def _model(self) -> Grid:
        grid = self._grid("model", "model", "value")
        grid.add_row("parameters", f"{self.model.parameters / 1e9:.3f} B")
        for field in fields(self.model):
            grid.add_row(field.name, str(getattr(self.model, field.name)))
        return grid

    def _training(self) -> Grid:
        grid = self._grid("training", "training", "value")
        batch = self.training.batch_tokens
        for number, data, tokens in ((1, "D1", self.stage_1_tokens), (2, "D1 + D2 + D3", self.stage_2_tokens)):
            grid.add_row(f"stage {number}: {data}", f"{tokens / 1e9:g} B tokens, {round(tokens / batch):,} steps")
        for field in fields(self.training):
            name = "lr" if field.name == "learning_rate" else field.name
            grid.add_row(name, str(getattr(self.training, field.name)))
        return grid

    def _open(self) -> Grid:
        grid = self._grid("choices of ours", "open in the paper", "here", "reason")
        for point in load_open():
            grid.add_row(point.name, point.value, point.reason)
        return grid
