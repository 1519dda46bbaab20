"""Which examples a committee learns from: their first pages, labels, groups and vectors.

Of more than `max_examples`, every group of a side gives as many as the smallest do, and larger ones fill up what those
leave (water-filling); which ones is drawn by seed. Labels and groups are read of all, texts and vectors of the chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hare_ray.gather import Desk
    from hare_ray.quality.committee import Committee


@dataclass(frozen=True)
class Chosen:
    """The examples; `group` indexes `names`."""

    texts: list[str]
    label: NDArray[np.int64]
    group: NDArray[np.int64]
    names: list[str]
    vectors: NDArray[np.float32]
    not_used: int

    def rows_by_group(self) -> dict[str, int]:
        """Examples of every group, by name."""
        rows = np.bincount(self.group, minlength=len(self.names))
        return {name: int(rows[at]) for at, name in enumerate(self.names)}


def chosen(desk: Desk, stage: Committee) -> Chosen:
    """Read what is learned from."""
    from hare_ray.quality.members import first_pages

    stated = [desk.read(stage.labelled, part, ["label", "group"]) for part in range(desk.parts(stage.labelled))]
    edges = np.cumsum([0, *map(len, stated)])
    label, group, names = _stated(stated, stage)
    rows = sample(label, group, stage.max_examples, stage.seed)
    texts: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    for part, first in enumerate(edges[:-1].tolist()):
        wanted = rows[(rows >= first) & (rows < edges[part + 1])] - first
        if len(wanted):
            read = desk.read(stage.labelled, part, ["text"]).take(pa.array(wanted))
            texts += first_pages(read.column("text")).to_pylist()
            vectors.append(matrix(desk.read(stage.embeddings, part, ["embedding"]).take(pa.array(wanted)), repr(stage)))
    filled = np.flatnonzero([bool(text.strip()) for text in texts])
    rows = rows[filled]
    _check_sides(label[rows], stage)
    return Chosen(
        [texts[row] for row in filled],
        label[rows],
        group[rows],
        names,
        np.concatenate(vectors)[filled],
        len(label) - len(rows),
    )


def _stated(stated: list[pa.Table], stage: Committee) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Sides and groups of all labelled texts, and the names of the groups."""
    schema = pa.schema([stage.labelled.schema().field(name) for name in ("label", "group")])
    table = pa.concat_tables([schema.empty_table(), *stated])
    labels = table.column("label").to_numpy()
    if not np.isfinite(labels).all():
        broken = int(np.sum(~np.isfinite(labels)))
        raise ValueError(f"{stage!r}: given {broken} of {len(labels)} labels that are no numbers, expected 0 to 1")
    known = table.column("group").combine_chunks().dictionary_encode()
    if isinstance(known, pa.ChunkedArray):
        known = known.combine_chunks()
    names = known.dictionary.to_pylist()
    order = np.argsort(np.array(names, object), kind="stable")
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    group = place[known.indices.to_numpy(zero_copy_only=False)] if names else np.empty(0, np.int64)
    return (labels >= np.float32(stage.good_from)).astype(np.int64), group, [names[at] for at in order]


def sample(label: NDArray[np.int64], group: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Ascending rows, at most `most`: half of each side where there are enough, groups as even as they allow."""
    if len(label) <= most:
        return np.arange(len(label))
    draw = np.random.default_rng(seed)
    sizes = np.bincount(label, minlength=2)
    quota = _filled(sizes, most)
    kept = []
    for side in (0, 1):
        own = np.flatnonzero(label == side)
        names, which = np.unique(group[own], return_inverse=True)
        shares = _filled(np.bincount(which, minlength=len(names)), int(quota[side]))
        for at in range(len(names)):
            members = own[which == at]
            kept.append(draw.permutation(members)[: shares[at]])
    return np.sort(np.concatenate(kept))


def _filled(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Shares of `total`, as even as `sizes` allow."""
    shares = np.zeros(len(sizes), np.int64)
    left = min(total, int(sizes.sum()))
    for done, at in enumerate(np.argsort(sizes, kind="stable")):
        shares[at] = min(int(sizes[at]), left // (len(sizes) - done))
        left -= int(shares[at])
    return shares


def _check_sides(label: NDArray[np.int64], stage: Committee) -> None:
    good, poor = int(np.sum(label == 1)), int(np.sum(label == 0))
    if not good or not poor:
        raise ValueError(
            f"{stage!r}: given {good} good and {poor} poor examples, expected some of both; what is good begins at "
            f"label {stage.good_from}: change good_from, or add examples of the other kind"
        )
    if stage.folds > min(good, poor):
        raise ValueError(
            f"{stage!r}: given folds={stage.folds} for {good} good and {poor} poor examples, "
            f"expected 2 to {min(good, poor)}; every fold needs one of each"
        )


def matrix(embeddings: pa.Table, whose: str) -> NDArray[np.float32]:
    """The column `embedding` as float32[rows, dimensions]."""
    column = embeddings.column("embedding")
    if column.null_count:
        raise ValueError(
            f"{whose}: given {column.null_count} nulls among {len(column)} vectors, expected a vector per row; an "
            "embedder gives the zero vector to a document without text"
        )
    flat = np.concatenate([np.empty(0, np.float16), *(chunk.flatten().to_numpy() for chunk in column.chunks)])
    vectors = flat.reshape(len(column), column.type.list_size).astype(np.float32)
    broken = int(np.sum(~np.isfinite(vectors).all(axis=1)))
    if broken:
        raise ValueError(
            f"{whose}: given NaN or infinite numbers in the vectors of {broken} of {len(vectors)} rows, expected "
            "finite ones; a model that overflows in its dtype gives them: embed again in float32 or bfloat16"
        )
    return vectors
