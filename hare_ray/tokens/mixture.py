"""How many sequences of each source a training stage sees: the recipe's shares against what there is.

    packed sources -> mixture.json   per source: weight, planned, actual and available sequences and tokens, epochs

Shares and budgets are of real tokens, without padding: a source is planned `weight` of `tokens`; weights that are token
budgets, with their sum as `tokens`, are met as such. A sequence counts for what those of its source hold on average,
which the books of the table say, so what is planned and what is seen differ by less than a sequence of each source and
a batch in all. (Of an unfinished epoch the average is an estimate: which rows those are is up to the order.)

None is seen more than `max_epochs` times: a small source with a large share would be learnt by heart. The HARE paper's
numbers come to 16 epochs of its Restruct set; Muennighoff et al. (arXiv 2305.16264) find up to 4 nearly as good as new
data, with returns that diminish from there. What a capped source cannot give is spread over the others in proportion to
their weights, until nobody is above its cap (water-filling). Where all are, the run is shorter than planned. Counts are
integers, by largest remainder, add up exactly, and come to whole batches, rounded down.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import pyarrow.compute as pc

from hare_ray.stage import Make, Table
from hare_ray.tokens.pack import Pack

if TYPE_CHECKING:
    from hare_ray.gather import Desk

MIXTURE = "mixture.json"


class Held(NamedTuple):
    """What there is of a source."""

    rows: int
    tokens: int
    """Of documents, without padding."""
    mean: Fraction
    """Tokens of a row; of a table without rows, those of a full one."""


class Mixture(Make):
    """The number of sequences of each source."""

    sources: tuple[Table, ...]
    """Pack stages of equal `sequence_tokens`."""
    names: tuple[str, ...]
    weights: tuple[float, ...]
    """Shares, relative to each other."""
    tokens: int
    """Planned length of training, in tokens of documents."""
    sequence_tokens: int
    max_epochs: float
    """How often a sequence is seen, at most."""
    batch_sequences: int
    """Sequences of one optimizer step; the total is rounded down to whole steps."""

    code: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse sources that do not match, and numbers that mean nothing."""
        given = (len(self.sources), len(self.names), len(self.weights))
        if min(given) < 1 or len(set(given)) > 1 or len(set(self.names)) < len(self.names):
            raise ValueError(
                f"{self!r}: given {given[0]} sources, names {self.names} and weights {self.weights}, "
                "expected one different name and one weight for each source"
            )
        if min(self.weights) < 0 or not 0 < sum(self.weights) < float("inf"):
            raise ValueError(f"{self!r}: given weights={self.weights}, expected 0 or more, and one above 0")
        for name in ("tokens", "sequence_tokens", "max_epochs", "batch_sequences"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{self!r}: given {name}={getattr(self, name)}, expected more than 0")
        for source in self.sources:
            if isinstance(source, Pack) and source.sequence_tokens != self.sequence_tokens:
                raise ValueError(
                    f"{self!r}: given sequence_tokens={self.sequence_tokens}, but {source!r} packs "
                    f"{source.sequence_tokens}; give both the same"
                )

    def make(self, desk: Desk) -> dict[str, int]:
        """Fill, and write mixture.json; returns what there is and what training will see."""
        held = [self._held(desk, source) for source in self.sources]
        weights = [exact(weight) for weight in self.weights]
        planned, actual = self._sequences(held, weights)
        if not sum(actual):
            rows = {name: each.rows for name, each in zip(self.names, held, strict=True)}
            raise ValueError(
                f"{self!r}: given {rows} sequences, at most {self.max_epochs} epochs of them, and tokens={self.tokens} "
                f"({sum(planned)} sequences in whole batches), expected enough for one batch of "
                f"{self.batch_sequences}; bring more text, plan more tokens or lower batch_sequences"
            )
        sources = [
            {
                "name": name,
                "table": source.name,
                "weight": float(weight / sum(weights)),
                "planned": wanted,
                "planned_tokens": round(self.tokens * weight / sum(weights)),
                "actual": count,
                "tokens": round(count * each.mean),
                "available": each.rows,
                "available_tokens": each.tokens,
                "epochs": count / max(each.rows, 1),
            }
            for name, source, weight, wanted, count, each in zip(
                self.names, self.sources, weights, planned, actual, held, strict=True
            )
        ]
        told = {"sequences": sum(actual), "tokens": sum(source["tokens"] for source in sources)}
        mixture = {
            "sequence_tokens": self.sequence_tokens,
            "batch_sequences": self.batch_sequences,
            "planned_sequences": sum(planned),
            "planned_tokens": self.tokens,
            **told,
            "sources": sources,
        }
        (desk.folder / MIXTURE).write_text(json.dumps(mixture, indent=1) + "\n")
        there = {"available": sum(each.rows for each in held), "available_tokens": sum(each.tokens for each in held)}
        return {**there, **told}

    def _held(self, desk: Desk, source: Table) -> Held:
        rows, tokens = sum(desk.rows(source)), tokens_of(desk, source)
        return Held(rows, tokens, Fraction(tokens, rows) if rows else Fraction(self.sequence_tokens))

    def _sequences(self, held: list[Held], weights: list[Fraction]) -> tuple[list[int], list[int]]:
        """Planned and actual sequences of each source."""
        # A source of equal weight in tokens needs the more sequences, the less they hold.
        needed = [weight / each.mean for weight, each in zip(weights, held, strict=True)]
        planned = self._whole_batches(self.tokens * sum(needed, Fraction(0)) / sum(weights))
        caps = [math.floor(exact(self.max_epochs) * each.rows) for each in held]
        most = [math.floor(cap * each.mean) for cap, each in zip(caps, held, strict=True)]
        there = sum(tokens for tokens, weight in zip(most, weights, strict=True) if weight)
        budgets = filled(min(self.tokens, there), weights, most)
        given = sum(Fraction(budget) / each.mean for budget, each in zip(budgets, held, strict=True))
        return shares(planned, needed), filled(self._whole_batches(given), needed, caps)

    def _whole_batches(self, sequences: Fraction | int) -> int:
        return math.floor(sequences) // self.batch_sequences * self.batch_sequences


def tokens_of(desk: Desk, source: Table) -> int:
    """Tokens of documents in a packed table: from its books, or counted where they are silent, as those of a Keep."""
    books = desk.manifest(source)["books"]
    if "tokens" in books:
        return books["tokens"]
    parts = (desk.read(source, part, ["lengths"]).column("lengths") for part in range(desk.parts(source)))
    return sum(pc.sum(pc.list_flatten(lengths)).as_py() or 0 for lengths in parts)


def exact(number: float) -> Fraction:
    """The number as it is written: 0.7 is seven tenths, so that 0.7 of 10 is 7."""
    return Fraction(str(number))


def shares(total: int, weights: list[Fraction]) -> list[int]:
    """`total` in proportion to the weights, as integers that add up to it: largest remainder, the first of equals."""
    whole = sum(weights)
    parts = [total * weight / whole for weight in weights] if whole else [Fraction(0)] * len(weights)
    counts = [int(part) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda n: counts[n] - parts[n])
    for n in by_remainder[: total - sum(counts)]:
        counts[n] += 1
    return counts


def filled(total: int, weights: list[Fraction], caps: list[int]) -> list[int]:
    """`shares` that stay under the caps: what a capped one leaves goes to the others, by weight.

    `total` is at most what the caps of positive weight allow.
    """
    counts = [0] * len(weights)
    open_ = [n for n, weight in enumerate(weights) if weight]
    left = total
    while open_:
        whole = sum(weights[n] for n in open_)
        above = [n for n in open_ if left * weights[n] > caps[n] * whole]
        if not above:
            break
        for n in above:
            counts[n] = caps[n]
            left -= caps[n]
        open_ = [n for n in open_ if n not in above]
    for n, count in zip(open_, shares(left, [weights[n] for n in open_]), strict=True):
        counts[n] = count
    return counts
