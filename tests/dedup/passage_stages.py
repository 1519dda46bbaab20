"""Documents of several lines, and the stages on passages, for tests on the engine; importable by workers."""

import json
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import xxhash

from hare_ray.dedup.drop_passages import DropPassages
from hare_ray.dedup.passages import Passages
from hare_ray.dedup.repeated_passages import RepeatedPassages
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Files, Map, PartFunction, Source, Stage


class Pages(Map):
    """One document a JSON line."""

    files: Stage
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        return self.read

    def read(self, splits: pa.Table) -> pa.Table:
        rows = []
        for split in splits.to_pylist():
            for number, line in enumerate(Path(split["path"]).read_text().splitlines()):
                url, text = f"https://{split['file']}/{number}", json.loads(line)
                identity = xxhash.xxh3_128_digest(text.encode())
                rows.append({"id": identity, "url": url, "file": split["file"], "offset": number, "text": text})
        return pa.Table.from_pylist(rows, DOCUMENT).append_column(REASON, pa.nulls(len(rows), pa.string()))


def graph(folder, part_bytes, memory_bytes=1 << 30):
    docs = Pages(files=Source(label="crawl", location=str(folder), part_bytes=part_bytes))
    passages = Passages(docs=docs, unit="line", min_words=5)
    repeated = RepeatedPassages(docs=docs, passages=passages, max_documents=1, min_share=0.8, memory_bytes=memory_bytes)
    return repeated, DropPassages(docs=docs, repeated=repeated, min_words=4)
