"""The steps that read a sequence, against the order itself."""

import json

import numpy as np
import pytest

from hare_ray.store import Root
from hare_ray.train.order import Order
from hare_ray.train.trace import seen

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
