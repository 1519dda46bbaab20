"""Tokenizers from elsewhere: what their files say in every form, and the three files that they become."""

import json

import numpy as np
import pytest
import sentencepiece
from transformers import AutoTokenizer

from hare_ray.engine import run
from hare_ray.stage import Source
from hare_ray.tokenizer_files import NAMES, completed, ids, in_folder, specials
from hare_ray.tokens import GivenTokenizer
from hare_ray.tokens.pack import Encoder
from hare_ray.tokens.tokenizer import loaded, trained

SENTENCES = [f"lo{n} mera tin</s> the {n}  times {n * 7} of it" for n in range(60)]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    trained(iter([SENTENCES]), 300).save(str(folder / "tokenizer.json"))
    return folder


def made(folder, tmp_path, vocabulary):
    stage = GivenTokenizer(given=Source(location=str(folder), label="theirs"), vocabulary=vocabulary)
    run(stage, root=str(tmp_path / "root"))
    return tmp_path / "root" / stage.name / stage.fingerprint[:12]


def told(words, **files):
    """tokenizer.json with other files beside it."""
    beside = {f"{name}.json": json.dumps(value).encode() for name, value in files.items()}
    return {"tokenizer.json": (words / "tokenizer.json").read_bytes(), **beside}


@pytest.mark.parametrize("type_", ["bpe", "unigram"])
def test_a_sentencepiece_model_becomes_files_that_others_load(type_, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text("{}")  # as in the folder of a model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_prefix=str(theirs / "tokenizer"), vocab_size=300, model_type=type_,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False,
        num_threads=1, minloglevel=3,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(theirs / "tokenizer.model"))
    folder = made(theirs, tmp_path, 300)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, None)
    assert max(ids(in_folder(folder)).values()) == model.vocab_size() - 1
    for text in ("mera 5 tin", "two  spaces \u65e5"):
        assert loaded(folder).encode(text, add_special_tokens=False).ids == model.encode(text)
    stream, lengths = Encoder.of(folder, np.dtype("<u2")).encoded(["mera"])
    assert stream.tolist() == [1, *model.encode("mera"), 2]
    assert lengths.tolist() == [len(stream)]
    assert Encoder.of(theirs, np.dtype("<u2")).encoded(["mera"])[0].tolist() == stream.tolist()


def test_files_that_are_there_stay_and_weights_beside_them_are_left(words, tmp_path):
    (tmp_path / "theirs").mkdir()
    config = {"bos_token": None, "eos_token": {"content": "</s>"}, "model_max_length": 9}
    (tmp_path / "theirs" / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "theirs" / "tokenizer.json").write_bytes((words / "tokenizer.json").read_bytes())
    (tmp_path / "theirs" / "model.safetensors").write_bytes(b"weights")
    folder = made(tmp_path / "theirs", tmp_path, 300)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert json.loads((folder / "tokenizer_config.json").read_text()) == config
    assert json.loads((folder / "special_tokens_map.json").read_text()) == {"eos_token": "</s>", "pad_token": "<pad>"}
    assert in_folder(folder) == completed(in_folder(folder))


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({}, ("<s>", "</s>", "<pad>")),
        ({"tokenizer_config": {"model_max_length": 9}}, ("<s>", "</s>", "<pad>")),
        ({"tokenizer_config": {"bos_token": None, "eos_token": "<pad>"}}, (None, "<pad>", "<pad>")),
        ({"special_tokens_map": {"eos_token": {"content": "<unk>"}}}, ("<s>", "<unk>", "<pad>")),
        (
            {"tokenizer_config": {"eos_token": "<s>"}, "special_tokens_map": {"eos_token": "</s>", "pad_token": "<s>"}},
            ("<s>", "<s>", "<s>"),
        ),
    ],
)
def test_special_tokens_are_what_the_files_say(beside, expected, words):
    assert tuple(specials(told(words, **beside)).values()) == expected


def test_what_cannot_be_trained_or_exported_is_refused_before(words, tmp_path):
    largest = max(ids(in_folder(words)).values())
    with pytest.raises(ValueError, match=f"ids up to {largest}, the model has {largest} embeddings"):
        made(words, tmp_path, largest)
    with pytest.raises(ValueError, match="'<far>' as pad_token"):
        specials(told(words, tokenizer_config={"pad_token": "<far>"}))
    with pytest.raises(ValueError, match=r"without tokenizer\.json, expected one; GivenTokenizer makes it"):
        ids({})
