"""Packed rows: nothing lost, nothing twice, each document its encoding; padding; order; books."""

import gzip
import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Loaded

from hare_ray.leakage.token_text import TokenBytes
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Source, Stage, Table
from hare_ray.tokens import Pack, Tokenizer
from hare_ray.tokens.pack import Encoder, Pieces
from hare_ray.tokens.packing import best_fit
from hare_ray.tokens.tokenizer import trained

BOS, EOS, PAD = 1, 2, 3


class Docs(Table):
    writes = DOCUMENT


DOCS = Docs()
TOKENIZER = Tokenizer(docs=DOCS, vocabulary=300, max_bytes=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tokenizer")
    trained(iter([["the cat sat on the mat and the cat ate the rat"] * 2]), 300).save(str(place / "tokenizer.json"))
    return place


def stage(sequence_tokens, seed=1, token_bytes=2, tokenizer: Stage = TOKENIZER):
    return Pack(docs=DOCS, tokenizer=tokenizer, sequence_tokens=sequence_tokens, token_bytes=token_bytes, seed=seed)


def documents(texts):
    ids = [n.to_bytes(16, "big") for n in range(len(texts))]
    return pa.table({"id": pa.array(ids, pa.binary(16)), "text": pa.array(texts, pa.large_string())})


def pieces(rows, token_bytes=2):
    """Document id, start and tokens of every piece; asserts that padding and nothing else follows the last."""
    for row in rows.to_pylist():
        tokens = np.frombuffer(row["tokens"], f"<u{token_bytes}")
        at = 0
        for length, document, start in zip(row["lengths"], row["documents"], row["starts"], strict=True):
            assert length > 0
            yield document, start, tokens[at : at + length].tolist()
            at += length
        assert (tokens[at:] == PAD).all()


def joined(rows, token_bytes=2):
    """Tokens of every document, its pieces put together by their starts."""
    found = {}
    for document, start, tokens in sorted(pieces(rows, token_bytes)):
        assert start == len(found.setdefault(document, []))
        found[document] += tokens
    return found


def expected(folder, docs):
    """Every document with text, encoded by itself."""
    tokenizer = Loaded.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    texts = zip(docs["id"].to_pylist(), docs["text"].to_pylist(), strict=True)
    return {id_: [BOS, *tokenizer.encode(text, add_special_tokens=False).ids, EOS] for id_, text in texts if text}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text("the cat</s>\u00e9 9", max_size=60)), max_size=25),
    st.integers(1, 40),
    st.sampled_from([2, 4]),
)
def test_nothing_is_lost_nothing_twice(folder, texts, sequence_tokens, token_bytes):
    docs = documents(texts)
    pack = stage(sequence_tokens, token_bytes=token_bytes)
    got = pack.prepare(lambda _: folder)(docs)
    assert got.schema.names == [*pack.schema().names, "reason"]
    assert got.select(pack.schema().names).schema.equals(pack.schema())
    assert got["reason"].null_count == len(got)
    wanted = expected(folder, docs)
    assert joined(got, token_bytes) == wanted
    tokens = sum(len(one) for one in wanted.values())
    counts = pack.counts(got)
    assert counts == {
        "documents": len(wanted),
        "pieces": sum(-(-len(one) // sequence_tokens) for one in wanted.values()),
        "tokens": tokens,
        "padding": len(got) * sequence_tokens - tokens,
    }


def test_specials_that_a_text_spells_out_are_text(folder):
    (_, _, tokens), *others = pieces(stage(64).prepare(lambda _: folder)(documents(["a</s><s><pad><unk>b"])))
    assert not others
    assert (tokens[0], tokens[-1]) == (BOS, EOS)
    assert min(tokens[1:-1]) > PAD


def test_null_and_empty_text_lead_to_nothing(folder):
    function = stage(8).prepare(lambda _: folder)
    assert len(function(documents([]))) == len(function(documents([None, "", None]))) == 0
    assert set(stage(8).counts(function(documents([])).drop_columns("reason")).values()) == {0}


def test_chunks_and_slices_make_no_difference(folder):
    docs = documents(["the cat", None, "sat", "", "on the mat" * 9, "x"] * 5)
    function = stage(16).prepare(lambda _: folder)
    shifted = pa.concat_tables([docs.slice(0, 7), docs.slice(7, 1), docs.slice(8)])
    assert function(shifted).equals(function(docs))
    assert function(pa.concat_tables([docs, docs]).slice(len(docs))).equals(function(docs))


def test_encoding_by_batches_makes_no_difference(folder, monkeypatch):
    docs = documents([f"the cat sat {n} " * (n % 7) for n in range(60)])
    function = stage(32).prepare(lambda _: folder)
    whole = function(docs)
    monkeypatch.setattr("hare_ray.tokens.tokenizer.ENCODED_BYTES", 100)
    assert function(docs).equals(whole)


def test_rows_are_shuffled_by_the_seed(folder):
    docs = documents([f"the cat {n:03d} " * 6 for n in range(400)])
    one, again, other = (stage(48, seed).prepare(lambda _: folder)(docs) for seed in (1, 1, 2))
    assert one.equals(again)
    firsts = [[int.from_bytes(row[0], "big") for row in rows["documents"].to_pylist()] for rows in (one, other)]
    assert sorted(firsts[0]) == sorted(firsts[1])
    assert firsts[0] != firsts[1]
    for order in firsts:  # Under a random order the rank correlation has a standard deviation of 1 / sqrt(rows - 1).
        ranks = np.argsort(np.argsort(order))
        assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 4 / np.sqrt(len(ranks) - 1)


@pytest.mark.parametrize("sequence_tokens", [512, 2048])
def test_padding_is_under_one_percent(sequence_tokens):
    # Tokens per web document are roughly log-normal, the median near 400.
    lengths = np.random.default_rng(0).lognormal(6, 1.1, 2000).astype(np.int64) + 2
    pieces = Pieces.of(lengths, sequence_tokens)
    rows, _ = best_fit(pieces.lengths, sequence_tokens)
    assert pieces.lengths.sum() == lengths.sum()
    assert 0.99 * (rows.max() + 1) * sequence_tokens < lengths.sum()


@pytest.mark.skipif("HARE_DATA" not in os.environ, reason="HARE_DATA names no folder of real data")
@pytest.mark.parametrize("name", ["newsgroups20_train", "enwiki_2014_dev"])
def test_padding_of_real_text_is_under_one_percent(folder, name):
    with gzip.open(Path(os.environ["HARE_DATA"]) / f"text/{name}.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, 1200)]
    _, _, lengths, _ = Encoder.of(folder, np.dtype("<u2")).documents(documents(texts), None)
    for sequence_tokens in (512, 2048):
        pieces = Pieces.of(lengths, sequence_tokens)
        rows, _ = best_fit(pieces.lengths, sequence_tokens)
        assert 0.99 * (rows.max() + 1) * sequence_tokens < pieces.lengths.sum() == lengths.sum()


def test_a_vocabulary_too_large_for_the_bytes_is_refused(folder, tmp_path):
    large = Tokenizer(docs=DOCS, vocabulary=65_537, max_bytes=1)
    with pytest.raises(ValueError, match="give token_bytes=4"):
        stage(8, tokenizer=large)
    assert stage(8, tokenizer=large, token_bytes=4)
    recipe = json.loads((folder / "tokenizer.json").read_text())
    recipe["added_tokens"].append({**recipe["added_tokens"][0], "id": 65_536, "content": "<far>"})
    recipe["model"]["vocab"]["<far>"] = 65_536
    (tmp_path / "tokenizer.json").write_text(json.dumps(recipe))
    source = Source(location=str(tmp_path))
    with pytest.raises(ValueError, match="give token_bytes=4"):
        stage(8, tokenizer=source).prepare(lambda _: tmp_path)


def test_a_tokenizer_without_pad_is_padded_with_its_end_and_one_without_end_is_refused(folder, tmp_path):
    recipe = json.loads((folder / "tokenizer.json").read_text().replace("<pad>", "<other>"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(recipe))
    got = stage(16).prepare(lambda _: tmp_path)(documents(["the"]))
    tokens = np.frombuffer(got["tokens"][0].as_py(), "<u2")
    assert tokens[got["lengths"][0].as_py()[0] - 1 :].tolist() == [EOS] * (17 - got["lengths"][0].as_py()[0])
    (tmp_path / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace("</s>", "<end>"))
    with pytest.raises(ValueError, match="without a token that ends a text"):
        stage(16).prepare(lambda _: tmp_path)


def renamed(folder, place, begin, end, told, name="tokenizer_config.json"):
    """The tokenizer with other names for its first specials, and a file that tells them."""
    place.mkdir()
    text = (folder / "tokenizer.json").read_text().replace('"<s>"', f'"{begin}"').replace('"</s>"', f'"{end}"')
    (place / "tokenizer.json").write_text(text)
    (place / name).write_text(json.dumps(told))
    return place


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_documents_begin_and_end_as_the_files_of_the_tokenizer_say(name, folder, tmp_path):
    docs = documents(["the cat", "a</s>b" * 9, "x"])
    wanted = expected(folder, docs)
    begin, end = "<|begin_of_text|>", "<|end_of_text|>"
    both = renamed(folder, tmp_path / "both", begin, end, {"bos_token": begin, "eos_token": {"content": end}}, name)
    assert joined(stage(8).prepare(lambda _: both)(docs)) == wanted
    # GPT-2's files name what begins a text, and nothing puts it there.
    told = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    one = renamed(folder, tmp_path / "one", "<s>", "<|endoftext|>", told, name)
    recipe = json.loads((one / "tokenizer.json").read_text())
    (one / "tokenizer.json").write_text(json.dumps({**recipe, "post_processor": None}))
    rows = stage(8).prepare(lambda _: one)(docs)
    assert joined(rows) == {id_: tokens[1:] for id_, tokens in wanted.items()}
    counts = stage(8).counts(rows)
    assert (counts["documents"], counts["tokens"]) == (3, sum(len(tokens) - 1 for tokens in wanted.values()))


LETTERS = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
MASKED = {"type": "TemplateProcessing", "pair": [], "special_tokens": {
    name: {"id": name, "ids": [number], "tokens": [name]} for name, number in (("<s>", BOS), ("<pad>", PAD))
}}  # fmt: skip


@pytest.mark.parametrize(
    ("processor", "begin"),
    [
        (None, []),
        (LETTERS, []),
        ({"type": "RobertaProcessing", "sep": ["</s>", EOS], "cls": ["<s>", BOS], "trim_offsets": True,
          "add_prefix_space": False}, [BOS]),
        ({**MASKED, "single": [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("<pad>", "<s>")]
          + [{"Sequence": {"id": "A", "type_id": 0}}]}, [PAD, BOS]),
        ({**MASKED, "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}]},
         []),
    ],
    ids=["none", "letters", "both ends", "two", "behind"],
)  # fmt: skip
def test_a_document_begins_as_the_tokenizer_begins_a_text(processor, begin, folder, tmp_path):
    recipe = json.loads((folder / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**recipe, "post_processor": processor}))
    docs = documents(["the cat", "a</s>b" * 9, "x"])
    wanted = {id_: [*begin, *tokens[1:]] for id_, tokens in expected(folder, docs).items()}
    assert joined(stage(8).prepare(lambda _: tmp_path)(docs)) == wanted


def test_how_a_tokenizer_was_used_last_makes_no_difference(folder, tmp_path):
    docs = documents(["the cat sat on the mat " * 9, "the cat", "x"])
    used = Loaded.from_file(str(folder / "tokenizer.json"))
    used.enable_truncation(4)
    used.enable_padding(pad_id=PAD, pad_token="<pad>", length=40)
    used.model.dropout = 0.5
    used.save(str(tmp_path / "tokenizer.json"))
    got = stage(16).prepare(lambda _: tmp_path)(docs)
    assert got.equals(stage(16).prepare(lambda _: folder)(docs))
    assert joined(got) == expected(folder, docs)


def test_rows_without_a_beginning_are_read_back_into_their_text(folder, tmp_path):
    end = "<|endoftext|>"
    place = renamed(folder, tmp_path / "gpt", "<other>", end, {"bos_token": None, "eos_token": end})
    recipe = json.loads((place / "tokenizer.json").read_text())
    (place / "tokenizer.json").write_text(json.dumps({**recipe, "post_processor": None}))
    docs = documents(["the cat</s> ate", " \u00e9 9", "x"])
    (row,) = stage(128).prepare(lambda _: place)(docs).to_pylist()
    tokens, lengths = np.frombuffer(row["tokens"], "<u2"), np.array(row["lengths"], np.int64)
    texts = TokenBytes.of(place).texts(tokens, np.cumsum(lengths) - lengths, lengths).to_pylist()
    assert {int.from_bytes(id_, "big"): text for id_, text in zip(row["documents"], texts, strict=True)} == dict(
        enumerate(docs["text"].to_pylist())
    )


@pytest.mark.parametrize("numbers", [{"sequence_tokens": 0}, {"token_bytes": 3}, {"seed": -1}, {"seed": 2**64}])
def test_numbers_that_mean_nothing_are_refused(numbers):
    with pytest.raises(ValueError, match="expected"):
        stage(**{"sequence_tokens": 8, **numbers})
