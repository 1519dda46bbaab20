"""Files of tokens as packed rows: every document as it is stored, once, whatever the format and the cuts."""

import io
import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.engine import run
from hare_ray.schema import SPLIT
from hare_ray.stage import Source
from hare_ray.tokens import Mixture
from hare_ray.tokens.tokenised import Tokenised

END, PAD, VOCABULARY = 9, 0, 1000


def stage(location="unused", **fields):
    numbers = {
        "stored_token_bytes": 2,
        "end_token": END,
        "pad_token": PAD,
        "vocabulary": VOCABULARY,
        "sequence_tokens": 16,
        "token_bytes": 2,
        "seed": 1,
    }
    return Tokenised(files=Source(location=str(location)), **(numbers | fields))


def flat(docs, dtype="<u2"):
    return np.array([token for doc in docs for token in doc], dtype).tobytes()


def numpys(docs):
    stored = io.BytesIO()
    np.save(stored, np.array([token for doc in docs for token in doc], "<u4"))
    return stored.getvalue()


def rows_of(docs, column="input_ids", type_=None):
    return pa.table({"n": range(len(docs)), column: pa.array(docs, type_ or pa.list_(pa.int32()))})


def parquet(docs, rows=3, **column):
    stored = io.BytesIO()
    pq.write_table(rows_of(docs, **column), stored, row_group_size=rows)
    return stored.getvalue()


def arrow(docs, rows=3, **column):
    stored = io.BytesIO()
    table = rows_of(docs, **column)
    with pa.ipc.new_stream(stored, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return stored.getvalue()


def megatron(docs, code=8):
    sizes = [len(doc) for doc in docs]
    places = np.cumsum([0, *sizes[:-1]]) * 2 if docs else []
    head = b"MMIDIDX\0\0" + (1).to_bytes(8, "little") + bytes([code])
    head += len(docs).to_bytes(8, "little") + (len(docs) + 1).to_bytes(8, "little")
    return head + b"".join(
        np.array(values, dtype).tobytes()
        for values, dtype in ((sizes, "<i4"), (places, "<i8"), (range(len(docs) + 1), "<i8"))
    )


def write(folder, kind, docs):
    path = folder / ("tokens." + kind)
    make = {"npy": numpys, "parquet": parquet, "arrow": arrow}.get(kind.split(".")[-1], flat)
    path.write_bytes(make(docs))
    return path


def read(path, start=0, end=-1, **fields):
    row = {"file": path.name, "path": str(path), "start": start, "end": end, "row": -1}
    splits = pa.Table.from_pylist([{key: row[key] for key in SPLIT.names}], schema=SPLIT)
    return stage(**fields).prepare(lambda _: path)(splits)


def joined(rows, token_bytes=2):
    """Tokens of every document by its id, pieces put together by their starts; asserts the padding."""
    pieces = {}
    for row in rows.to_pylist():
        tokens, at = np.frombuffer(row["tokens"], f"<u{token_bytes}"), 0
        for length, document, start in zip(row["lengths"], row["documents"], row["starts"], strict=True):
            assert (document, start) not in pieces
            pieces[document, start] = tokens[at : at + length].tolist()
            at += length
        assert (tokens[at:] == PAD).all()
    found = {}
    for (document, start), tokens in sorted(pieces.items()):
        assert start == len(found.setdefault(document, []))
        found[document] += tokens
    return found


def contents(*tables):
    return sorted(tokens for table in tables for tokens in joined(table).values())


DOCS = [[*range(10, 10 + length), END] for length in (3, 1, 40, 0, 7, 16, 15, 2, 100, 5)]
KINDS = ("bin", "npy", "ds", "parquet", "arrow")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 1500), max_size=4))
def test_each_document_is_in_one_stretch(tmp_path_factory, kind, cuts):
    path = write(tmp_path_factory.mktemp("files"), kind, DOCS)
    whole = read(path)
    assert contents(whole) == sorted(DOCS)
    pieces = [read(path, start, end) for start, end in pairwise([0, *sorted(cuts), -1]) if start != end]
    assert contents(*pieces) == sorted(DOCS)
    assert {id_ for piece in pieces for id_ in joined(piece)} == set(joined(whole))


@pytest.mark.parametrize("kind", KINDS)
def test_books(tmp_path, kind):
    rows = read(write(tmp_path, kind, DOCS))
    counts = stage().counts(rows)
    tokens = sum(map(len, DOCS))
    assert counts == {
        "documents": len(DOCS),
        "pieces": sum(-(-len(doc) // 16) for doc in DOCS),
        "tokens": tokens,
        "padding": 16 * len(rows) - tokens,
    }
    assert rows["reason"].null_count == len(rows)
    assert rows.drop_columns("reason").schema.equals(stage().schema())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=200), st.lists(st.integers(0, 420), max_size=3))
def test_flat_files_of_any_tokens(tmp_path_factory, tokens, cuts):
    path = tmp_path_factory.mktemp("files") / "a.bin"
    path.write_bytes(flat([tokens]))
    docs, doc = [], []
    for token in tokens:
        doc.append(token)
        if token == END:
            docs.append(doc)
            doc = []
    docs += [doc] if doc else []
    pieces = [read(path, start, end) for start, end in pairwise([0, *sorted(cuts), -1]) if start != end]
    assert contents(*pieces) == sorted(docs)


