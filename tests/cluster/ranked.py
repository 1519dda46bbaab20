"""Documents with topic, quality and an earlier verdict out of text files; importable by workers.

As a program it runs a Select and a Balance of them on Ray: python -m tests.cluster.ranked ROOT FOLDER.
"""

import sys
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import xxhash

from hare_ray.catalog import Catalog
from hare_ray.cluster.balance import Balance
from hare_ray.engine import place, run
from hare_ray.on_ray import OnRay
from hare_ray.priors.topics import TopicTarget, TopicWeights
from hare_ray.quality import Select
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Annotate, Files, Map, PartFunction, Source, Table
from hare_ray.store import Root


class Numbered(Map):
    """One document a line: its number, topic, quality, and `dropped` or `-`. Its id is of its number."""

    files: Source
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = []
            for split in splits.to_pylist():
                for line in Path(split["path"]).read_text().splitlines():
                    ident = xxhash.xxh3_128_digest(line.split()[0].encode())
                    rows.append({"id": ident, "url": "u", "file": split["file"], "offset": 0, "text": line})
            table = pa.Table.from_pylist(rows, schema=DOCUMENT)
            return table.append_column(REASON, pa.nulls(len(table), pa.string()))

        return read


class Topic(Annotate):
    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([pa.field("cluster", pa.int32(), nullable=False)])

    def prepare(self, files: Files) -> PartFunction:
        return lambda docs: pa.table([pa.array([int(x[1]) for x in words(docs)], pa.int32())], schema=self.writes)


class Quality(Annotate):
    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([pa.field("quality", pa.float32(), nullable=False)])

    def prepare(self, files: Files) -> PartFunction:
        return lambda docs: pa.table([pa.array([float(x[2]) for x in words(docs)], pa.float32())], schema=self.writes)


class Dropped(Annotate):
    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([REASON])

    def prepare(self, files: Files) -> PartFunction:
        return lambda docs: pa.table(
            [pa.array([None if x[3] == "-" else x[3] for x in words(docs)], pa.string())], schema=self.writes
        )


def words(docs):
    return [line.split() for line in docs.column("text").to_pylist()]


def documents(folder, rows, parts):
    """Topic, quality and verdict of numbered documents, written as so many files; the stages that read them."""
    folder.mkdir()
    lines = [f"{number} {' '.join(map(str, row))}\n" for number, row in enumerate(rows)]
    for part in range(parts):
        (folder / f"{part:03d}.txt").write_text("".join(lines[part::parts]))
    return stages(folder)


def stages(folder):
    docs = Numbered(files=Source(location=str(folder), part_bytes=1), may_be_empty=True)
    return docs, Topic(docs=docs), Quality(docs=docs), Dropped(docs=docs)


def graph(folder):
    """A Select, and a Balance of what it leaves, of 600 documents in 5 files."""
    rows = [(number % 7 % 4, number * 37 % 101 / 100, "-" if number % 5 else "spam") for number in range(600)]
    docs, topics, scores, dropped = stages(folder) if folder.exists() else documents(folder, rows, 5)
    select = Select(
        docs=docs, clusters=topics, scores=scores, without=(dropped,),
        keep_share=0.6, min_topic_share=0.3, min_quality=0.1,
    )  # fmt: skip
    weights = TopicWeights(1.6, 1.5, (TopicTarget("3", 0.3),), 2.0, 0.5, 5)
    balance = Balance(docs=docs, clusters=topics, scores=scores, labels=None, without=(dropped, select), prior=weights)
    return select, balance


def written(root, stage, **settings):
    """Books of a stage, and its rows by the number of the document."""
    manifests = run(stage, root=str(root), **settings)
    catalog = Catalog()
    for one in (stage, stage.docs):
        catalog.places[one.fingerprint] = place(Root(str(root)), manifests[one.name])
    found = {}
    for part in range(len(catalog.rows(stage))):
        numbers = [int(x[0]) for x in words(catalog.read(stage.docs, part))]
        found |= dict(zip(numbers, catalog.read(stage, part).to_pylist(), strict=True))
    return manifests[stage.name]["books"], [found[number] for number in sorted(found)]


if __name__ == "__main__":
    run(*graph(Path(sys.argv[2])), root=sys.argv[1], executor=lambda root: OnRay(root, 2))
