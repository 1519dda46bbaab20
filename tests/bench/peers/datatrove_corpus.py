"""datatrove from WARC files to Parquet, for tests/bench/corpus.py; runs in datatrove's own venv.

    datatrove_corpus.py FOLDER GLOB lid.176.ftz OUT WORKERS

Prints one line of JSON: seconds of the pipeline, seconds of the same pipeline over the first page of each file (which
is its start: processes, imports, models), and documents kept. A worker takes whole files. The text is that of its
FineWeb recipe's stages: Trafilatura for precision, language, both sets of Gopher's rules.
"""

import json
import os
import sys
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import ParquetWriter
from pyarrow.parquet import read_metadata

PAGE_SECONDS = 60
"""Far above what any page needs, also on a busy machine: the default of 1 second would lose pages where it is slow."""
MIN_SCORE = 0.5
"""As for the crawl in jobs/hare_documents.py."""


def seconds(folder: str, pattern: str, model: str, out: Path, workers: int, limit: int) -> float:
    """Seconds of the pipeline over `limit` pages of each file; -1: all."""
    language = LanguageFilter(languages=["en"], language_threshold=MIN_SCORE)
    language.model.MODEL_URL = model  # a local copy; the built-in address is that of the large model
    pipeline = [
        WarcReader(folder, glob_pattern=pattern, limit=limit),
        Trafilatura(favour_precision=True, timeout=PAGE_SECONDS),
        language,
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        ParquetWriter(str(out / "clean")),
    ]
    files = len(list(Path(folder).glob(pattern)))
    began = time.perf_counter()
    LocalPipelineExecutor(pipeline, tasks=files, workers=workers, logging_dir=str(out / "logs")).run()
    return time.perf_counter() - began


def main() -> None:
    """Its start, then the whole."""
    folder, pattern, model, out, workers = sys.argv[1:]
    os.environ["HF_ASSETS_CACHE"] = str(Path(out) / "assets")  # else the copy of the model stays in the home folder
    start = seconds(folder, pattern, model, Path(out) / "start", int(workers), limit=1)
    took = seconds(folder, pattern, model, Path(out) / "whole", int(workers), limit=-1)
    kept = sum(read_metadata(file).num_rows for file in (Path(out) / "whole" / "clean").glob("*.parquet"))
    print(json.dumps({"seconds": took, "start_seconds": start, "kept": kept}))


if __name__ == "__main__":
    main()
