"""datatrove's MinHash deduplication, its four stages one after the other; runs in datatrove's own venv.

    datatrove_dedup.py IN OUT SETTINGS WORKERS      folders of JSON lines

Its own settings are ours: word 5-grams, 14 bands of 8 rows, so SETTINGS says nothing here.
"""

import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter


def main() -> None:
    """Signatures by file, buckets, clusters in one task, filter by file."""
    source, out, _, workers = sys.argv[1:]
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    files = len(list(Path(source).glob("*.jsonl")))
    signatures, buckets, removed = (f"{out}/{name}" for name in ("signatures", "buckets", "removed"))
    steps = [
        (files, [JsonlReader(source), MinhashDedupSignature(signatures, config=config)]),
        (config.num_buckets, [MinhashDedupBuckets(signatures, buckets, config=config)]),
        (1, [MinhashDedupCluster(buckets, removed, config=config)]),
        (files, [JsonlReader(source), MinhashDedupFilter(removed), JsonlWriter(f"{out}/kept", compression=None)]),
    ]
    for number, (tasks, pipeline) in enumerate(steps):
        logs = f"{out}/logs/{number}"
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(int(workers), tasks), logging_dir=logs).run()


if __name__ == "__main__":
    main()