def test_wide_tokens(tmp_path):
    path = tmp_path / "a.bin"
    docs = [[70_000, 5, END], [99_999, END]]
    path.write_bytes(flat(docs, "<u4"))
    rows = read(path, stored_token_bytes=4, token_bytes=4, vocabulary=100_000)
    assert sorted(joined(rows, 4).values()) == sorted(docs)


def test_megatron_needs_no_end_tokens(tmp_path):
    docs = [[1, 2, 3], [END, END], [4], [5, 6]]
    path = tmp_path / "a.bin"
    path.write_bytes(flat(docs))
    (tmp_path / "a.idx").write_bytes(megatron(docs))
    assert contents(read(path)) == sorted(docs)
    assert contents(read(path, 0, 7), read(path, 7, -1)) == sorted(docs)
    assert contents(read(path, 7, -1)) == [[4], [5, 6]]
    assert len(read(tmp_path / "a.idx")) == 0


@pytest.mark.parametrize("column", ["tokens", "input_ids"])
@pytest.mark.parametrize(
    "type_", [pa.list_(pa.int64()), pa.large_list(pa.uint16()), pa.list_(pa.int32(), 2)], ids=["list", "large", "fixed"]
)
def test_columns_of_lists(tmp_path, column, type_):
    for kind, make in (("parquet", parquet), ("arrow", arrow)):
        path = tmp_path / ("a." + kind)
        path.write_bytes(make([[1, 2], [3, 4]], column=column, type_=type_))
        assert contents(read(path)) == [[1, 2], [3, 4]]


def test_rows_without_tokens_lead_to_nothing(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet([[], None, [7]]))
    assert contents(read(path)) == [[7]]
    for kind in KINDS:
        rows = read(write(tmp_path, kind, []))
        assert len(rows) == 0
        assert set(stage().counts(rows).values()) == {0}


@pytest.mark.parametrize(
    ("name", "stored", "words"),
    [
        ("a.bin", flat([[1, 2000, END]]), "token 2000 in the document at 0, expected ids of a vocabulary of 1000"),
        ("a.parquet", parquet([[1], [2], [-1]]), "token -1 in the document at 2"),
        ("a.bin", b"123", "of 3 bytes, expected tokens of 2"),
        ("a.parquet", parquet([[1]], column="text"), "expected input_ids or tokens with lists of integers"),
        ("a.parquet", b"PAR1PAR1", "cannot be read"),
        ("a.arrow", arrow([[1]] * 9)[:-200], "damaged at row"),
        ("a.parquet", parquet([[1, None]]), "nulls among the input_ids"),
        ("a.npy", b"\x93NUMPY\x01\x00", "given a.npy"),
        ("a.jsonl", b"{}", "expected files of tokens: .bin .npy .ds .parquet .arrow"),
    ],
)
def test_what_cannot_be_tokens_is_refused(tmp_path, name, stored, words):
    path = tmp_path / name
    path.write_bytes(stored)
    with pytest.raises(ValueError, match=words):
        read(path)


@pytest.mark.parametrize("wrong", ["cut", "other", "longer"])
def test_a_megatron_index_that_does_not_fit_is_refused(tmp_path, wrong):
    docs = [[1, 2, 3], [4]]
    index = megatron(docs)
    index = {"cut": index[:-1], "other": b"index" * 20, "longer": megatron([*docs, [5]])}[wrong]
    (tmp_path / "a.bin").write_bytes(flat(docs))
    (tmp_path / "a.idx").write_bytes(index)
    with pytest.raises(ValueError, match="idx"):
        read(tmp_path / "a.bin")


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence_tokens": 0},
        {"seed": -1},
        {"stored_token_bytes": 3},
        {"token_bytes": 1},
        {"end_token": VOCABULARY},
        {"pad_token": -1},
        {"vocabulary": 70_000},
    ],
    ids=str,
)
def test_numbers_that_mean_nothing_are_refused(fields):
    with pytest.raises(ValueError, match=r"given .*expected"):
        stage(**fields)


def test_a_run_from_files_of_tokens_to_a_mixture(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.bin").write_bytes(flat(DOCS * 5))
    (folder / "b.parquet").write_bytes(parquet(DOCS))
    packed = stage(folder)
    mixture = Mixture(
        sources=(packed,),
        names=("own",),
        weights=(1.0,),
        tokens=16 * 8,
        sequence_tokens=16,
        max_epochs=1.0,
        batch_sequences=4,
    )
    manifests = run(mixture, root=str(tmp_path / "root"))
    written = json.loads(next((tmp_path / "root").glob("mixture/*/mixture.json")).read_text())
    assert written["sources"][0]["actual"] == 8
    stored = sorted((tmp_path / "root").glob("tokenised/*/part-*.arrow"))
    tables = [pa.ipc.open_file(part).read_all() for part in stored]
    assert contents(*tables) == sorted(DOCS * 6)
    assert sum(part["rows"] for part in manifests["tokenised"]["parts"]) == sum(map(len, tables))
