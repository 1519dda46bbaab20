"""What tasks hold stays near `memory_bytes` where everything is in one place: a template, a footer, a large index."""

import tracemalloc

import numpy as np
import pyarrow as pa

from hare_ray.dedup import known
from hare_ray.dedup.duplicates import Duplicates
from hare_ray.dedup.passages import Passages
from hare_ray.dedup.repeated_passages import RepeatedPassages
from hare_ray.dedup.signature import Signature
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Source
from tests.dedup.crawl import DOCS, MemoryDesk, parts_of, signed_rows, verdicts

BANDS, ROWS = 4, 8
SIGNED = Signature(docs=DOCS, ngram=5, unit="word", bands=BANDS, rows=ROWS, seed=1)
PASSAGES = Passages(docs=DOCS, unit="line", min_words=3)
KNOWN = Source(label="known", location="elsewhere")


class FolderDesk(MemoryDesk):
    """Keeps objects on disk, and the most bytes that a task of every step held."""

    def __init__(self, tables, folder, files=None):
        super().__init__(tables, files, folder / "made")
        self.scratch, self.peaks = folder / "scratch", {}
        for place in (self.folder, self.scratch):
            place.mkdir(parents=True)

    def map(self, function, items):
        step = function.args[1].__name__
        for item in items:
            self.measured(function, step, item)

    def measured(self, function, step, item):
        tracemalloc.start()
        try:
            function(item)
            self.peaks[step] = max(self.peaks.get(step, 0), tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()

    def put(self, name, data):
        with pa.OSFile(f"{self.scratch}/{name}", "wb") as file:  # pathlib interns names, which counts as held
            file.write(data)

    def get(self, name):
        with pa.OSFile(f"{self.scratch}/{name}", "rb") as file:
            return file.read()

    def kept(self):
        return tuple(path.name for path in self.scratch.iterdir())


def index_of(rows, folder):
    """The files of an index of all rows."""
    docs, signed = rows
    keep = pa.table({"reason": pa.nulls(len(docs), pa.string())})
    found = Duplicates(docs=DOCS, signatures=SIGNED, min_similarity=0.5, prefer=())
    desk = FolderDesk({"docs": [docs], SIGNED.name: [signed], found.name: [keep]}, folder)
    known.DuplicateIndex(docs=DOCS, signatures=SIGNED, duplicates=found).make(desk)
    return {path.name: path.read_bytes() for path in desk.folder.iterdir()}


def sketches(count, seed):
    found = np.random.default_rng(seed).integers(0, 256, (count, BANDS * ROWS), dtype=np.uint8)
    return [row.tobytes() for row in found]


def test_a_large_index_is_matched_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "FILE_BYTES", 1 << 15)
    old = sketches(10_000, 1)
    files = index_of(signed_rows(old, width=BANDS * ROWS), tmp_path / "index")
    assert len(files) > 50
    ours = sketches(50, 2) + old[:50]
    docs, signed = signed_rows(ours, width=BANDS * ROWS, seed=1)
    found = []
    for memory_bytes in (1 << 30, 1 << 19):
        desk = FolderDesk({"docs": [docs], SIGNED.name: [signed]}, tmp_path / str(memory_bytes), {"known": files})
        stage = Duplicates(
            docs=DOCS, signatures=SIGNED, min_similarity=0.5, prefer=(), known=(KNOWN,), memory_bytes=memory_bytes
        )
        found.append((verdicts(desk, stage), desk.peaks))
    assert found[0][0] == found[1][0]
    assert [v["reason"] for v in found[0][0][0]] == [None] * 50 + ["exact_duplicate"] * 50
    for step in ("number_texts", "match_ids", "match_bands"):
        assert found[1][1][step] < (1 << 19) + (1 << 17) < found[0][1][step]


def test_a_template_that_all_texts_share_is_matched_in_pieces(tmp_path):
    texts = [b"templat." + sketch[ROWS:] for sketch in sketches(20_000, 3)]
    cuts = range(1000, 20_000, 1000)
    docs, signed = (parts_of(table, cuts) for table in signed_rows(texts, width=BANDS * ROWS))
    found = []
    for memory_bytes in (1 << 30, 1 << 19):
        desk = FolderDesk({"docs": docs, SIGNED.name: signed}, tmp_path / str(memory_bytes))
        stage = Duplicates(docs=DOCS, signatures=SIGNED, min_similarity=0.5, prefer=(), memory_bytes=memory_bytes)
        found.append((verdicts(desk, stage), desk.peaks))
    assert found[0][0] == found[1][0]
    assert found[0][0][1]["largest_bucket"] == 20_000
    assert found[1][1]["match_bands"] < 2 << 19 < found[0][1]["match_bands"]


def test_a_footer_that_all_documents_have_is_matched_in_pieces(tmp_path):
    count = 20_000
    cuts = range(500, count, 500)
    draw = np.random.default_rng(1)
    hashes = draw.integers(1, 1 << 63, (count, 2)).astype(np.uint64)
    hashes[:, 1] = 77
    offsets = pa.array(np.arange(0, 2 * count + 1, 2), pa.int32())
    values = hashes.ravel(), np.full(2 * count, 5, np.int32)
    lists = [pa.ListArray.from_arrays(offsets, pa.array(some)) for some in values]
    passages = pa.table(lists, schema=PASSAGES.writes)
    ids = [draw.bytes(16) for _ in range(count)]
    docs = pa.table(
        [pa.array(ids, f.type) if f.name == "id" else pa.nulls(count, f.type) for f in DOCUMENT], DOCUMENT.names
    )
    found = []
    for memory_bytes in (1 << 30, 1 << 20):
        tables = {"docs": parts_of(docs, cuts), PASSAGES.name: parts_of(passages, cuts)}
        desk = FolderDesk(tables, tmp_path / str(memory_bytes))
        stage = RepeatedPassages(
            docs=DOCS, passages=PASSAGES, max_documents=5, min_share=0.8, memory_bytes=memory_bytes
        )
        books = stage.gather(desk)
        found.append((books, [desk.written[part].to_pylist() for part in range(40)], desk.peaks))
    assert found[0][:2] == found[1][:2]
    assert found[0][0] == {"passages_compared": 2 * count, "passages_shared": 1}
    assert sum(bool(row["repeated"]) for part in found[0][1] for row in part) == count - 1
    assert found[1][2]["match"] < 2 << 20 < found[0][2]["match"]
