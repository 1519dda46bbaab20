"""Rows of aligned tables by number: a sample that is spread over all of them, and their vectors as a matrix.

The sample is stratified: the rows of all parts, in order, are cut into as many equal stretches as rows are wanted,
and each gives one row, drawn by seed. It depends on the number of rows alone, not on how they are cut into parts, and
covers every stretch of the crawl, which a plain draw does only on average.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.stage import Stage, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk


def stratified(rows: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """`wanted` of `rows` row numbers, ascending, one from each of as many equal stretches; all of fewer."""
    if wanted >= rows:
        return np.arange(rows)
    edges = np.arange(wanted + 1, dtype=np.int64) * rows // wanted
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


def edges_of(desk: Desk, stage: Table) -> NDArray[np.int64]:
    """Number of the first row of every part, over all parts, and of the row after the last."""
    return np.concatenate([[0], np.cumsum(desk.rows(stage), dtype=np.int64)])


def check_one_base(stage: Stage, first: Table, *others: Table) -> None:
    """Refuse tables whose rows are not the same documents."""
    for other in others:
        if other.base is not first.base:
            raise ValueError(
                f"{stage!r} joins {first!r} on base {first.base!r} with {other!r} on base {other.base!r}; "
                "rows join by position, so all must speak of one and the same base object"
            )


def located(rows: NDArray[np.int64], edges: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Ascending row numbers over all parts, as part and row numbers within it; parts without any are left out."""
    cuts = np.searchsorted(rows, edges)
    return [
        (part, rows[cuts[part] : cuts[part + 1]] - edges[part])
        for part in range(len(edges) - 1)
        if cuts[part] < cuts[part + 1]
    ]


def take(desk: Desk, stage: Table, rows: NDArray[np.int64], columns: Iterable[str]) -> pa.Table:
    """Rows of a table, by ascending number over all its parts."""
    names = tuple(columns)
    nothing = pa.schema([stage.schema().field(name) for name in names]).empty_table()
    items = located(rows, edges_of(desk, stage))
    return pa.concat_tables([nothing, *desk.map(partial(_take, desk, stage, names), items)])


def _take(desk: Desk, stage: Table, columns: tuple[str, ...], item: tuple[int, NDArray[np.int64]]) -> pa.Table:
    part, rows = item
    return desk.read(stage, part, columns).take(pa.array(rows))


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors brought to length 1; zero vectors stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def vectors_of(table: pa.Table, whose: str = "the embeddings") -> NDArray[np.float32]:
    """The column `embedding` as a matrix [rows, dimensions]; ValueError, naming `whose`, where one is not finite."""
    column = table.column("embedding")
    if column.null_count:
        raise ValueError(
            f"{whose}: given {column.null_count} of {len(column)} rows without a vector, expected one in every row, "
            "all zero where a document has no text; make the embeddings anew"
        )
    flat = np.concatenate([np.empty(0, np.float16), *(chunk.flatten().to_numpy() for chunk in column.chunks)])
    vectors = flat.reshape(len(column), column.type.list_size).astype(np.float32)
    if not np.isfinite(vectors.sum()):  # one pass; sums of numbers up to 65,504 are finite in float32
        broken = int(np.count_nonzero(~np.isfinite(vectors).all(axis=1)))
        raise ValueError(
            f"{whose}: given NaN or infinite numbers in the vectors of {broken} of {len(vectors)} rows, expected "
            "finite ones; a model that overflows in its dtype gives them: embed again in float32 or bfloat16"
        )
    return vectors
