"""From a packed table and a model to the table of the next round, through the engine."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from hare_ray.catalog import Catalog, place
from hare_ray.engine import run
from hare_ray.manifest import load_all
from hare_ray.schema import REASON
from hare_ray.stage import ARROW, Files, Keep, Map, PartFunction, Source
from hare_ray.store import Root
from hare_ray.tokens.pack import packed_schema
from hare_ray.train.resampled import Resampled
from hare_ray.train.round_summary import RoundSummary
from hare_ray.train.sequence_losses import SequenceLosses
from tests.model.stages import Mixed, Phase, Trained, Words
from tests.train.stages import SHAPE

T, ROWS, PARTS = 32, 20, 3


class Numbered(Map):
    """Rows of two pieces, each of a document of its own."""

    files: Source
    derives: ClassVar[bool] = True
    writes: ClassVar[pa.Schema] = packed_schema(T, 2)

    @property
    def storage(self) -> str:
        return ARROW

    def prepare(self, files: Files) -> PartFunction:
        return self.made

    def made(self, splits: pa.Table) -> pa.Table:
        tables = []
        for file in splits["file"].to_pylist():
            rng = np.random.default_rng(ord(file[0]))
            tokens = [one.tobytes() for one in rng.integers(4, SHAPE.vocabulary, (ROWS, T)).astype("<u2")]
            documents = [[rng.bytes(16), rng.bytes(16)] for _ in range(ROWS)]
            columns = [tokens, [[20, 10]] * ROWS, documents, [[0, 0]] * ROWS]
            arrays = [pa.array(*one) for one in zip(columns, self.writes.types, strict=True)]
            tables.append(pa.table(arrays, schema=self.writes))
        rows = pa.concat_tables(tables)
        return rows.append_column(REASON, pa.nulls(len(rows), pa.string()))


def recipe(folder: Path) -> tuple[Keep, RoundSummary]:
    packed = Numbered(files=Source(location=str(folder), part_bytes=1))
    words = Words(docs=packed, size=SHAPE.vocabulary)
    mixture = Mixed(tables=(packed,), weights=(1.0,), phases=(Phase(1),))
    model = Trained(mixture=mixture, tokenizer=words, shape=SHAPE, seed=1, learning_rate=0.1)
    losses = SequenceLosses(sequences=packed, trained=model, sequence_tokens=T, dtype="float32", batch_rows=8)
    draw = Resampled(sequences=packed, losses=losses, seed=1, share=0.3, temperature=1e-6)
    return Keep(label="again", docs=packed, verdicts=(draw,)), RoundSummary(
        draws=(draw,), losses=(losses,), names=("numbers",)
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name in "abc"[:PARTS]:
        (folder / f"{name}.txt").write_text(name)
    return folder


@pytest.fixture(scope="module")
def root(files, tmp_path_factory):
    place = str(tmp_path_factory.mktemp("root"))
    run(*recipe(files), root=place)
    return place


def rows(files, root):
    """Parts of the packed table, of its losses and of what was drawn."""
    keep, _ = recipe(files)
    manifests = load_all(Root(root))
    stages = (keep.docs, keep.verdicts[0].losses, keep)
    catalog = Catalog({stage.fingerprint: place(Root(root), manifests[stage.name]) for stage in stages})
    return [[catalog.read(stage, part) for part in range(PARTS)] for stage in stages]


def test_the_next_round_holds_the_worst_learnt_of_every_part_as_they_were(files, root):
    for packed, losses, again in zip(*rows(files, root), strict=True):
        assert len(again) == 6
        worst = np.sort(np.argsort(-losses["loss"].to_numpy(), kind="stable")[:6])
        assert again["base_row"].to_pylist() == worst.tolist()
        assert again.drop_columns(["base_row"]).equals(packed.take(pa.array(worst)))


def test_the_books_say_how_many_were_not_drawn(root):
    manifest = load_all(Root(root))["again"]
    books = manifest["books"]
    assert (books["in"], books["out"], books["dropped"]) == (60, 18, {"not_drawn": 42})


def test_the_summary_is_written(root):
    manifest = load_all(Root(root))["round_summary"]
    told = json.loads(Path(root, "round_summary", manifest["fingerprint"][:12], "rounds.json").read_text())
    (source,) = told["sources"]
    assert [part["drawn_sequences"] for part in source["parts"]] == [6] * PARTS
    assert source["loss_drawn"] > source["loss"] > source["loss_not_drawn"]
    assert source["targets"] == 60 * 28
    assert manifest["books"] == {"sequences": 60, "drawn_sequences": 18}
