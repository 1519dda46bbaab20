"""model2vec's side of `make bench-embed`: vectors of the texts of a Parquet file, and how fast they come."""

import json
import os
import resource
import statistics
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core, as ours

import numpy as np
import pyarrow.parquet as pq
from model2vec import StaticModel

ROUNDS = 3
MAX_TOKENS = 128


def main() -> None:
    """Arguments: model folder, texts, where the vectors go."""
    folder, source, out = sys.argv[1:]
    model = StaticModel.from_pretrained(folder)
    texts = pq.read_table(source).column("document").to_pylist()
    seconds, vectors = [], np.empty(0)
    for _ in range(ROUNDS):
        began = time.perf_counter()
        vectors = model.encode(texts, max_length=MAX_TOKENS, use_multiprocessing=False)
        seconds.append(time.perf_counter() - began)
    np.save(out, np.asarray(vectors, np.float32))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"documents_per_second": len(texts) / statistics.median(seconds), "peak_mb": peak}))


if __name__ == "__main__":
    main()
