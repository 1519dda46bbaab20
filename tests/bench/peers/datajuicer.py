"""data-juicer's MinHash deduplication, as its program `dj-process` does it; runs in data-juicer's own venv.

    datajuicer.py IN OUT SETTINGS WORKERS      SETTINGS: equal | default | ray | ray-default

Its own settings: 256 permutations, similarity 0.7, from which it makes 25 bands of 10 rows.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

EQUAL = {"num_permutations": 112, "num_bands": 14, "num_rows_per_band": 8}


def main() -> None:
    """Write its recipe, run its program."""
    source, out, settings, workers = sys.argv[1:]
    on_ray = settings.startswith("ray")
    numbers = {} if settings.endswith("default") else EQUAL
    name = "ray_bts_minhash_deduplicator" if on_ray else "document_minhash_deduplicator"
    recipe = {
        "project_name": "dedup",
        "dataset_path": source,
        "export_path": f"{out}/kept" if on_ray else f"{out}/kept/part.jsonl",
        "work_dir": f"{out}/work",
        "np": int(workers),
        "open_tracer": False,
        "process": [{name: {"tokenization": "space", "window_size": 5, **numbers}}],
    }
    if on_ray:
        recipe |= {"executor_type": "ray", "ray_address": "local"}
    Path(out).mkdir(parents=True, exist_ok=True)
    config = Path(out) / "recipe.yaml"
    config.write_text(json.dumps(recipe))
    caches = {"HF_DATASETS_CACHE": f"{out}/cache", "DATA_JUICER_CACHE_HOME": f"{out}/cache"}
    program = Path(sys.executable).parent / "dj-process"
    subprocess.run([str(program), "--config", str(config)], check=True, env={**os.environ, **caches}, cwd=out)


if __name__ == "__main__":
    main()
