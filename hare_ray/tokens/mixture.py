"""How many sequences of each source a training stage sees: the recipe's shares against what there is.

    packed sources -> mixture.json   per source: weight, planned, actual and available sequences, epochs, tokens

A source is planned `weight` of all sequences. None is seen more than `max_epochs` times: a small source with a large
share would be learnt by heart. The HARE paper's numbers come to 16 epochs of its Restruct set; Muennighoff et al.
(arXiv 2305.16264) find up to 4 nearly as good as new data, with returns that diminish from there.
What a capped source cannot give is spread over the others in proportion to their weights, until nobody is above its
cap (water-filling). Where all are, the run is shorter than planned. Counts are integers, by largest remainder, add up
exactly, and come to whole batches.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from hare_ray.stage import Make, Table
from hare_ray.tokens.pack import Pack

if TYPE_CHECKING:
    from hare_ray.gather import Desk

MIXTURE = "mixture.json"


class Mixture(Make):
    """The number of sequences of each source."""

    sources: tuple[Table, ...]
    """Pack stages of equal `sequence_tokens`."""
    names: tuple[str, ...]
    weights: tuple[float, ...]
    """Shares, relative to each other."""
    tokens: int
    """Planned length of training."""
    sequence_tokens: int
    max_epochs: float
    """How often a sequence is seen, at most."""
    batch_sequences: int
    """Sequences of one optimizer step; the total is rounded down to whole steps."""

    imports: ClassVar[tuple[str, ...]] = ()

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
        """Fill, and write mixture.json; returns the sequences there are and those that training will see."""
        available = [sum(desk.rows(source)) for source in self.sources]
        weights = [exact(weight) for weight in self.weights]
        batch = self.batch_sequences
        wanted = self.tokens // self.sequence_tokens // batch * batch
        caps = [int(exact(self.max_epochs) * rows) for rows in available]
        total = min(wanted, sum(cap for cap, weight in zip(caps, weights, strict=True) if weight) // batch * batch)
        if not total:
            raise ValueError(
                f"{self!r}: given {dict(zip(self.names, available, strict=True))} sequences, at most "
                f"{self.max_epochs} epochs of them, and tokens={self.tokens} ({self.tokens // self.sequence_tokens} "
                f"sequences of {self.sequence_tokens}), expected enough for one batch of {batch}; "
                "bring more text, plan more tokens or lower batch_sequences"
            )
        planned, actual = shares(wanted, weights), filled(total, weights, caps)
        mixture = {
            "sequence_tokens": self.sequence_tokens,
            "batch_sequences": batch,
            "planned_sequences": wanted,
            "sequences": total,
            "sources": [
                {
                    "name": self.names[n],
                    "table": self.sources[n].name,
                    "weight": float(weights[n] / sum(weights)),
                    "planned": planned[n],
                    "actual": actual[n],
                    "available": available[n],
                    "epochs": actual[n] / max(available[n], 1),
                    "tokens": actual[n] * self.sequence_tokens,
                }
                for n in range(len(self.sources))
            ],
        }
        (desk.folder / MIXTURE).write_text(json.dumps(mixture, indent=1) + "\n")
        return {"available": sum(available), "sequences": total}


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
