"""KMeans, LabelClusters, Select and Balance, killed before each object or part they keep and started again."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from hare_ray.cluster import Assign, KMeans, LabelClusters
from hare_ray.cluster.balance import Balance
from hare_ray.engine import run
from hare_ray.gather import Desk
from hare_ray.priors.topics import load_topics
from hare_ray.quality import Select
from hare_ray.stage import Annotate, Files, PartFunction, Table
from tests.cluster import planted
from tests.cluster.ranked import Quality, documents, words
from tests.frame.graph import UNCOUNTED

DIMENSIONS = 8
ROWS, PARTS, BLOCK_ROWS = 150, 3, 50


class KilledError(Exception):
    """What stops a run."""


class Vectors(Annotate):
    """A vector near one of five directions, by the number of the document."""

    docs: Table
    writes = pa.schema([pa.field("embedding", pa.list_(pa.float16(), DIMENSIONS))])

    def prepare(self, files: Files) -> PartFunction:
        def made(docs: pa.Table) -> pa.Table:
            numbers = [int(line[0]) for line in words(docs)]
            noise = [np.random.default_rng(number).normal(size=DIMENSIONS) for number in numbers]
            found = planted.unit(np.eye(DIMENSIONS)[np.array(numbers) % 5] + 0.2 * np.array(noise))
            flat = pa.array(found.astype(np.float16).ravel())
            return pa.table([pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)], schema=self.writes)

        return made


def graph(folder):
    rows = [(0, number * 37 % 101 / 100, "-") for number in range(ROWS)]
    docs, _, _, _ = documents(folder, rows, PARTS)
    vectors, scores = Vectors(docs=docs), Quality(docs=docs)
    kmeans = KMeans(embeddings=vectors, clusters=5, sample_rows=ROWS, iterations=2, seed=1, spherical=True)
    topics = Assign(embeddings=vectors, centroids=kmeans)
    labels = LabelClusters(
        docs=docs, clusters=topics, scores=scores, words_per_label=2, nearest=3, documents_per_cluster=20
    )  # fmt: skip
    select = Select(
        docs=docs, clusters=topics, scores=scores, without=(), keep_share=0.6, min_topic_share=0.3, min_quality=0.1
    )  # fmt: skip
    weights = replace(load_topics(), cap=1.2, temperature=1.5, targets=(), max_epochs=2.0, min_documents=5)
    balance = Balance(docs=docs, clusters=topics, scores=scores, labels=labels, without=(select,), prior=weights)
    return (vectors, scores), balance


def everything(root):
    """What a run left: all files, of manifests and commits what does not tell of the run itself."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in UNCOUNTED:
            found[name] = path.read_bytes()
            if path.name == "manifest.json" or (path.name.startswith("part-") and path.suffix == ".json"):
                found[name] = {key: value for key, value in json.loads(found[name]).items() if key != "run"}
    return found


class Mortal:
    """Dies before the n-th object or part that a desk is asked to keep."""

    def __init__(self, monkeypatch):
        self.kept, self.lives = [], 10**9
        for name in ("put", "write"):
            monkeypatch.setattr(Desk, name, self.watched(getattr(Desk, name)))

    def watched(self, keep):
        def kept(desk, name, data):
            self.lives -= 1
            if self.lives < 0:
                raise KilledError
            self.kept.append((desk.stage.name, name))
            keep(desk, name, data)

        return kept


@pytest.fixture
def small_blocks(monkeypatch):
    for name in ("lloyd.BLOCK_ROWS", "blocks.BLOCK_ROWS", "blocks.LOCAL_ROWS"):
        monkeypatch.setattr(f"hare_ray.cluster.{name}", BLOCK_ROWS)


def test_a_run_killed_anywhere_and_started_again_has_the_bytes_of_a_calm_one(tmp_path, monkeypatch, small_blocks):
    inputs, last = graph(tmp_path / "in")
    run(*inputs, root=str(tmp_path / "before"))
    monkeypatch.setattr("os.fsync", lambda _: None)  # the process goes on, and with it what it has written
    mortal = Mortal(monkeypatch)
    calm = tmp_path / "calm"
    shutil.copytree(tmp_path / "before", calm)
    run(*inputs, last, root=str(calm))
    steps, expected = mortal.kept, everything(calm)
    assert {name for name, _ in steps} == {"kmeans", "label_clusters", "select", "balance"}
    for lives in range(len(steps)):
        root = tmp_path / str(lives)
        shutil.copytree(tmp_path / "before", root)
        mortal.kept, mortal.lives = [], lives
        with pytest.raises(KilledError):
            run(*inputs, last, root=str(root))
        assert mortal.kept == steps[:lives]
        mortal.kept, mortal.lives = [], 10**9
        run(*inputs, last, root=str(root))
        assert everything(root) == expected, f"killed before step {lives}: {steps[lives]}"
        written = [step for step in steps[:lives] if step[0] in ("select", "balance")]
        assert not set(written) & set(mortal.kept), "a part that is there is not written again"
        shutil.rmtree(root)


def labelled(desk):
    """Run a KMeans, an Assign and a LabelClusters on a desk."""
    planted.centroids(desk)
    assign = planted.ASSIGN.prepare(desk.files)
    desk.tables["assign"] = [assign(part) for part in desk.tables["vectors"]]
    label = LabelClusters(
        docs=planted.DOCS, clusters=planted.ASSIGN, words_per_label=2, nearest=3, documents_per_cluster=20
    )  # fmt: skip
    label.make(desk)


def test_what_a_killed_run_left_in_the_scratch_is_never_read(tmp_path, small_blocks):
    """An engine empties a local folder before it starts a Make; on an object store the old scratch is still there."""
    folders = [tmp_path / name for name in ("calm", "killed")]
    left: dict[str, bytes] = {}
    for folder in folders:
        folder.mkdir()
        docs, vectors, _ = planted.corpus()
        tables = {"docs": planted.cut(docs, (50, 70)), "vectors": planted.cut(planted.column(vectors), (50, 70))}
        desk = planted.Desk(folder, tables, scratch=dict.fromkeys(left, b"of a run that was killed"))
        labelled(desk)
        left = desk.scratch
        assert {name.partition("-")[0] for name in left} == {"block", "centroids", "near"}
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1] and len(files[0]) == 2
