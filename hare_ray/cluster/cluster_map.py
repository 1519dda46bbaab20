"""A picture of the corpus: documents as points in the plane, like ones close together.

    id, url, title, embedding, cluster -> map.parquet: id, url, title, cluster int32, x float32, y float32

For people to look at in the report; no later stage reads it. `max_rows` rows are drawn as for k-means,
brought to 50 dimensions by PCA and to two by t-SNE (Barnes-Hut), started from the first two components so
that far topics stay far. t-SNE keeps neighbours, which is what a map of topics is for; PCA alone lays all
topics over each other. Below `MIN_TSNE_ROWS` points there are no neighbourhoods to keep, and PCA it is. One
thread: sums in another order would be another picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hare_ray.cluster.kmeans import SEED_LIMIT
from hare_ray.cluster.sample import check_one_base, stratified, take, vectors_of
from hare_ray.schema import ID
from hare_ray.stage import Make, Table

if TYPE_CHECKING:
    from hare_ray.gather import Desk

MAP = "map.parquet"

POINT = pa.schema(
    [
        ID,
        pa.field("url", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("cluster", pa.int32(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)

COMPONENTS = 50
"""Dimensions before t-SNE: the usual number; it takes noise and time away."""

PERPLEXITY = 30
"""Neighbours a point keeps; less where there are fewer than three times as many points."""

START_SPREAD = 1e-4
"""Standard deviation of the start: t-SNE wants to begin small."""

MIN_TSNE_ROWS = 10


class ClusterMap(Make):
    """A 2-D projection of a sample of documents."""

    docs: Table
    embeddings: Table
    clusters: Table
    """An Assign."""
    max_rows: int
    """Points in the picture. 2,000 take about 5 s; time grows like n log n."""
    seed: int

    imports: ClassVar[tuple[str, ...]] = ("sklearn", "threadpoolctl")

    def __post_init__(self) -> None:
        """Refuse tables that do not belong together and numbers that mean nothing."""
        check_one_base(self, self.docs, self.embeddings, self.clusters)
        if self.max_rows < 1:
            raise ValueError(f"{self!r}: given max_rows={self.max_rows}, expected at least 1")
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"{self!r}: given seed={self.seed}, expected 0 to {SEED_LIMIT - 1}")

    def make(self, desk: Desk) -> dict[str, int]:
        """Sample, project, write the points."""
        total = sum(desk.rows(self.docs))
        rows = stratified(total, self.max_rows, self.seed)
        points = project(vectors_of(take(desk, self.embeddings, rows, ("embedding",))), self.seed)
        table = take(desk, self.docs, rows, ("id", "url", "title"))
        table = table.append_column("cluster", take(desk, self.clusters, rows, ("cluster",)).column("cluster"))
        for axis, name in enumerate(("x", "y")):
            table = table.append_column(name, pa.array(points[:, axis]))
        pq.write_table(table.cast(POINT).combine_chunks(), desk.folder / MAP)
        return {"rows": total, "drawn": len(rows)}


def project(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Points[rows, 2] for vectors[rows, dimensions]; the same for the same vectors and seed."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    count = len(vectors)
    points = np.zeros((count, 2), np.float32)
    components = min(COMPONENTS, *vectors.shape)
    spread = float(np.ptp(vectors, axis=0).max()) if count else 0.0
    if count < 2 or spread == 0:
        return points
    with threadpool_limits(1):
        reduced = PCA(components, svd_solver="full").fit_transform(vectors)
        points[:, : min(2, components)] = reduced[:, :2]
        if count < MIN_TSNE_ROWS:
            return points
        start = points / points[:, 0].std() * START_SPREAD
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1)
        return tsne.fit_transform(reduced).astype(np.float32)
