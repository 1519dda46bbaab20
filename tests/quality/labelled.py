"""Labelled texts, vectors and a desk, in memory, for the tests of the committee."""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from hare_ray.priors.quality import load_examples
from hare_ray.quality import Committee
from hare_ray.quality.labels import LABELLED
from hare_ray.stage import Annotate, Table
from hare_ray.text import words_of

DIMENSIONS = 64


class Labels(Table):
    writes = LABELLED


class Vectors(Annotate):
    docs: Table

    def schema(self):
        return pa.schema([pa.field("embedding", pa.list_(pa.float16(), DIMENSIONS))])


LABELS = Labels()
VECTORS = Vectors(docs=LABELS)


@dataclass
class Desk:
    """The interface of a Make's desk, over parts in memory."""

    folder: Path
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)

    def parts(self, stage):
        return len(self.tables[stage.name])

    def read(self, stage, part, columns=None):
        return self.tables[stage.name][part].select(list(columns))


def committee(**numbers):
    fields = {"good_from": 0.6, "max_examples": 10_000, "temperature": 5.0, "seed": 0, "folds": 3}
    return Committee(**{"labelled": LABELS, "embeddings": VECTORS, **fields, **numbers})


def embedded(texts):
    """Sums of a random direction for every word, of length 1: vectors that are near where words are shared."""
    words = words_of(pa.array(texts, pa.large_string()))
    known, which = np.unique(words.hashes, return_inverse=True)
    directions = np.stack([np.random.default_rng(int(one)).normal(size=DIMENSIONS) for one in known] or [np.zeros(64)])
    found = np.zeros((len(texts), DIMENSIONS), np.float32)
    np.add.at(found, np.repeat(np.arange(len(texts)), words.lengths), directions[which] if len(known) else 0)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, norms, out=np.zeros_like(found), where=norms > 0)


def column(matrix):
    flat = pa.array(np.asarray(matrix, np.float16).ravel())
    return pa.table([pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)], names=["embedding"])


def documents(texts):
    return pa.table([pa.array(texts, pa.large_string())], names=["text"])


def desk(folder, rows, sizes=None):
    """A desk with the parts of (text, label, group)."""
    folder.mkdir(exist_ok=True)
    edges = np.cumsum([0, *(sizes or [len(rows)])])
    parts = [rows[begin:stop] for begin, stop in pairwise(edges)]
    schema = pa.schema([LABELLED.field(name) for name in ("text", "label", "group")])
    tables = [
        pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in part], schema) for part in parts
    ]
    vectors = [column(embedded([text or "" for text, _, _ in part])) for part in parts]
    return Desk(folder, {"labels": tables, "vectors": vectors})


def examples():
    """The package's own, in two groups a side, those of a side alternating."""
    found = load_examples()
    return [(text, float(label == "good"), f"group{at % 2}") for at, (text, label, _) in enumerate(found)]
