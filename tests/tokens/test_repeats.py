"""Copies by weight: the mean is the weight, the draw is of the document alone, and packing shows them all."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table
from hare_ray.tokens import Pack, Repeats, Tokenizer
from hare_ray.tokens.tokenizer import trained


class Weighted(Table):
    writes = pa.schema([*DOCUMENT, pa.field("weight", pa.float32(), nullable=False)])


class Docs(Table):
    writes = DOCUMENT


DOCS = Weighted()
TOKENIZER = Tokenizer(docs=DOCS, vocabulary=300, max_bytes=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tokenizer")
    trained(iter([["the cat sat on the mat and the cat ate the rat"] * 2]), 300).save(str(place / "tokenizer.json"))
    return place


def table(weights, texts=None):
    ids = [(n * 2654435761 % 2**64).to_bytes(16, "big") for n in range(len(weights))]
    texts = [f"cat {n}" for n in range(len(weights))] if texts is None else texts
    columns = [pa.array(ids, pa.binary(16)), pa.array(texts, pa.large_string()), pa.array(weights, pa.float32())]
    return pa.table(columns, ["id", "text", "weight"])


def copies(docs, seed=1):
    return Repeats(docs=DOCS, seed=seed).prepare(lambda _: None)(docs)


def test_on_average_a_document_is_there_as_often_as_its_weight_says():
    for weight in (0.0, 0.25, 1.0, 2.7):
        got = copies(table([weight] * 4000)).column("repeats").to_numpy()
        assert set(got) <= {int(weight), int(weight) + 1}
        assert abs(got.mean() - weight) < 0.04  # five standard deviations of a coin thrown 4,000 times
    assert copies(table([1.0] * 50)).column("repeats").to_pylist() == [1] * 50


def test_the_draw_is_of_document_and_seed_alone():
    docs = table([0.5] * 200)
    whole = copies(docs).column("repeats").to_pylist()
    assert copies(docs.slice(77)).column("repeats").to_pylist() == whole[77:]
    assert copies(docs, seed=2).column("repeats").to_pylist() != whole


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 1.5, 3.0]), st.sampled_from(["", "cat", "the rat " * 30]))))
@settings(max_examples=30, deadline=None)
def test_every_copy_is_packed_and_nothing_else(folder, rows):
    docs = table([weight for weight, _ in rows], [text for _, text in rows])
    opinion = copies(docs)
    repeats = Repeats(docs=DOCS, seed=1)
    pack = Pack(docs=DOCS, tokenizer=TOKENIZER, sequence_tokens=16, token_bytes=2, seed=1, repeats=repeats)
    once = Pack(docs=DOCS, tokenizer=TOKENIZER, sequence_tokens=16, token_bytes=2, seed=1)
    got, plain = pack.prepare(lambda _: folder)(docs, opinion), once.prepare(lambda _: folder)(docs)

    def content(packed):
        found = []
        for row in packed.to_pylist():
            tokens, at = np.frombuffer(row["tokens"], "<u2"), 0
            for length, document, start in zip(row["lengths"], row["documents"], row["starts"], strict=True):
                found.append((document, start, tuple(tokens[at : at + length])))
                at += length
        return sorted(found)

    times = dict(zip(docs.column("id").to_pylist(), opinion.column("repeats").to_pylist(), strict=True))
    assert content(got) == sorted(piece for piece in content(plain) for _ in range(times[piece[0]]))
    assert pack.counts(got)["documents"] == sum(times[one] for one, start, _ in content(plain) if start == 0)
    assert got.num_rows * 16 == sum(pack.counts(got)[name] for name in ("tokens", "padding"))


def test_documents_without_weights_and_weights_that_are_none_are_refused():
    with pytest.raises(ValueError, match="expected `weight`"):
        Repeats(docs=Docs(), seed=1)
    with pytest.raises(ValueError, match="seed=-1"):
        Repeats(docs=DOCS, seed=-1)
    for bad in (-1.0, float("nan"), 1e9):
        with pytest.raises(ValueError, match="outside 0 to"):
            copies(table([bad]))
