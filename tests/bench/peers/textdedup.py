"""text-dedup's MinHash program; runs in text-dedup's own venv.

    textdedup.py IN OUT SETTINGS WORKERS      SETTINGS: equal | default

Its own settings: word 5-grams, 250 permutations, similarity 0.7, from which it makes its bands. Documents of fewer than
5 words it removes.
"""

import os
import subprocess
import sys

EQUAL = ["--num_perm", "112", "--b", "14", "--r", "8", "--ngram", "5"]


def main() -> None:
    """Run its program."""
    source, out, settings, workers = sys.argv[1:]
    command = [sys.executable, "-m", "text_dedup.minhash", "--path", "json", "--data_files", f"{source}/*.jsonl"]
    command += ["--split", "train", "--cache_dir", f"{out}/cache", "--output", f"{out}/kept", "--column", "text"]
    command += ["--num_proc", workers, *(EQUAL if settings == "equal" else [])]
    os.makedirs(out, exist_ok=True)  # noqa: PTH103
    subprocess.run(command, check=True, cwd=out, env={**os.environ, "HF_HOME": f"{out}/cache"})


if __name__ == "__main__":
    main()
