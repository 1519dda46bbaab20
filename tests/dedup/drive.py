"""Runs deduplication of a crawl in a process of its own: python -m tests.dedup.drive ROOT FOLDER WORKERS."""

import sys

from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.known import DuplicateIndex
from hare_ray.dedup.signature import Signature
from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from hare_ray.stage import Source, Stage
from tests.dedup.stages import Texts

MEMORY_BYTES = 100_000
"""Of a task: so little that a crawl of 490 short texts in four files is four groups and partitions, and 8 of keys."""


def graph(folder: str) -> tuple[Stage, ...]:
    docs = Texts(files=Source(location=folder, part_bytes=1))
    signature = Signature(docs=docs, ngram=5, unit="word", bands=14, rows=8, seed=1)
    duplicates = Duplicates(
        docs=docs, signatures=signature, min_similarity=0.5, prefer=("words",), memory_bytes=MEMORY_BYTES
    )
    return duplicates, DuplicateIndex(docs=docs, signatures=signature, duplicates=duplicates)


def main(root: str, folder: str, workers: str) -> None:
    run(*graph(folder), root=root, executor=lambda at: OnRay(at, int(workers)))


if __name__ == "__main__":
    main(*sys.argv[1:])
