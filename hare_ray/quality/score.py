"""How good every document is, by vote of the committee.

    text, embedding -> quality float32            0 to 1: the weighted mean of the members' probabilities
                       disagreement float32       their weighted standard deviation
                       member_<name> float32      what each member said

The members are linear, so a document costs a few hundred multiplications on top of the one pass over its
first page; the sentence vector is there already. Documents the members disagree on are where more examples
help most.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray import voting
from hare_ray.quality.committee import MEMBERS, REPORT
from hare_ray.stage import Annotate, Files, Make, PartFunction, Table


class Score(Annotate):
    """The committee's vote on every document."""

    docs: Table
    embeddings: Table
    committee: Make

    imports: ClassVar[tuple[str, ...]] = ("numba",)

    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field(name, pa.float32(), nullable=False)
            for name in ("quality", "disagreement", *(f"member_{name}" for name in MEMBERS))
        ]
    )
    reads: ClassVar[tuple[str, ...] | None] = ("text",)

    def prepare(self, files: Files) -> PartFunction:
        """Load the members."""
        from threadpoolctl import ThreadpoolController

        from hare_ray.quality.members import probability, views

        folder = files(self.committee)
        meaning, words, shape = (np.load(folder / f"{name}.npy") for name in MEMBERS)
        shares = _weights(folder)
        threads = ThreadpoolController()

        def score(docs: pa.Table, embeddings: pa.Table) -> pa.Table:
            seen = views(docs.column("text"))
            vectors = _matrix(embeddings, len(meaning) - 1)
            with threads.limit(limits=1):  # a product split over threads is another one in the last bits
                scores = [
                    vectors @ meaning[:-1] + meaning[-1],
                    seen.bags.scores(words[:-1]) + words[-1],
                    seen.shape @ shape[:-1] + shape[-1],
                ]
            chances = probability(np.stack(scores))
            quality, disagreement = voting.vote(chances, shares)
            columns = [pa.array(values.astype(np.float32)) for values in (quality, disagreement, *chances)]
            return pa.table(columns, schema=self.writes)

        return score


def _weights(folder: Path) -> NDArray[np.float64]:
    report = json.loads((folder / REPORT).read_text())
    return np.asarray([report["members"][name]["weight"] for name in MEMBERS])


def _matrix(embeddings: pa.Table, dimensions: int) -> NDArray[np.float32]:
    column = embeddings.column("embedding")
    if column.type.list_size != dimensions:
        raise ValueError(
            f"given vectors of {column.type.list_size} dimensions, the committee learned from {dimensions}; "
            "give Embed and Committee one model"
        )
    flat = np.concatenate([np.empty(0, np.float16), *(chunk.flatten().to_numpy() for chunk in column.chunks)])
    return flat.reshape(len(column), dimensions).astype(np.float32)
