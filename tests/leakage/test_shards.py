"""The text of packed rows is what the tokenizer decodes, and a planted item is found in them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.leakage.index import LeakIndex
from hare_ray.leakage.leaks import Rule
from hare_ray.leakage.shards import CheckShards, blocks, pieces, worst
from hare_ray.leakage.token_text import TokenBytes
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Make, Table
from hare_ray.tokens.pack import Pack
from hare_ray.tokens.tokenizer import trained
from tests.leakage.exams import QUESTION, SHORT, index_of, unrelated

TEXTS = [
    "A plain sentence, with 123 numbers.",
    "Grün \U0001f642 漢字かな text",
    "",
    "  two spaces\n",
    "</s><s> spelt out",
]
VOCABULARY = 360
RULE = Rule(min_hits=1, max_overlap=0.0, reworded_share=None)


class Documents(Table):
    writes = DOCUMENT


DOCS = Documents()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [unrelated(300, seed) for seed in range(20)] + [QUESTION, SHORT] * 3 + TEXTS
    trained(iter([words]), VOCABULARY).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """One that spells spaces and unknown bytes as Llama's does."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    folder = tmp_path_factory.mktemp("llama")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b", "\u2581a", "ab"]
    merges = [("\u2581", "a"), ("a", "b")]
    model = models.BPE({t: n for n, t in enumerate(tokens)}, merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def loaded(folder: Path):
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.encode_special_tokens = True
    return found


def texts_of(folder: Path, ids: list[list[int]]) -> list[str]:
    lengths = np.array([len(one) for one in ids], np.int64)
    tokens = np.array([token for one in ids for token in one], np.uint16)
    return TokenBytes.of(folder).texts(tokens, np.cumsum(lengths) - lengths, lengths).to_pylist()


@pytest.mark.parametrize("kind", ["tokenizer", "llama"])
def test_texts_come_back_as_they_went_in_and_as_the_library_decodes(kind, request):
    folder = request.getfixturevalue(kind)
    library = loaded(folder)
    ids = [[1, *encoding.ids, 2] for encoding in library.encode_batch(TEXTS, add_special_tokens=False)]
    assert texts_of(folder, ids) == library.decode_batch(ids) == TEXTS


@given(st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=30), max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_tokens_give_what_the_library_decodes(tokenizer, ids):
    """Most such texts are no UTF-8, as where a piece ends within a character."""
    assert texts_of(tokenizer, ids) == [loaded(tokenizer).decode(one) for one in ids]


def test_a_vocabulary_of_another_kind_and_a_foreign_token_are_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="expected ids below 360"):
        texts_of(tokenizer, [[VOCABULARY]])
    told = json.loads((tokenizer / "tokenizer.json").read_text())
    told["decoder"] = {"type": "WordPiece"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"a decoder of \['WordPiece'\]"):
        TokenBytes.of(tmp_path)


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    """A LeakIndex, and its folder."""
    return index_of(tmp_path_factory.mktemp("exam"))


def checked(exam: tuple[LeakIndex, Path], tokenizer: Path, texts: list[str], sequence_tokens=128) -> pa.Table:
    """Texts, packed and searched; every row with the rows' own documents beside it."""
    index, folder = exam
    stage = Make(label="tokenizer")
    pack = Pack(docs=DOCS, tokenizer=stage, sequence_tokens=sequence_tokens, token_bytes=2, seed=1)
    check = CheckShards(sequences=pack, tokenizer=stage, index=index, rule=RULE, token_bytes=2)

    def files(wanted):
        return tokenizer if wanted is stage else folder

    ids = pa.array([bytes([number]) * 16 for number in range(len(texts))], pa.binary(16))
    rows = pack.prepare(files)(pa.table({"id": ids, "text": pa.array(texts, pa.large_string())}))
    found = check.prepare(files)(rows.select(list(check.reads)))
    assert found.schema.equals(check.schema()) and len(found) == len(rows)
    return found.append_column("documents", rows.column("documents"))


