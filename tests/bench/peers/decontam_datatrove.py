"""datatrove's n-gram filter, for tests/bench/decontam.py; runs in datatrove's own venv.

    decontam_datatrove.py IN.json OUT.json

IN: items (question, choices, answer), kinds (texts with an item planted, in the order of the items), clean (texts).
OUT, by default and with n-grams of the question: seconds over the clean texts, which texts of each kind are dropped.
The index is made by datatrove's own `compute_hashes`, called with the filter's tokenizer and hash, which are the same:
an indexer of its own would want lighteval installed.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer

CONFIGS = {"datatrove": {}, "datatrove-query": {"find_query_ngrams": True}}


def dropped(one, text: str) -> bool:
    """Whether the filter drops the text."""
    return one.filter(Document(text=text, id="0")) is not True


def main() -> None:
    """Index, time, and decide."""
    source, target = map(Path, sys.argv[1:])
    given = json.loads(source.read_text())
    told = {}
    for name, options in CONFIGS.items():
        config = NGramsDecontConfig(**options)
        with tempfile.TemporaryDirectory() as folder:
            one = NGramsDecontFilter(folder, config=config)
            hashes = set()
            for item in given["items"]:
                for label in [item["answer"]] if item["answer"] else item["choices"]:
                    hashes.update(NGramsDecontIndexer.compute_hashes(one, label, item["question"]))
            np.array(sorted(hashes), config.hash_config.np_descr).tofile(f"{folder}/items.index.hashes")
            one.load_index_hashes()
            dropped(one, "Loads the tokenizer.")
            began = time.perf_counter()
            for text in given["clean"]:
                dropped(one, text)
            seconds = time.perf_counter() - began
            found = {kind: [dropped(one, text) for text in texts] for kind, texts in given["kinds"].items()}
        peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
        told[name] = {"seconds": seconds, "found": found, "peak_mb": peak}
    target.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
