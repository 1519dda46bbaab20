"""Three planted topics in memory, and a desk to work at without the engine."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from hare_ray.cluster import Assign, KMeans
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Annotate, Table

DIMENSIONS = 16
TOPICS = {
    "garden": ("soil", "seedlings", "compost", "pruning"),
    "orbit": ("satellite", "telescope", "gravity", "rocket"),
    "kitchen": ("oven", "flour", "saucepan", "simmer"),
}
FILLER = "the people often said that this year was different because many things had changed"


class Docs(Table):
    writes = DOCUMENT


class Vectors(Annotate):
    docs: Table

    def schema(self):
        return pa.schema([pa.field("embedding", pa.list_(pa.float16(), DIMENSIONS))])


@dataclass
class Desk:
    """The interface of a Gather's or Make's desk, over parts in memory."""

    folder: Path
    tables: dict[str, list[pa.Table]]
    made: dict[str, Path] = field(default_factory=dict)
    scratch: dict[str, bytes] = field(default_factory=dict)

    def parts(self, stage):
        return len(self.tables[stage.name])

    def rows(self, stage):
        return [len(part) for part in self.tables[stage.name]]

    def read(self, stage, part, columns=None):
        table = self.tables[stage.name][part]
        return table if columns is None else table.select(list(columns))

    def files(self, stage):
        return self.made[stage.name]

    def put(self, name, data):
        self.scratch[name] = data

    def get(self, name):
        return self.scratch[name]

    def map(self, function, items):
        return [function(item) for item in items]


DOCS = Docs()
VECTORS = Vectors(docs=DOCS)
KMEANS = KMeans(embeddings=VECTORS, clusters=3, sample_rows=10_000, iterations=20, seed=1, spherical=True)
ASSIGN = Assign(embeddings=VECTORS, centroids=KMEANS)


def unit(matrix):
    return matrix / np.linalg.norm(matrix, axis=-1, keepdims=True)


def column(vectors):
    flat = pa.array(np.asarray(vectors, np.float16).ravel())
    return pa.table([pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)], schema=VECTORS.schema())


def cut(table, sizes):
    starts = np.cumsum([0, *sizes])
    assert starts[-1] == len(table)
    return [table.slice(start, size) for start, size in zip(starts[:-1], sizes, strict=True)]


def corpus(rows_per_topic=40):
    """Documents and vectors of three planted topics, mixed; and the topic of each row."""
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(3, DIMENSIONS)))
    topic = rng.permutation(np.repeat([0, 1, 2], rows_per_topic))
    vectors = unit(centres[topic] + 0.05 * rng.normal(size=(len(topic), DIMENSIONS)))
    names = list(TOPICS)
    texts = [f"{FILLER}. " + " ".join(rng.permutation([*TOPICS[names[t]], names[t]])) for t in topic]
    docs = pa.table(
        {
            "id": [i.to_bytes(16) for i in range(len(topic))],
            "url": [f"https://example.org/{i}" for i in range(len(topic))],
            "file": ["f"] * len(topic),
            "offset": list(range(len(topic))),
            "title": [f"title {i}" for i in range(len(topic))],
            "text": texts,
        },
        schema=DOCUMENT,
    )
    return docs, vectors, topic


def centroids(desk, stage=KMEANS):
    stage.make(desk)
    desk.made[stage.name] = desk.folder
    return np.load(desk.folder / "centroids.npy")


def run(tmp_path, sizes=(120,)):
    docs, vectors, topic = corpus()
    desk = Desk(tmp_path, {"docs": cut(docs, sizes), "vectors": cut(column(vectors), sizes)})
    centroids(desk)
    assign = ASSIGN.prepare(desk.files)
    desk.tables["assign"] = [assign(part) for part in desk.tables["vectors"]]
    return desk, vectors, topic