def test_planted_items_are_found_with_their_documents(exam, tokenizer):
    texts = [
        unrelated(60, 1),
        f"{unrelated(30, 2)} {QUESTION} {unrelated(30, 3)}",
        unrelated(90, 4),
        f"So: {SHORT} No.",
    ]
    found = [row for row in checked(exam, tokenizer, texts).to_pylist() if row["reason"]]
    named = {row["leak_item"]: row["leak_document"][0] for row in found}
    assert named == {"long": 1, "short": 3} or (len(found) == 1 and found[0]["leak_pieces"] == 2)
    assert all(row["leak_document"] in row["documents"] for row in found)


def test_rows_without_leaks_name_nothing(exam, tokenizer):
    found = checked(exam, tokenizer, [unrelated(200, seed) for seed in range(5, 9)])
    assert len(found) > 4
    assert set(found.column("leak_pieces").to_pylist()) == {0}
    assert found.column("reason").null_count == found.column("leak_document").null_count == len(found)


def test_the_piece_of_a_long_document_that_holds_the_item_is_found(exam, tokenizer):
    text = f"{unrelated(200, 10)} {QUESTION} {unrelated(200, 11)}"
    found = checked(exam, tokenizer, [text], sequence_tokens=256)
    leaked = [row for row in found.to_pylist() if row["reason"]]
    assert len(found) > 3 and 1 <= len(leaked) <= 2
    assert {row["leak_document"] for row in leaked} == {bytes(16)}


def test_no_rows_give_no_rows(exam, tokenizer):
    assert len(checked(exam, tokenizer, [])) == 0
    assert len(checked(exam, tokenizer, [""])) == 0


def test_rows_are_read_in_blocks_and_slices(monkeypatch):
    monkeypatch.setattr("hare_ray.leakage.shards.BLOCK_TOKENS", 8)
    tokens = np.arange(20, dtype="<u2").reshape(5, 4)
    rows = pa.table(
        {
            "tokens": pa.array([row.tobytes() for row in tokens], pa.binary(8)),
            "lengths": pa.array([[1, 2], [4], [3], [1, 1, 1], []], pa.list_(pa.uint32())),
            "documents": pa.array([[b"a" * 16] * count for count in (2, 1, 1, 3, 0)], pa.list_(pa.binary(16))),
        }
    )
    seen = []
    for block in blocks(rows.slice(1), 4):
        found = pieces(block, np.dtype("<u2"))
        seen += [found.tokens[a : a + n].tolist() for a, n in zip(found.firsts, found.lengths, strict=True)]
    assert seen == [[4, 5, 6, 7], [8, 9, 10], [12], [13], [14]]
    with pytest.raises(ValueError, match="give token_bytes"):
        pieces(rows, np.dtype("<u4"))


def test_of_the_pieces_of_a_row_the_worst_speaks():
    rows = pa.table(
        {
            "tokens": pa.array([bytes(8)] * 3, pa.binary(8)),
            "lengths": pa.array([[1, 1, 1], [1, 1], []], pa.list_(pa.uint32())),
            "documents": pa.array(
                [[b"%d" % n * 16 for n in row] for row in ((0, 1, 2), (3, 4), ())], pa.list_(pa.binary(16))
            ),
        }
    )
    leaks = pa.table(
        {
            "leak_item": [None, "kept", "gone", None, None],
            "leak_overlap": pa.array([0, 0.1, 0.9, 0, 0], pa.float32()),
            "reason": pa.array([None, None, "leaked_ngram", None, None]),
        }
    )
    found = worst(leaks, pieces(rows, np.dtype("<u2")), 3)
    assert found.column("leak_item").to_pylist() == ["gone", None, None]
    assert found.column("leak_document").to_pylist() == [b"2" * 16, None, None]
    assert found.column("leak_pieces").to_pylist() == [1, 0, 0]
    assert found.column("leak_overlap").to_pylist() == pytest.approx([0.9, 0, 0])


def test_another_token_width_than_the_rows_have_is_refused():
    stage = Make(label="tokenizer")
    pack = Pack(docs=DOCS, tokenizer=stage, sequence_tokens=8, token_bytes=2, seed=1)
    with pytest.raises(ValueError, match="given token_bytes=4, expected 2"):
        CheckShards(sequences=pack, tokenizer=stage, index=Make(label="index"), rule=RULE, token_bytes=4)
