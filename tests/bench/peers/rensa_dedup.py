"""rensa's full R-MinHash and its index over JSON lines; runs in the venv `sketches`.

    rensa_dedup.py IN OUT SETTINGS WORKERS

Words are split at white space, as in its manual. A document goes where an earlier one shares a band with it. Its
sampling scheme `rho`, the quicker one, is no MinHash: one word more at the front of a document changes most samples.
"""

import sys
from pathlib import Path

import orjson
from rensa import RMinHash, RMinHashLSH

NGRAM, BANDS, ROWS, SEED = 5, 14, 8, 1
THRESHOLD = 0.8
"""Its index wants one; candidates alone count here, and these depend on the bands only."""


def shingles(text: str) -> list[str]:
    """Word 5-grams; of a shorter text the whole."""
    words = text.lower().split()
    return [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def main() -> None:
    """Read, sketch, look up and insert, write."""
    source, out, _, _ = sys.argv[1:]
    lines = [line for file in sorted(Path(source).glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    permutations = BANDS * ROWS
    sets = (shingles(orjson.loads(line)["text"]) for line in lines)
    index = RMinHashLSH(THRESHOLD, permutations, BANDS)
    target = Path(out) / "kept"
    target.mkdir(parents=True)
    with (target / "part.jsonl").open("wb") as kept:
        for number, sketch in enumerate(RMinHash.from_token_sets(sets, permutations, SEED)):
            if not index.query(sketch):
                kept.write(lines[number] + b"\n")
            index.insert(number, sketch)


if __name__ == "__main__":
    main()
