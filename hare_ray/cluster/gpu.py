"""The nearest centroids by faiss, on a GPU where a process has one.

On a CPU the same search is a matrix product of numpy, which is as fast (`hare_ray.cluster.lloyd`). The sums of a GPU
are others in the last bits, so centroids made on one are equal only to such.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@cache
def resources() -> Any:
    """What faiss keeps on the GPU of this process; ValueError where there is none, or no faiss that could use it."""
    import faiss

    module: Any = faiss
    if not hasattr(module, "StandardGpuResources") or module.get_num_gpus() < 1:
        raise ValueError(
            "given gpus=1, expected a GPU that faiss can use in this process; install faiss-gpu-cu12 on a machine with "
            "an NVIDIA GPU, or set gpus=0"
        )
    return module.StandardGpuResources()


def nearest_by_faiss(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32], spherical: bool, gpu: bool
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """As `hare_ray.cluster.lloyd.nearest`; of equal centroids any may be found."""
    import faiss

    module: Any = faiss
    metric = module.METRIC_INNER_PRODUCT if spherical else module.METRIC_L2
    if gpu:
        found, cluster = module.knn_gpu(resources(), vectors, centroids, 1, metric=metric)
    else:
        found, cluster = module.knn(vectors, centroids, 1, metric)
    score = found[:, 0]
    if not spherical:  # |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2)
        score = (np.einsum("ij,ij->i", vectors, vectors) - score) / 2
    return cluster[:, 0].astype(np.int32), score.astype(np.float32)
