"""What a run came to, as tables for a terminal: mixtures, training, synthesis and evaluation.

Planned and actual stand side by side, so that a source which came short, or an LLM that wrote nothing usable, is seen
without opening the page.
"""

from __future__ import annotations

from rich.table import Table as Grid

from hare_ray.report.evaluation import Evaluation
from hare_ray.report.known import Known
from hare_ray.report.mixture import Mixture
from hare_ray.report.reading import Run
from hare_ray.report.synthesis import Synthetic
from hare_ray.report.training import Trained
from hare_ray.report.words import share as percent

Titled = tuple[str, Grid]


def closing(root: str) -> list[str | Grid]:
    """One table a mixture and an evaluation, one for training, one for synthesis; only what is there."""
    known = Known.of(Run.of(root))
    stages = [stage for lineage in known.trained for stage in lineage]
    tables = [_mixture(mixture) for mixture in known.mixtures]
    tables += [_synthesis(known.synthetic)] if known.synthetic else []
    tables += [_training(stages)] if stages else []
    tables += [_evaluation(evaluation) for evaluation in known.evaluations]
    # A title of the table would be folded to its width.
    return [line for title, table in tables for line in (f"\n[bold]{title}[/]", table)]


def _grid(first: str, *numbers: str) -> Grid:
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    grid.add_column(first)
    for name in numbers:
        grid.add_column(name, justify="right")
    return grid


def _mixture(mixture: Mixture) -> Titled:
    grid = _grid("source", "weight", "planned", "actual", "epochs", "tokens")
    for part in mixture.parts:
        shares = (percent(value, 1) for value in (part.weight, part.planned_share, part.actual_share))
        grid.add_row(part.name, *shares, f"{part.epochs:.2f}", f"{part.tokens:,}")
    return f"{mixture.name}: {mixture.tokens:,} tokens. {mixture.sentence}", grid


def _synthesis(branches: list[Synthetic]) -> Titled:
    names = ("prompts", "accepted", "share", "tokens written", "accepted tokens", "tokens/s", "documents")
    grid = _grid("branch", *names)
    for branch in branches:
        written = f"{branch.of_models.completion_tokens:,}"
        tokens = "" if branch.accepted_tokens is None else f"{branch.accepted_tokens:,}"
        speed = "" if branch.tokens_per_second is None else f"{branch.tokens_per_second:,.0f}"
        accepted = "" if branch.accepted is None else f"{branch.accepted:,}"
        rate = percent(branch.accepted, branch.prompts) if branch.accepted is not None and branch.prompts else ""
        kept = "" if branch.kept is None else f"{branch.kept:,}"
        grid.add_row(branch.name, f"{branch.prompts:,}", accepted, rate, written, tokens, speed, kept)
    return "synthesis", grid


def _training(stages: list[Trained]) -> Titled:
    names = ("parameters", "tokens", "steps", "loss first", "last", "tokens/s", "MFU", "spikes", "restarts")
    grid = _grid("stage", *names)
    for stage in stages:
        said = stage.summary
        losses = (f"{said[name]:.3f}" for name in ("first_loss", "final_loss"))
        sizes = (f"{said[name]:,}" for name in ("parameters", "tokens", "steps"))
        mfu = said.get("mfu")  # in PaLM's convention; null where the device's peak is not known, as a CPU's
        counted = ("" if mfu is None else percent(mfu, 1), str(said.get("spikes", "")), str(said["restarts"]))
        grid.add_row(stage.name, *sizes, *losses, f"{said['tokens_per_second']:,.0f}", *counted)
    return "training", grid


def _evaluation(evaluation: Evaluation) -> Titled:
    grid = _grid("task", "items", *evaluation.models, "chance")
    for line in evaluation.lines:
        scores = (line.scores.get(model) for model in evaluation.models)
        told = [
            ""
            if score is None
            else f"{score.value:.4g}" + (f" ± {score.stderr:.2g}" if score.stderr is not None else "")
            for score in scores
        ]
        chance = "" if line.chance is None else f"{line.chance:.4g}"
        grid.add_row(f"{line.task} {line.metric}", "" if line.items is None else str(line.items), *told, chance)
    return evaluation.name, grid
