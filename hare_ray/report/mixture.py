"""The mixtures of packed corpora that a model was trained on: what each source was to give, and what it gave.

    mixture.json: sequence_tokens, planned_sequences, sequences,
                  sources: name, table, weight, planned, actual, available, epochs, tokens (of documents)

Shares are of all sequences planned and of all that are there; a source that is short leaves its share to the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from hare_ray.report.lineage import PACKED, descent, origins
from hare_ray.report.reading import Run
from hare_ray.report.words import compact, share

ROUNDING = 0.001
"""Of all planned sequences: a smaller lack is one of whole sequences, no shortage."""


@dataclass(frozen=True)
class Part:
    """One source of a mixture."""

    name: str
    table: str
    weight: float
    planned: int
    actual: int
    available: int
    epochs: float
    tokens: int
    planned_share: float
    actual_share: float
    synthetic: bool | None
    """Whether its documents were made; None where the table is not one of this run."""


@dataclass(frozen=True)
class Mixture:
    """One mixture."""

    name: str
    sequence_tokens: int
    planned: int
    sequences: int
    parts: list[Part]
    sentence: str

    @property
    def tokens(self) -> int:
        """Tokens of all sources, without padding."""
        return sum(part.tokens for part in self.parts)

    @property
    def synthetic_share(self) -> float | None:
        """Share of the tokens that were made, not found; None where that of one source is not known."""
        if any(part.synthetic is None for part in self.parts) or not self.tokens:
            return None
        return sum(part.tokens for part in self.parts if part.synthetic) / self.tokens


def mixtures(run: Run) -> list[Mixture]:
    """Every finished mixture, in the order of the run."""
    found = []
    for name in run.of_class("Mixture"):
        said = run.json(name, "mixture.json")
        if said is None:
            continue
        planned = sum(source["planned"] for source in said["sources"]) or 1
        actual = sum(source["actual"] for source in said["sources"]) or 1
        keys = ("name", "table", "weight", "planned", "actual", "available", "epochs", "tokens")
        parts = [
            Part(
                **{key: source[key] for key in keys},
                planned_share=source["planned"] / planned,
                actual_share=source["actual"] / actual,
                synthetic=_synthetic(run, source["table"]),
            )
            for source in said["sources"]
        ]
        sizes = (said["sequence_tokens"], said["planned_sequences"], said["sequences"])
        found.append(Mixture(name, *sizes, parts, _sentence(parts, said["planned_sequences"], said["sequences"])))
    return found


def _synthetic(run: Run, table: str) -> bool | None:
    """Whether a packed table comes from synthetic bases only."""
    if table not in run.known:
        return None
    made = descent(run)
    while table not in made and (run.class_of(table) == PACKED or run.known[table]["kind"] == "rebalance"):
        above = origins(run, table)
        if len(above) != 1 or above[0] not in run.known:
            return bool(above) and all(name in made for name in above)
        table = above[0]
    return table in made


def _sentence(parts: list[Part], planned: int, sequences: int) -> str:
    """Which source came short, and who took its place."""
    slack = max(1.0, ROUNDING * planned)
    short = [part for part in parts if part.planned - part.actual > slack]
    if not short:
        return "Every source gave what was planned."
    told = [
        f"{part.name} came short: {_sequences(part.actual)} of {part.planned:,} planned, "
        f"{share(part.actual_share, 1)} of the mixture instead of {share(part.planned_share, 1)}"
        for part in short
    ]
    gained = [part for part in parts if part.actual - part.planned > slack]
    if gained:
        went = ", ".join(f"{part.name} (+{part.actual - part.planned:,})" for part in gained)
        told.append(f"in {'its' if len(short) == 1 else 'their'} place came sequences of {went}")
    if planned - sequences > slack:
        told.append(f"the mixture has {sequences:,} of {_sequences(planned)} planned")
    return f"{'; '.join(told)}."


def _sequences(number: int) -> str:
    return f"{compact(number)} {'sequence' if number == 1 else 'sequences'}"
