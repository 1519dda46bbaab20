"""SentencePiece models made here, of both types: the JSON makes their tokens, pruned ones give the same text back."""

import json
from functools import cache

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Loaded

from hare_ray.tokens import sentence_pieces
from hare_ray.tokens.sentence_piece_json import converted

LINE = "\u2581"
SAMPLE = [
    f"{a} {b}{c}, the {c}{b} of {n}.  It is {a}{sep}{b} and x{n} <ud> {c}."
    for n, (a, b, c) in enumerate(
        (x, y, z) for x in ("lo", "mera", "tin") for y in ("ri", "tal", "no") for z in ("sen", "ka", "de", "mo")
    )
    for sep in (" ", "  ", "-")
]
ODD = [
    "",
    "  two  spaces ",
    " ",
    "</s><s><0x41>",
    "a<ud>b <ud> c",
    "\u65e5\u672c \U0001f600",
    "tab\tand\n\n line ",
    "\ufb01 \u00bd",
]
KINDS = [
    (type_, fallback, rule, tidy)
    for type_ in ("bpe", "unigram")
    for fallback in (True, False)
    for rule, tidy in (("identity", False), ("nmt_nfkc", True), ("identity", True), ("nmt_nfkc", False))
]
LOSSLESS = [kind for kind in KINDS if kind[1:] == (True, "identity", False)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    @cache
    def made(type_, fallback, rule, tidy, prefix=True):
        folder = tmp_path_factory.mktemp("model")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SAMPLE),
            model_prefix=str(folder / "tokenizer"),
            vocab_size=400 if fallback else 140,
            model_type=type_,
            byte_fallback=fallback,
            normalization_rule_name=rule,
            remove_extra_whitespaces=tidy,
            add_dummy_prefix=prefix,
            user_defined_symbols=["<ud>"],
            hard_vocab_limit=False,
            num_threads=1,
            minloglevel=3,
        )
        return sentence_pieces.read(folder)

    return made


def processor(model):
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def as_json(model):
    loaded = Loaded.from_str(json.dumps(converted(model, "<s>")))
    loaded.encode_special_tokens = True
    return loaded


def cut(model, texts, share):
    """Pruned to a share of what can go, by the tokens of these texts."""
    entries = sentence_pieces.entries(model)
    counts = np.bincount(np.concatenate(processor(model).encode(texts)).astype(int), minlength=len(entries))
    dropping = entries.dropping(counts)
    remap = entries.remap(dropping, len(entries) - int(len(dropping) * share))
    return sentence_pieces.pruned(model, remap), remap


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_json_makes_the_tokens_of_the_model(model, kind, prefix):
    made = model(*kind, prefix)
    theirs, ours = processor(made), as_json(made)
    for text in (*SAMPLE, "\n".join(SAMPLE[:9]), *ODD):
        if kind[0] == "unigram" and "</s>" in text:
            continue  # cut where it spells out a control piece, see below
        ids = theirs.encode(text)
        assert ours.encode(text, add_special_tokens=False).ids == ids, text
        if kind[1]:
            assert ours.decode(ids) == theirs.decode(ids), text


@settings(max_examples=50, deadline=None)
@given(st.text() | st.text("lo meratin<ud>s/", max_size=40))
@example("</s><s><0x41><unk>")
def test_whatever_is_written_comes_back_from_model_and_json_before_and_after(model, text):
    for kind in LOSSLESS:
        for made in (model(*kind), cut(model(*kind), SAMPLE[:3], 0.8)[0]):
            ids = as_json(made).encode(text, add_special_tokens=False).ids
            assert not {0, 1, 2} & set(ids)
            # The sign for a space is one, in SentencePiece and so here.
            assert as_json(made).decode(ids) == text.replace(LINE, " ")
            assert processor(made).decode(processor(made).encode(text)) == text.replace(LINE, " ")


