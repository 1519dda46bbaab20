"""datasketch's MinHash and its index over JSON lines; runs in the venv `sketches`.

    datasketch_dedup.py IN OUT SETTINGS WORKERS

Words are split at white space. A document goes where an earlier one shares a band with it. One process: the index is
no shared one.
"""

import sys
from pathlib import Path

import orjson
from datasketch import MinHash, MinHashLSH

NGRAM, BANDS, ROWS, SEED = 5, 14, 8, 1


def shingles(text: str) -> list[bytes]:
    """Word 5-grams; of a shorter text the whole."""
    words = text.lower().split()
    return [" ".join(words[i : i + NGRAM]).encode() for i in range(max(1, len(words) - NGRAM + 1))]


def main() -> None:
    """Read, sketch, look up and insert, write."""
    source, out, _, _ = sys.argv[1:]
    target = Path(out) / "kept"
    target.mkdir(parents=True)
    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    number = 0
    with (target / "part.jsonl").open("wb") as kept:
        for file in sorted(Path(source).glob("*.jsonl")):
            with file.open("rb") as lines:
                for line in lines:
                    sketch = MinHash(num_perm=BANDS * ROWS, seed=SEED)
                    sketch.update_batch(shingles(orjson.loads(line)["text"]))
                    if not index.query(sketch):
                        kept.write(line)
                    index.insert(number, sketch, check_duplication=False)
                    number += 1


if __name__ == "__main__":
    main()
