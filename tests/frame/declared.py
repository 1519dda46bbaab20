"""Which packages the stages of topics and quality import while they run: python -m tests.frame.declared ROOT.

Every stage runs in a process of its own, forked before anything of another is imported. Only what this package imports
by itself is written down, not what libraries import in turn.
"""

import builtins
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from hare_ray.cluster import Assign, ClusterMap, KMeans, LabelClusters
from hare_ray.dedup.semantic import SemanticDuplicates
from hare_ray.engine import run
from hare_ray.priors.quality import examples_file
from hare_ray.quality import Committee, Labelled, Score, Select
from hare_ray.stage import Annotate, Files, PartFunction, Source, Stage, Table

DIMENSIONS = 8


class Letters(Annotate):
    """A vector of how often some letters occur."""

    docs: Table
    writes = pa.schema([pa.field("embedding", pa.list_(pa.float16(), DIMENSIONS))])

    def prepare(self, files: Files) -> PartFunction:
        def count(docs: pa.Table) -> pa.Table:
            texts = docs.column("text").to_pylist()
            found = np.array([[1 + text.count(letter) for letter in "etaoinsh"] for text in texts], np.float32)
            found /= np.linalg.norm(found.reshape(-1, DIMENSIONS), axis=1, keepdims=True)
            flat = pa.array(found.astype(np.float16).ravel())
            return pa.table([pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)], schema=self.writes)

        return count


def stages() -> Iterator[Stage]:
    """Inputs before users."""
    yield (
        docs := Labelled(files=Source(label="examples", location=examples_file()), scale=5.0, max_record_bytes=1 << 20)
    )
    yield (vectors := Letters(docs=docs))
    yield (centroids := KMeans(embeddings=vectors, clusters=3, sample_rows=1000, iterations=2, seed=1, spherical=True))
    yield (clusters := Assign(embeddings=vectors, centroids=centroids))
    yield (
        committee := Committee(
            labelled=docs, embeddings=vectors, good_from=0.6, max_examples=40, temperature=2.0, seed=1, folds=2
        )
    )
    yield (scores := Score(docs=docs, embeddings=vectors, committee=committee))
    yield LabelClusters(
        docs=docs, clusters=clusters, scores=scores, words_per_label=2, nearest=2, documents_per_cluster=10
    )
    yield ClusterMap(docs=docs, embeddings=vectors, clusters=clusters, max_rows=30, seed=1)
    yield (
        gone := SemanticDuplicates(
            docs=docs, embeddings=vectors, clusters=clusters, opinions=(scores,), min_similarity=0.99,
            prefer=("quality",),
        )
    )  # fmt: skip
    yield Select(
        docs=docs, clusters=clusters, scores=scores, without=(gone,), keep_share=0.8, min_topic_share=0.4,
        min_quality=0.1,
    )  # fmt: skip


def imported(stage: Stage, root: str) -> list[str]:
    """Top-level names that modules of this package import while a stage runs, and what it runs on is there."""
    found: set[str] = set()
    real = builtins.__import__

    def watched(name, globals=None, *rest, **named):  # noqa: A002
        if (globals or {}).get("__name__", "").startswith("hare_ray."):
            found.add(name.split(".")[0])
        return real(name, globals, *rest, **named)

    builtins.__import__ = watched
    run(stage, root=root)
    return sorted(found - sys.stdlib_module_names)


if __name__ == "__main__":
    told = Path(sys.argv[1], "imported.jsonl")
    for one in stages():
        child = os.fork()
        if not child:
            line = {"stage": one.name, "declared": one.required_packages(), "imported": imported(one, sys.argv[1])}
            with told.open("a") as file:
                file.write(json.dumps(line) + "\n")
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{one!r} failed")
