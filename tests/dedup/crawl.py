"""Stages and a desk in memory for the tests of deduplication."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.signature import Signature
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table


class Documents(Table):
    writes = DOCUMENT


class Opinion(Table):
    """A score per document, on the same base."""

    docs: Table
    writes = pa.schema([("score", pa.float64())])

    @property
    def base(self):
        return self.docs.base


class Meaning(Table):
    """Edges from elsewhere."""

    docs: Table
    edge_reason = "same_meaning"
    writes = pa.schema(
        [
            pa.field("edge_part", pa.list_(pa.int32()), nullable=False),
            pa.field("edge_row", pa.list_(pa.int32()), nullable=False),
            pa.field("edge_similarity", pa.list_(pa.float32()), nullable=False),
        ]
    )

    @property
    def base(self):
        return self.docs.base


class Passages(Meaning):
    """Edges of another kind."""

    edge_reason = "same_passages"


DOCS = Documents(label="docs")
SIGNATURE = Signature(docs=DOCS, ngram=5, unit="word", bands=14, rows=8, seed=1)
SCORES = Opinion(label="scores", docs=DOCS)
MEANING = Meaning(label="meaning", docs=DOCS)
PASSAGES = Passages(label="passages", docs=DOCS)


class MemoryDesk:
    """What a Gather or Make sees, without files."""

    def __init__(self, tables, files=None, folder=None):
        self.tables, self.files_, self.folder = tables, files or {}, folder
        self.written, self.objects, self.stage = {}, {}, None
        self.ran = []

    def rows(self, stage):
        return [len(table) for table in self.tables[stage.name]]

    def parts(self, stage):
        return len(self.tables[stage.name])

    def read(self, stage, part, columns=None):
        table = self.tables[stage.name][part]
        return table.select(list(columns)) if columns is not None else table

    def read_file(self, stage, name):
        return self.files_[stage.name][name]

    def map(self, function, items):
        items = list(items)
        self.ran += [(function.args[1].__name__, item) for item in items]
        return [function(item) for item in items]

    def put(self, name, data):
        self.objects[name] = bytes(data)

    def get(self, name):
        return self.objects[name]

    def kept(self):
        return tuple(self.objects)

    def write(self, part, table):
        self.written[part] = table


def parts_of(table, cuts):
    bounds = [0, *sorted(cuts), len(table)]
    return [table.slice(a, b - a) for a, b in pairwise(bounds)]


def verdicts(desk, stage):
    """Run a stage of duplicates on a desk; its verdicts as rows, and its books."""
    desk.stage, desk.written = stage, {}
    books = stage.gather(desk)
    counts = desk.rows(stage.docs)
    assert [len(desk.written[part]) for part in range(len(counts))] == counts
    assert all(table.schema == stage.schema() for table in desk.written.values())
    found = [desk.written[part] for part in range(len(counts))]
    return (pa.concat_tables(found).to_pylist() if found else []), books


def document(text, url="https://example.org", file="a.warc", offset=0):
    payload = f"{url}\n{text}".encode()
    ident = xxhash.xxh3_128_digest(payload)
    return {"id": ident, "url": url, "file": file, "offset": offset, "title": None, "text": text}


def words(count, seed):
    draw = random.Random(seed)
    return [f"w{draw.randrange(10**6)}" for _ in range(count)]


def signed_rows(sketches, *, width, seed=0):
    """Documents and signatures of given sketches (None: without words), as two tables."""
    draw = np.random.default_rng(seed)
    exact = [None if s is None else xxhash.xxh3_128_digest(bytes(s)) for s in sketches]
    count = len(sketches)
    docs = {
        "id": [draw.bytes(16) for _ in range(count)], "url": [f"https://{n}" for n in range(count)],
        "file": ["f"] * count, "offset": list(range(count)), "title": [None] * count, "text": [None] * count,
    }  # fmt: skip
    signed = {
        "exact": pa.array(exact, pa.binary(16)),
        "words": pa.array([0 if s is None else 9 for s in sketches], pa.int32()),
        "sketch": pa.array([None if s is None else bytes(s) for s in sketches], pa.binary(width)),
    }
    return pa.table(docs, schema=DOCUMENT), pa.table(signed)


def duplicates(rows, cuts=(), **fields):
    """Verdicts per row of documents with text, cut into parts at `cuts`."""
    sign = SIGNATURE.prepare(lambda stage: Path())
    parts = parts_of(pa.Table.from_pylist(rows, DOCUMENT), cuts)
    fields = {"min_similarity": 0.5, "prefer": ("words",), **fields}
    stage = Duplicates(docs=DOCS, signatures=SIGNATURE, **fields)
    desk = MemoryDesk({"docs": parts, SIGNATURE.name: [sign(part) for part in parts]})
    return verdicts(desk, stage)[0]
