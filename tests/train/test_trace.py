"""The steps that read a sequence, against the order itself; the document of a token, against its text."""

import json

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer as Loaded

from hare_ray.catalog import place, read_part
from hare_ray.engine import run
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Files, Map, PartFunction, Source
from hare_ray.store import Root
from hare_ray.tokens import Mixture, Pack, Tokenizer
from hare_ray.train.order import Order
from hare_ray.train.sequences import PackedTable, Sequences
from hare_ray.train.trace import origin, seen

COUNTS, ROWS, SEED, BATCH = (12, 20), (30, 7), 5, 4


@pytest.fixture
def manifests(tmp_path):
    (tmp_path / "mix" / ("0" * 12)).mkdir(parents=True)
    sources = [{"actual": actual, "available": rows} for actual, rows in zip(COUNTS, ROWS, strict=True)]
    (tmp_path / "mix" / ("0" * 12) / "mixture.json").write_text(json.dumps({"sources": sources}))
    recipe = {"class": "Pretrain", "fields": {"seed": SEED, "batch_sequences": BATCH}}
    table = {"inputs": {}, "recipe": {"class": "Pack", "fields": {}}}
    return {
        "mix": {"name": "mix", "fingerprint": "0" * 64, "files": [], "inputs": {}, "recipe": {"class": "Mixture"}},
        "one": {**table, "parts": [{"rows": 30}]},
        "two": {**table, "parts": [{"rows": 3}, {"rows": 4}]},
        "trained": {"inputs": {"sources": ["one", "two"], "mixture": ["mix"]}, "recipe": recipe},
    }


@pytest.mark.parametrize(("table", "part", "row", "source", "at"), [("one", 0, 17, 0, 17), ("two", 1, 2, 1, 5)])
def test_the_steps_are_those_of_the_order(tmp_path, manifests, table, part, row, source, at):
    (found,) = seen(Root(str(tmp_path)), manifests, table, [(part, row)])
    of, _, rows = Order(COUNTS, ROWS, SEED).of(np.arange(sum(COUNTS)))
    expected = sorted({int(sample) // BATCH + 1 for sample in np.flatnonzero((of == source) & (rows == at))})
    assert (found.stage, list(found.steps)) == ("trained", expected)


def test_every_sequence_of_a_source_seen_more_than_once_is_found(tmp_path, manifests):
    everything = [(0, row) for row in range(3)] + [(1, row) for row in range(4)]
    for one in everything:
        (found,) = seen(Root(str(tmp_path)), manifests, "two", [one])
        assert 1 <= len(found.steps) <= 3  # 20 visits to 7 rows: 2 or 3 each


def test_a_table_nobody_trained_on_gives_nothing(tmp_path, manifests):
    manifests["three"] = {**manifests["one"]}
    assert list(seen(Root(str(tmp_path)), manifests, "three", [(0, 0)])) == []


class Written(Map):
    """Documents of drawn words, of very different lengths."""

    files: Source
    seed: int
    writes = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        def write(splits: pa.Table) -> pa.Table:
            rng = np.random.default_rng(self.seed)
            words = np.array(["the", "cat", "sat", "on", "a", "mat", "\u00e9", "42"])
            rows = [
                {"id": rng.bytes(16), "url": f"http://{n}", "file": "a", "offset": n, "title": None, "reason": None,
                 "text": " ".join(rng.choice(words, int(rng.integers(1, 90))))}
                for n in range(120)
            ]  # fmt: skip
            return pa.Table.from_pylist(rows, schema=pa.schema([*DOCUMENT, REASON]))

        return write


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A root with two packed tables and their mixture, and manifests with a training on them."""
    folder = tmp_path_factory.mktemp("traced")
    (folder / "in.txt").write_text("x")
    source = Source(location=str(folder / "in.txt"))
    docs = tuple(Written(label=f"docs_{seed}", files=source, seed=seed) for seed in (1, 2))
    tokenizer = Tokenizer(docs=docs[0], vocabulary=270, max_bytes=1 << 20)
    packs = tuple(
        Pack(label=f"pack_{n}", docs=each, tokenizer=tokenizer, sequence_tokens=64, token_bytes=2, seed=n)
        for n, each in enumerate(docs)
    )
    mixture = Mixture(
        sources=packs, names=("one", "two"), weights=(1.0, 2.0), tokens=6000, sequence_tokens=64, max_epochs=3.0,
        batch_sequences=BATCH,
    )  # fmt: skip
    manifests = dict(run(mixture, *packs, root=str(folder / "run")))
    recipe = {"class": "Pretrain", "fields": {"seed": SEED, "batch_sequences": BATCH}}
    inputs = {"sources": [pack.name for pack in packs], "mixture": ["mixture"]}
    return Root(str(folder / "run")), manifests | {"trained": {"inputs": inputs, "recipe": recipe}}


def test_any_token_leads_back_to_its_place_in_the_text(packed):
    root, manifests = packed
    mixture = json.loads(next((root.local / "mixture").glob("*/mixture.json")).read_text())
    tokenizer = Loaded.from_file(str(next((root.local / "tokenizer").glob("*/tokenizer.json"))))
    texts = {}
    for name in ("docs_1", "docs_2"):
        rows = read_part(place(root, manifests[name]), 0, ["id", "text"]).to_pylist()
        texts |= {row["id"]: [1, *tokenizer.encode(row["text"], add_special_tokens=False).ids, 2] for row in rows}
    wheres = [place(root, manifests[f"pack_{n}"]) for n in (0, 1)]
    tables = tuple(PackedTable(f"{where.root.url}/{where.folder}", where.rows) for where in wheres)
    counts, available = (tuple(one[key] for one in mixture["sources"]) for key in ("actual", "available"))
    order, sequences = Order(counts, available, SEED), Sequences(tables, 64, 2)
    rng, padding = np.random.default_rng(0), 0
    for _ in range(200):
        sample, token = int(rng.integers(0, order.total)), int(rng.integers(0, 64))
        got = origin(root, manifests, "trained", (sample // BATCH + 1, sample % BATCH, token))
        source, _, row = order.of(np.array([sample]))
        batch = sequences.read(source, row)
        assert (got.table, got.part, got.row) == (f"pack_{source[0]}", 0, row[0])
        if batch.segments[0, token] < 0:
            assert (got.document, got.token) == (None, batch.positions[0, token])
            padding += 1
        else:
            assert got.document is not None
            assert texts[got.document][got.token] == batch.tokens[0, token]
            (one,) = seen(
                root, {name: manifests[name] for name in (got.table, "mixture", "trained")}, got.table, [(0, got.row)]
            )
            assert sample // BATCH + 1 in one.steps
    assert padding < 30


@pytest.mark.parametrize("at", [(0, 0, 0), (1, BATCH, 0), (1, 0, 64), (1, -1, 0), (10**6, 0, 0)])
def test_what_a_training_never_saw_is_refused(packed, at):
    root, manifests = packed
    with pytest.raises(ValueError, match="expected"):
        origin(root, manifests, "trained", at)
