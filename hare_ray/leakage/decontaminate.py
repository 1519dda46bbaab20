"""Which documents hold benchmark items: the verdict of `hare_ray.leakage.leaks` on every document.

    text  ->  LEAKS: the item, how and where it was found, the overlap, and the reason to drop the document

One pass over the words, which it shares with the other stages that look at the same documents, and a filter that stays
in the processor's cache: most of the time goes into reading the text, not into looking for leaks. The index is mapped,
so the workers of one machine hold it once.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from hare_ray.leakage.leaks import LEAKS, Rule, checker
from hare_ray.stage import Annotate, Files, Make, PartFunction, Table


class Decontaminate(Annotate):
    """Drops documents that hold benchmark items."""

    docs: Table
    index: Make
    """A LeakIndex."""
    rule: Rule

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("numba",)

    reads: ClassVar[tuple[str, ...] | None] = ("text",)
    writes: ClassVar[pa.Schema] = LEAKS

    def prepare(self, files: Files) -> PartFunction:
        """Map the index."""
        return checker(files(self.index), self.rule)
