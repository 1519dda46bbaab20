"""Which entries of a vocabulary to keep, and how many: the compact tokenizer of PanGu-pi Pro (arXiv 2402.02791, 2.1).

In a small model the embedding and the head are a large part of the parameters, and most entries of a vocabulary made
for everything hardly occur in one's own corpus. The paper counts the entries over the corpus, keeps specials and the
most frequent, and asks of the size that (a) the kept entries cover over 90 % of all tokens and (b) embedding and head
stay below 20 % of the parameters. Of the sizes of its table 1 it takes the largest of that kind:

    entries      8k      16k     32k     48k     72k     100k
    coverage     78.68   87.24   94.49   97.86   99.84   100     % of the tokens of the corpus
    share        2.97    6.01    11.79   18.07   26.88   38.19   % of the parameters

That is the rule here: the largest size below the share, which must then cover enough. More entries than that cost
layers, fewer cost tokens per text.

What byte-pair encoding makes of a word, it makes in steps: an entry is joined from two others, and cannot come about
once one of these is gone. So entries are dropped one by one, the rarest of those that no other one is joined from,
and its occurrences count for its two halves from then on, because those take its place in the text. This gives one
order of dropping for all sizes, in which every kept entry can still be made, and the number kept is exact.
Coverage is by the counts of the original vocabulary, as in the paper.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MIN_COVERAGE = 0.90
MAX_SHARE = 0.20

MULTIPLE = 64
"""Sizes proposed are multiples of this: matrix products want even tiles."""

TABLE_ROWS = 32
"""About as many sizes are shown."""


class Sized(Protocol):
    """A shape of a decoder, as far as the rule looks at it: `hare_ray.model.shape.Shape` is one."""

    @property
    def hidden(self) -> int:
        """Width of an embedding."""
        ...

    @property
    def vocabulary(self) -> int:
        """Entries that `parameters` counts."""
        ...

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding."""
        ...

    @property
    def parameters(self) -> int:
        """All weights."""
        ...


@dataclass(frozen=True)
class Entries:
    """A vocabulary of N entries, as far as dropping needs to know it."""

    fixed: NDArray[np.bool_]
    """[N] entries that stay whatever they count: specials, bytes, an alphabet without bytes."""
    halves: NDArray[np.int64]
    """[N, 2] ids of the two entries that an entry is joined from last; -1: it is joined from none."""

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.fixed)

    def dropping(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids in the order in which they go, all that can; of equally rare ones the highest id first."""
        totals, fixed, halves = counts.tolist(), self.fixed.tolist(), self.halves.tolist()
        users = np.bincount(self.halves[self.halves >= 0], minlength=len(self)).tolist()
        heap = [(totals[n], -n) for n in range(len(self)) if not users[n] and not fixed[n]]
        heapq.heapify(heap)
        dropped: list[int] = []
        while heap:
            entry = -heapq.heappop(heap)[1]
            dropped.append(entry)
            for half in halves[entry]:
                if half >= 0:
                    totals[half] += totals[entry]
                    users[half] -= 1
                    if not users[half] and not fixed[half]:
                        heapq.heappush(heap, (totals[half], -half))
        return np.array(dropped, np.int64)

    def remap(self, dropping: NDArray[np.int64], vocabulary: int) -> NDArray[np.int32]:
        """[N] new id of every entry, -1 for dropped ones. Their order stays, so specials that came first still do."""
        kept = np.ones(len(self), bool)
        kept[dropping[: len(self) - vocabulary]] = False
        assert kept.sum() == vocabulary
        return np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)


@dataclass(frozen=True)
class Size:
    """A size of the vocabulary and what it brings: a row of the paper's table."""

    vocabulary: int
    coverage: float
    """Share of the tokens of the corpus that are kept entries, 0 to 1."""
    share: float
    """Share of the model's parameters that are embedding and head, 0 to 1."""

    def __str__(self) -> str:
        """For messages."""
        return f"{self.vocabulary} entries (coverage {self.coverage:.2%}, embedding and head {self.share:.2%})"


def share(shape: Sized, vocabulary: int) -> float:
    """Embedding and head as a part of all parameters, if the shape had that vocabulary."""
    width = shape.hidden * (1 if shape.tied else 2)
    body = shape.parameters - width * shape.vocabulary
    return width * vocabulary / (body + width * vocabulary)


def covered(dropping: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[dropped + 1] tokens of the corpus that are kept entries when the first 0, 1, 2, ... have gone."""
    return int(counts.sum()) - np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[dropping])])


def sizes(dropping: NDArray[np.int64], counts: NDArray[np.int64], shape: Sized) -> list[Size]:
    """All multiples of 64 that the vocabulary can be cut to, from small to large."""
    left = covered(dropping, counts)
    entries, total = len(counts), max(int(counts.sum()), 1)
    lowest = -(-(entries - len(dropping)) // MULTIPLE) * MULTIPLE
    return [
        Size(number, float(left[entries - number] / total), share(shape, number))
        for number in range(max(lowest, MULTIPLE), entries + 1, MULTIPLE)
    ]


def proposed(candidates: Sequence[Size]) -> Size:
    """The largest that leaves 80 % of the parameters to the layers; ValueError where it covers too little."""
    if not candidates:
        raise ValueError(
            f"given a vocabulary that no multiple of {MULTIPLE} fits; give a number of entries of your own"
        )
    in_share = [size for size in candidates if size.share < MAX_SHARE]
    found = max(in_share, key=lambda size: size.vocabulary, default=None)
    if found and found.coverage > MIN_COVERAGE:
        return found
    enough = [size for size in candidates if size.coverage > MIN_COVERAGE]
    least = min(enough, key=lambda size: size.vocabulary, default=None)
    smallest = min(candidates, key=lambda size: size.vocabulary)
    raise ValueError(
        f"given a vocabulary of which the largest size below a share of {MAX_SHARE:.0%} is "
        f"{found or f'none: the smallest is {smallest}'}, and the smallest with a coverage over {MIN_COVERAGE:.0%} is "
        f"{least or 'none'}; expected one that is both; take a larger model, tie embedding and head, train a tokenizer "
        "on this corpus, or give a number of entries of your own"
    )


def shown(candidates: Sequence[Size]) -> list[Size]:
    """Some of the sizes, evenly spread, for a table."""
    step = MULTIPLE * -(-len(candidates) // TABLE_ROWS)
    return [size for size in candidates if size.vocabulary % step == 0 or size is candidates[-1]]
