"""How good every document is, by vote of the committee.

    text, embedding -> quality float32            0 to 1: the calibrated chance of being good
                       disagreement float32       weighted standard deviation of the members' chances
                       member_<name> float32      what each member said, calibrated

A document costs one pass over its first page and some thousand multiplications; the sentence vector is there already.
One without words gets 0 from all: there is nothing to learn from it. Documents the members disagree on are where more
labels help most.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray import voting
from hare_ray.quality.names import MEMBERS, REPORT
from hare_ray.stage import Annotate, Files, Make, PartFunction, Table

SLICE_ROWS = 1024
"""Documents looked at together: their n-grams take 0.1 MB each, a part may hold 100,000."""


class Score(Annotate):
    """The committee's vote on every document."""

    docs: Table
    embeddings: Table
    committee: Make

    code: ClassVar[int] = 3
    imports: ClassVar[tuple[str, ...]] = ("numba", "threadpoolctl")

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

        from hare_ray.quality.learning import matrix
        from hare_ray.quality.members import views
        from hare_ray.quality.voters import Seen, scores

        folder = files(self.committee)
        trained = {
            name: {file.stem.removeprefix(f"{name}_"): np.load(file) for file in folder.glob(f"{name}_*.npy")}
            for name in MEMBERS
        }
        frequent = np.load(folder / "frequent.npy")
        judged = _vote(folder)
        threads = ThreadpoolController()

        def some(texts: pa.ChunkedArray, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
            seen = Seen(vectors, views(texts, frequent), frequent)
            with threads.limit(limits=1):  # a product split over threads is another one in the last bits
                quality, disagreement, chances = judged(scores(seen, trained))
            found = np.stack([quality, disagreement, *chances])
            return np.where(seen.views.lengths > 0, found, 0).astype(np.float32)

        def score(docs: pa.Table, embeddings: pa.Table) -> pa.Table:
            self._check(embeddings, len(trained["meaning"]["head"]) - 1)
            vectors, texts = matrix(embeddings, repr(self)), docs.column("text")
            starts = range(0, max(len(docs), 1), SLICE_ROWS)
            parts = [some(texts.slice(at, SLICE_ROWS), vectors[at : at + SLICE_ROWS]) for at in starts]
            return pa.table([pa.array(values) for values in np.concatenate(parts, axis=1)], schema=self.writes)

        return score

    def _check(self, embeddings: pa.Table, dimensions: int) -> None:
        given = embeddings.column("embedding").type.list_size
        if given != dimensions:
            raise ValueError(
                f"{self!r}: given vectors of {given} dimensions, the committee learned from {dimensions}; "
                "embed documents and labelled texts by one model"
            )


Judged = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _vote(folder: Path) -> Callable[[NDArray[np.float64]], Judged]:
    """Log odds of the members as quality, disagreement and the members' chances."""
    from hare_ray.quality.calibration import Curve, log_odds, probability

    report = json.loads((folder / REPORT).read_text())
    members = [report["members"][name] for name in MEMBERS]
    shares = [one["weight"] for one in members]
    curves = [Curve(*(one["calibration"][key] for key in "abc")) for one in (*members, report["committee"])]

    def judged(scored: NDArray[np.float64]) -> Judged:
        chances = np.stack([curve(probability(one)) for curve, one in zip(curves[:-1], scored, strict=True)])
        disagreement = voting.vote(chances, shares)[1]
        voted = voting.vote([log_odds(one) for one in chances], shares)[0]
        return curves[-1](probability(voted)), disagreement, chances

    return judged
