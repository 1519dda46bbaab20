"""Which template, audience and style the prompts of a topic take, one after the other.

    kinds_of(docs, kinds)                   -> int array: the kind of each document, by its URL and its file's name
    rotation_of(prompts, kind).at(topic, n) -> template, audience and style of prompt n of that topic

A walk through all T * A * S combinations of a kind that meets each once before any again. In any stretch of it no two
templates, audiences or styles differ in their counts by more than two, so small topics, which never come to the end of
it, are as even as large ones: random choice is even on average only, and a plain mixed radix changes its last digit
after T * A prompts. Each digit counts every step; it is shifted by one whenever it and the digits before it come round
together (n // lcm), without which they would stay in step. Each topic's hash then renames the values of each axis,
x -> (start + step * x) mod size with `step` coprime to `size`, so that topics neither begin alike nor pair alike.

All of it is a function of topic and n alone, whatever the parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from hare_ray.priors.prompts import Audience, Kind, Prompts, Style, Template

Value = TypeVar("Value")


def kinds_of(docs: pa.Table, kinds: Sequence[Kind]) -> NDArray[np.int32]:
    """The number of the first kind with a pattern for the URL or file of each document; of the last where none fits."""
    found = np.full(len(docs), len(kinds) - 1, np.int32)
    for number in reversed(range(len(kinds) - 1)):
        for pattern in kinds[number].patterns:
            for name in ("url", "file"):
                hit = pc.match_substring_regex(docs.column(name), pattern, ignore_case=True)
                found[np.asarray(hit, bool)] = number
    return found


@dataclass(frozen=True)
class Axis(Generic[Value]):
    """What one part of a prompt can be, in an order of the topic's own."""

    name: str
    values: tuple[Value, ...]

    def at(self, topic: int | None, digit: int) -> Value:
        """The value that the topic has for a digit."""
        size = len(self.values)
        key = xxhash.xxh3_64_intdigest(f"{self.name} {topic}".encode())
        steps = [step for step in range(1, size + 1) if math.gcd(step, size) == 1]
        return self.values[(key % size + digit * steps[key // size % len(steps)]) % size]


@dataclass(frozen=True)
class Rotation:
    """All combinations of a kind in turn."""

    templates: Axis[Template]
    audiences: Axis[Audience | None]
    styles: Axis[Style | None]

    @property
    def length(self) -> int:
        """Prompts until they come again."""
        return len(self.templates.values) * len(self.audiences.values) * len(self.styles.values)

    def at(self, topic: int | None, number: int) -> tuple[Template, Audience | None, Style | None]:
        """The parts of prompt `number` of a topic."""
        first, second, third = digits(
            number % self.length,
            (len(self.templates.values), len(self.audiences.values), len(self.styles.values)),
        )
        return self.templates.at(topic, first), self.audiences.at(topic, second), self.styles.at(topic, third)


def digits(number: int, sizes: Sequence[int]) -> list[int]:
    """One digit for each size: different for all numbers below the product, and each of them moves at every step."""
    found, period = [], 1
    for size in sizes:
        found.append((number + number % (period * size) // math.lcm(period, size)) % size)
        period *= size
    return found


def rotation_of(prompts: Prompts, kind: str) -> Rotation:
    """The rotation of a kind; None stands for the audience and style of continuations."""
    audiences, styles, templates = prompts.variants(kind)
    return Rotation(
        Axis("template", templates), Axis("audience", audiences or (None,)), Axis("style", styles or (None,))
    )
