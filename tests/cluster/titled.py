"""Documents with topic and similarity out of text files, their labels and prompts for titles; importable by workers.

As a program it makes them on Ray: python -m tests.cluster.titled ROOT FOLDER.
"""

import sys
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from hare_ray.cluster.label import LabelClusters
from hare_ray.cluster.titles import TitlePrompts
from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from hare_ray.priors.titles import topic_title
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Annotate, Files, Map, PartFunction, Source, Stage, Table

LAKE, OVEN, EMPTY = 0, 1, 3
TEXTS = {LAKE: "the heron nests by the lake", OVEN: "flour and {words} for the oven", EMPTY: "1 2 3"}


class Lines(Map):
    """A document a line: topic, similarity, title, text."""

    files: Stage
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = []
            for split in splits.to_pylist():
                for line in Path(split["path"]).read_text().splitlines():
                    _, _, number, title, text = line.split("\t")
                    same = {"url": f"https://example.org/{number}", "file": line.rsplit("\t", 3)[0], "offset": 0}
                    rows.append({"id": int(number).to_bytes(16), "title": title or None, "text": text, **same})
            return pa.Table.from_pylist(rows, schema=DOCUMENT.append(REASON))

        return read


class Given(Annotate):
    """Topic and similarity as the line said."""

    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([("cluster", pa.int32()), ("similarity", pa.float32())])

    def prepare(self, files: Files) -> PartFunction:
        def assign(docs: pa.Table) -> pa.Table:
            told = [file.split("\t") for file in docs["file"].to_pylist()]
            columns = [pa.array([int(t) for t, _ in told], pa.int32()), pa.array([float(s) for _, s in told])]
            return pa.table([columns[0], columns[1].cast(pa.float32())], schema=self.writes)

        return assign


def prompts(folder: Path) -> TitlePrompts:
    """Of three topics over three parts, one of which is empty."""
    lines = [f"{t}\t{0.5 + n / 20}\t{10 * t + n}\tabout {n}\t{TEXTS[t]}" for t in TEXTS for n in range(4)]
    lines[0] = lines[0].replace("about 0", "")
    if not folder.exists():
        folder.mkdir()
        for part, some in enumerate((lines[:5], [], lines[5:])):
            (folder / f"{part}.tsv").write_text("\n".join(some))
    docs = Lines(files=Source(location=str(folder), part_bytes=1))
    clusters = Given(docs=docs)
    labels = LabelClusters(docs=docs, clusters=clusters, words_per_label=2, nearest=2, documents_per_cluster=10)
    return TitlePrompts(docs=docs, clusters=clusters, labels=labels, template=topic_title())


if __name__ == "__main__":
    run(prompts(Path(sys.argv[2])), root=sys.argv[1], executor=lambda root: OnRay(root, 2))
