"""fastText's side of the quality benchmark: train on texts with labels, give the chance of `good` for others.

    python quality_fasttext.py jobs.json out.json

jobs: a list of {"seed", "train": [[label, text]], "test": [text]}; out: {"chances": [[...]], "seconds": [...]},
the seconds of scoring alone.
"""

import json
import re
import sys
import tempfile
import time
from pathlib import Path

import fasttext

EPOCHS = 25
"""fastText's own default of 5 is for larger sets; with 5 it is worse here."""
WORD_NGRAMS = 2


def line(text: str) -> str:
    """Text as fastText's tutorials prepare it: lower case, punctuation apart, one line."""
    return " ".join(re.sub(r"([^\w\s])", r" \1 ", text.lower()).split())


def main() -> None:
    """Train and score every job."""
    jobs = json.loads(Path(sys.argv[1]).read_text())
    chances, seconds = [], []
    for job in jobs:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as source:
            source.writelines(f"__label__{label} {line(text)}\n" for label, text in job["train"])
            source.flush()
            model = fasttext.train_supervised(
                source.name, wordNgrams=WORD_NGRAMS, epoch=EPOCHS, seed=job["seed"], thread=1, verbose=0
            )
        began = time.perf_counter()
        found = []
        for text in job["test"]:
            labels, values = model.predict(line(text), k=2)
            found.append(dict(zip(labels, map(float, values), strict=True)).get("__label__1", 0.0))
        seconds.append(time.perf_counter() - began)
        chances.append(found)
    Path(sys.argv[2]).write_text(json.dumps({"chances": chances, "seconds": seconds}))


if __name__ == "__main__":
    main()
