"""A vector for every document by the fast model: the weighted sum of its words' vectors.

    title, text -> embedding fixed_size_list<float16>[dimensions], of length 1

It reads as many words as its `StaticModel` learned from, title first. A document without a word that the model knows
gets the zero vector, as one without text: nothing is known of it. The same column as that of `Embed`, made some
thousand times as fast; how far the two are apart is in the model's report.json.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from hare_ray.cluster.embed import beginnings, embedding_column, embedding_schema
from hare_ray.cluster.static import CHARACTERS_PER_WORD, load_words
from hare_ray.stage import Annotate, Files, Make, PartFunction, Table


class EmbedStatic(Annotate):
    """The vector of every document's beginning, fast."""

    docs: Table
    static: Make
    """A StaticModel."""
    dimensions: int
    """Of the model; said here because the schema must be known before there is one."""

    imports: ClassVar[tuple[str, ...]] = ("numba",)
    reads: ClassVar[tuple[str, ...] | None] = ("title", "text")

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        if self.dimensions < 1:
            raise ValueError(f"{self!r}: given dimensions={self.dimensions}, expected at least 1")

    def schema(self) -> pa.Schema:
        """One vector per row."""
        return embedding_schema(self.dimensions)

    def prepare(self, files: Files) -> PartFunction:
        """Load the words."""
        from hare_ray.text import words_of

        model, reading = load_words(files(self.static))
        found = len(model.mean)
        if found != self.dimensions:
            raise ValueError(
                f"{self!r}: {self.static!r} has {found} dimensions, the recipe says dimensions={self.dimensions}; "
                f"set dimensions={found}"
            )
        schema = self.schema()

        def embed(docs: pa.Table) -> pa.Table:
            words = words_of(beginnings(docs, CHARACTERS_PER_WORD * reading.max_words), places=False)
            return pa.table([embedding_column(model.embed(words, reading))], schema=schema)

        return embed