@pytest.mark.parametrize("kind", KINDS)
def test_pruned_models_give_back_what_they_did(model, kind):
    before = model(*kind)
    after, remap = cut(before, SAMPLE[:3], 0.6)
    assert len(after.pieces) < len(before.pieces) == len(remap)
    assert after.trainer_spec.vocab_size == len(after.pieces)
    for old, new in enumerate(remap):
        if new >= 0:
            assert after.pieces[new] == before.pieces[old]
    old, new, ours = processor(before), processor(after), as_json(after)
    for text in (*SAMPLE, *ODD):
        assert new.decode(new.encode(text)) == old.decode(old.encode(text)), text
        if not (kind[0] == "unigram" and "</s>" in text):
            assert ours.encode(text, add_special_tokens=False).ids == new.encode(text)
    assert (new.unk_id(), new.bos_id(), new.eos_id(), new.pad_id()) == (0, 1, 2, -1)
    assert ours.encode("lo").ids[0] == 1


@pytest.mark.parametrize("fallback", [True, False])
def test_every_piece_that_is_kept_can_be_made(model, fallback):
    """A piece encodes to itself wherever it did, though nothing is kept for it but what it is joined from."""
    before = model("bpe", fallback, "identity", False, False)
    after, _ = cut(before, SAMPLE[:3], 0.5)
    old, new = processor(before), processor(after)
    pieces = [p.piece for p in after.pieces if p.type == sentence_pieces.NORMAL]
    alone = [text for text in pieces if old.encode(text, out_type=str) == [text]]
    assert len(alone) > 0.8 * len(pieces)
    assert [new.encode(text, out_type=str) for text in alone] == [[text] for text in alone]


@pytest.mark.parametrize("type_", ["bpe", "unigram"])
@pytest.mark.parametrize(("tidy", "symbols"), [(True, ["lo ri"]), (False, ["lo ri", "  ", "    ", LINE + "tal", "\n"])])
def test_user_defined_pieces_that_are_written_with_a_space_are_never_found(type_, tidy, symbols, tmp_path):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SAMPLE), model_prefix=str(tmp_path / "tokenizer"), vocab_size=400, model_type=type_,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=tidy, add_dummy_prefix=False,
        user_defined_symbols=symbols, hard_vocab_limit=False, num_threads=1, minloglevel=3,
    )  # fmt: skip
    made = sentence_pieces.read(tmp_path)
    theirs, ours = processor(made), as_json(made)
    assert [ours.token_to_id(one) for one in symbols] == [theirs.piece_to_id(one) for one in symbols]
    for text in (*SAMPLE, "x    mera tal", "    lo ri\n  tal", "lo rital"):
        assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text), text
        assert ours.decode(theirs.encode(text)) == theirs.decode(theirs.encode(text))


def test_characters_stay_where_a_byte_piece_is_missing(model):
    made = type(model(*LOSSLESS[0]))()
    made.CopyFrom(model(*LOSSLESS[0]))
    single = [n for n, piece in enumerate(made.pieces) if len(piece.piece) == 1 and piece.piece != LINE]
    assert not sentence_pieces.entries(made).fixed[single].any()
    next(piece for piece in made.pieces if piece.type == sentence_pieces.BYTE).type = sentence_pieces.NORMAL
    assert sentence_pieces.entries(made).fixed[single].all()


def test_ids_of_specials_move_with_them(model):
    made = model("bpe", True, "identity", False)
    moved = type(made)()
    moved.CopyFrom(made)
    at = len(made.pieces)
    moved.pieces.add(piece="<pad>", score=0, type=sentence_pieces.CONTROL)
    moved.trainer_spec.pad_id = at
    pruned, remap = cut(moved, SAMPLE, 0.5)
    assert pruned.trainer_spec.pad_id == remap[at] == len(pruned.pieces) - 1
    assert sentence_pieces.specials(pruned) == {
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
    }


def test_folders_without_one_model_and_models_of_other_types_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"a tokenizer.json or one SentencePiece .model"):
        sentence_pieces.read(tmp_path)
    made = type(model(*KINDS[0]))()
    made.CopyFrom(model(*KINDS[0]))
    made.trainer_spec.model_type = 4
    (tmp_path / "one.model").write_bytes(made.SerializeToString())
    with pytest.raises(ValueError, match="type 4"):
        sentence_pieces.read(tmp_path)
