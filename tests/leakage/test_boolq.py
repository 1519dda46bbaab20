"""Known answer: BoolQ was made from Wikipedia, so its passages must be found there, and not in text messages."""

import gzip
import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hare_ray.leakage.leaks import Rule
from tests.leakage.planted import READ, built, checked

pytestmark = pytest.mark.slow

BATCH = 20_000


def test_boolq_is_found_in_wikipedia_and_not_in_messages(tmp_path):
    if "HARE_DATA" not in os.environ:
        pytest.skip("HARE_DATA is not set")
    data = Path(os.environ["HARE_DATA"])
    with gzip.open(data / "eval" / "boolq_val.jsonl.gz", "rt", encoding="utf-8") as lines:
        parsed = [READ(json.loads(line), f"line {i}")._asdict() for i, line in enumerate(lines)]
    rows = [{**row, "benchmark": "boolq", "split": "val", "id": str(i)} for i, row in enumerate(parsed)]
    assert all(row["context"] and row["question"].endswith("?") for row in rows)
    assert np.median([len(row["question"].split()) for row in rows]) < 10
    index, out, books = built(tmp_path, rows, anchor_words=4, row_group_size=1000)
    assert books["items"] == 3270 and books["unchecked"] == 0 and books["ngram"] < 300
    exact = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)

    def found(name):
        with gzip.open(data / "text" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts = (json.loads(line)["text"] for line in lines)
            while batch := list(islice(texts, BATCH)):
                yield from (v["leak_item"] for v in checked((index, out), batch, exact) if v["reason"])

    assert len(set(found("enwiki_2014_dev"))) >= 20
    assert set(found("sms_spam")) == set()
